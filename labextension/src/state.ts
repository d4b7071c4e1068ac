/** What the frames of a host add up to: an immutable value, bounded however much happens. */

import type {
  EventLine,
  FailedLine,
  Figure,
  FlowLine,
  Frame,
  GateRun,
  GuestCost,
  GuestLine,
  Hello,
  LogLine,
  Right,
  Skew,
  Split,
  Status,
  TrapLine,
} from './protocol';

export const EVENTS = 1000;
export const FLOWS = 500;
export const LOG = 500;

/**
 * How the view stands to its host.
 *
 * `idle`: it was never asked for; `connecting`: nothing heard yet; `live`: frames come in; `lost`:
 * it was live, and what is shown is what was last known; `skewed`: the two speak different protocols.
 */
export type Link = 'idle' | 'connecting' | 'live' | 'lost' | 'skewed';

/** What the sandbox of a component costs, and the last calls that were stopped, the newest last. */
export interface Guest {
  readonly cost: GuestCost;
  readonly traps: readonly TrapLine[];
}

/** A host as its view knows it. What did not change between two states is the same object. */
export interface State {
  readonly link: Link;
  /** Why it is not live, for a person; empty when there is nothing to say. */
  readonly note: string;
  readonly boot: string | null;
  readonly version: string;
  readonly rights: readonly Right[];
  readonly cursor: number;
  /** The host's clock at the last frame. */
  readonly time: string;
  /** Events a second. */
  readonly rate: number;
  readonly status: Status | null;
  readonly figures: Readonly<Record<string, Figure>>;
  /** The newest last. */
  readonly events: readonly EventLine[];
  /** How many events since the last reset are not in `events`. */
  readonly skipped: number;
  /** The newest change first. */
  readonly flows: readonly FlowLine[];
  readonly failed: readonly FailedLine[];
  /** The components of which a candidate is tried, with the figures of both sides. */
  readonly splits: readonly Split[];
  /** The last gate of each component, by its name. */
  readonly gates: Readonly<Record<string, GateRun>>;
  /** The sandboxes of components, by the component's name. */
  readonly guests: Readonly<Record<string, Guest>>;
  /** The newest last. */
  readonly log: readonly LogLine[];
}

export const EMPTY: State = Object.freeze({
  link: 'idle',
  note: '',
  boot: null,
  version: '',
  rights: [],
  cursor: 0,
  time: '',
  rate: 0,
  status: null,
  figures: {},
  events: [],
  skipped: 0,
  flows: [],
  failed: [],
  splits: [],
  gates: {},
  guests: {},
  log: [],
});

/** The state after what the host said. A frame that was seen before changes nothing. */
export function reduce(state: State, said: Hello | Skew | Frame): State {
  switch (said.kind) {
    case 'hello':
      return greeted(state, said);
    case 'skew':
      return linked({ ...state, version: said.version }, 'skewed', said.text);
    case 'frame':
      return framed(state, said);
  }
}

/** The state when only the link changed. */
export function linked(state: State, link: Link, note = ''): State {
  return state.link === link && state.note === note ? state : { ...state, link, note };
}

/** Whether frames were lost before this one, so that the view has to begin anew. */
export function gap(state: State, frame: Frame): boolean {
  return !frame.reset && frame.since > state.cursor;
}

/** Whether a flow is under way, or ended where a person has to look. */
export function isOpen(flow: FlowLine): boolean {
  return flow.state === 'running' || flow.state === 'compensating';
}

export function isFailed(flow: FlowLine): boolean {
  return flow.state === 'compensated' || flow.state === 'compensation failed';
}

/** How many things a person should look at. */
export function problems(state: State): number {
  const status = state.status;
  if (status === null) return 0;
  const broken = status.components.filter((component) => component.health !== 'ok').length;
  return status.problems.length + status.failed + status.waiting.length + broken;
}

function greeted(state: State, hello: Hello): State {
  // Another run of the host counts from one again: nothing of the last one holds.
  const known = state.boot === hello.boot ? state : EMPTY;
  return {
    ...known,
    link: 'live',
    note: '',
    boot: hello.boot,
    version: hello.version,
    rights: hello.rights,
  };
}

function framed(state: State, frame: Frame): State {
  if (!frame.reset && frame.cursor < state.cursor) return state;
  if (!frame.reset && frame.cursor === state.cursor) {
    // Nothing happened, and so fewer events a second did.
    return frame.rate === state.rate ? state : { ...state, rate: frame.rate, time: frame.time };
  }
  const before = frame.reset ? { ...EMPTY, ...keptBy(state) } : state;
  // A frame that was late, not lost, is told again within the next one.
  const again = !frame.reset && frame.since < state.cursor;
  const fresh = again ? unknown(before.events, frame.events, ({ seq }) => seq) : frame.events;
  const lines = again ? unknown(before.log, frame.log, ({ n }) => n) : frame.log;
  const events = appended(before.events, fresh, EVENTS);
  return {
    ...before,
    cursor: frame.cursor,
    time: frame.time,
    rate: frame.rate,
    status: frame.status === null ? before.status : stated(before.status, frame.status),
    figures: merged(before.figures, frame.figures),
    events,
    skipped: before.skipped + frame.skipped + before.events.length + fresh.length - events.length,
    flows: changed(before.flows, frame.flows),
    failed: frame.failed ?? before.failed,
    gates: merged(before.gates, byComponent(frame.gates)),
    guests: merged(before.guests, guestsOf(before.guests, frame.guests)),
    splits: frame.splits ? kept(before.splits, frame.splits) : before.splits,
    log: appended(before.log, lines, LOG),
  };
}

function byComponent(gates: readonly GateRun[]): Readonly<Record<string, GateRun>> {
  return Object.fromEntries(gates.map((gate) => [gate.component, gate]));
}

/** Guests with their traps, which a line leaves out where they are as they were. */
function guestsOf(
  before: Readonly<Record<string, Guest>>,
  lines: readonly GuestLine[],
): Readonly<Record<string, Guest>> {
  return Object.fromEntries(
    lines.map(({ component, cost, traps }) => [
      component,
      { cost, traps: traps ?? before[component]?.traps ?? [] },
    ]),
  );
}

/** The status with the components that are as they were, so that nothing draws them anew. */
function stated(before: Status | null, fresh: Status): Status {
  if (before === null) return fresh;
  return { ...fresh, components: kept(before.components, fresh.components) };
}

/** A fresh list in which what is as it was is the same object; the old one where all of it is. */
function kept<T>(old: readonly T[], fresh: readonly T[]): readonly T[] {
  const known = new Map(old.map((item) => [JSON.stringify(item), item]));
  const items = fresh.map((item) => known.get(JSON.stringify(item)) ?? item);
  const same = items.length === old.length && items.every((item, place) => item === old[place]);
  return same ? old : items;
}

/** What a reset leaves: whom one talks to. */
function keptBy(state: State): Pick<State, 'link' | 'note' | 'boot' | 'version' | 'rights'> {
  const { link, note, boot, version, rights } = state;
  return { link, note, boot, version, rights };
}

function appended<T>(old: readonly T[], fresh: readonly T[], most: number): readonly T[] {
  if (fresh.length === 0) return old;
  return fresh.length >= most ? fresh.slice(-most) : [...old.slice(fresh.length - most), ...fresh];
}

/** What of `fresh` is not in `old`. */
function unknown<T>(
  old: readonly T[],
  fresh: readonly T[],
  number: (item: T) => number,
): readonly T[] {
  const known = new Set(old.map(number));
  return fresh.filter((item) => !known.has(number(item)));
}

function merged<T>(
  old: Readonly<Record<string, T>>,
  fresh: Readonly<Record<string, T>>,
): Readonly<Record<string, T>> {
  return Object.keys(fresh).length === 0 ? old : { ...old, ...fresh };
}

/** Flows with those that changed. Beyond the bound, ended ones go before open ones, old before new. */
function changed(old: readonly FlowLine[], fresh: readonly FlowLine[]): readonly FlowLine[] {
  if (fresh.length === 0) return old;
  const byId = new Map(old.map((flow) => [flow.id, flow]));
  for (const flow of fresh) byId.set(flow.id, flow);
  const flows = [...byId.values()].sort(newestFirst);
  if (flows.length <= FLOWS) return flows;
  const kept = new Set(
    flows
      .map((flow, place) => ({ flow, place }))
      .sort((a, b) => Number(isOpen(b.flow)) - Number(isOpen(a.flow)) || a.place - b.place)
      .slice(0, FLOWS)
      .map(({ flow }) => flow),
  );
  return flows.filter((flow) => kept.has(flow));
}

function newestFirst(a: FlowLine, b: FlowLine): number {
  if (a.updated !== b.updated) return a.updated < b.updated ? 1 : -1;
  return a.id < b.id ? 1 : a.id > b.id ? -1 : 0;
}
