// What a component in JavaScript needs of Aegis. Copy it beside yours; it has no dependencies.
//
// A component is its description with the code in it: wherever the contract has something to call
// (a port, its undo, its answer, a command, a listener, a method of an adapter), there is `run`.
//
//     export const { describe, invoke } = component({ name: "hello", version: "1.0.0", ... });
//
// `run` gets what there is of { record, event, arguments, key }, and what it `uses`. What a port or
// a command returns are the fields that change, or `waiting(...)`.

import host from "aegis:component/host@0.1.0";

const RUNS = new Map();

/** The exports `describe` and `invoke` of a description with code in it. */
export function component(description) {
  const plain = { ...description };
  plain.models = mapped(description.models, (model, name) => ({
    ...model,
    ports: mapped(model.ports, (port, one) => ({
      ...taken(port, `${name}.${one}`, change),
      ...mapped(only(port, "undo", "fallback", "answer"), (marked, kind) =>
        taken(marked, `${name}.${one}.${kind}`, change),
      ),
    })),
    commands: mapped(model.commands, (verb, one) => taken(verb, `${name}.${one}`, change)),
  }));
  for (const kind of ["adapters", "services"]) {
    plain[kind] = mapped(description[kind], ({ methods, ...part }, name) => {
      for (const [method, run] of Object.entries(methods)) {
        taken({ run, uses: part.uses }, `${name}.${method}`, (found) => found ?? null);
      }
      return part;
    });
  }
  plain.listeners = mapped(description.listeners, (listener, name) =>
    taken(listener, name, () => undefined),
  );
  const text = JSON.stringify(plain);
  return { describe: () => text, invoke };
}

/** What a port gives whose partner answers later: see `wait` in the contract. */
export function waiting(events, { by, deadline, record } = {}) {
  return new Waiting({ wait: { events: [events].flat(), by, deadline }, record });
}

/** Throw it to end a step for good; `emit` is { name, subject, data } of an event to publish. */
export class Refused extends Error {
  constructor(why, emit) {
    super(why);
    this.emit = emit;
  }
}

/** What the host says of a call that failed; left alone, it ends the step as it ended the call. */
export class Failed extends Error {}

/** Publish an event when the unit of work under way is committed. */
export function emit(name, data = {}, subject = null) {
  asked(() => host.emit(name, subject, JSON.stringify(data)));
}

/** Fields of an event's data; an error says which one is missing. */
export function said(event, ...names) {
  const missing = names.find((name) => event.data[name] === undefined);
  if (missing !== undefined) throw new Error(`${event.type} says no ${missing}`);
  return event.data;
}

/** A configuration value of the adapter or service that is being called. */
export function config(key) {
  return asked(() => host.config(key));
}

/** Call a relation, an adapter or a service by its target: `customer`, `items.create`. */
export function call(target, input = {}) {
  return asked(() => host.call(target, JSON.stringify(input)));
}

/** Write to the host's log. */
export const log = mapped({ debug: 0, info: 0, warning: 0, error: 0 }, (_, level) => {
  return (message) => host.log(level, String(message));
});

class Waiting {
  constructor(change) {
    this.change = change;
  }
}

/** What the host answers. */
function asked(ask) {
  let text;
  try {
    text = ask();
  } catch (error) {
    throw new Failed(error?.message ?? String(error));
  }
  return text === "" ? null : JSON.parse(text);
}

function invoke(name, input) {
  const found = RUNS.get(name);
  if (found === undefined) throw `there is no ${name} in it`;
  try {
    const given = found.run(JSON.parse(input), found.uses);
    const answer = found.gives(given);
    return answer === undefined ? "" : JSON.stringify(answer);
  } catch (error) {
    throw told(error);
  }
}

/** An error as the contract has it. */
function told(error) {
  if (error instanceof Failed) return error.message;
  if (error instanceof Refused) {
    return JSON.stringify({ refused: error.message, emit: error.emit });
  }
  const places = [...(error?.stack ?? "").matchAll(/([\w.-]+\.js:\d+)/g)].map((one) => one[1]);
  const where = places.find((place) => !place.startsWith("aegis.js")) ?? places[0];
  return where === undefined ? String(error) : `${error} (${where})`;
}

function change(given) {
  if (given instanceof Waiting) return given.change;
  return given === undefined || given === null ? undefined : { record: given };
}

/** What the description says of it, without the code, which is kept by the name it is called by. */
function taken({ run, ...said }, name, gives) {
  const uses = mapped(said.uses ?? {}, (_, use) => {
    return new Proxy({}, { get: (_, method) => (input) => call(`${use}.${String(method)}`, input) });
  });
  RUNS.set(name, { run, uses, gives });
  return said;
}

function mapped(said, make) {
  if (said === undefined) return undefined;
  return Object.fromEntries(Object.entries(said).map(([name, one]) => [name, make(one, name)]));
}

function only(said, ...names) {
  return Object.fromEntries(names.filter((name) => name in said).map((name) => [name, said[name]]));
}
