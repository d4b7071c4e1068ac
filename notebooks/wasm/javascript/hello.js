// Greets guests: a model with a command, an adapter with a configuration value, and a listener.

import { Refused, component, config, emit, log } from "./aegis.js";

const text = { type: "string" };

export const { describe, invoke } = component({
  name: "hello",
  version: "1.0.0",
  doc: "Greets guests.",
  emits: ["guest.greeted"],
  protocols: { Greeter: { greet: { takes: { who: text }, gives: text } } },
  models: {
    Guest: {
      endpoint: "guests",
      fields: { name: text, greeting: { type: ["string", "null"], default: null } },
      commands: {
        greet: {
          uses: { greeter: "Greeter" },
          run({ record }, { greeter }) {
            const greeting = greeter.greet({ who: record.name });
            emit("guest.greeted", { greeting });
            return { greeting };
          },
        },
      },
    },
  },
  adapters: {
    Polite: {
      does: ["Greeter"],
      config: { "hello.word": { ...text, default: "Hello" } },
      methods: {
        greet({ arguments: { who } }) {
          if (who === "") throw new Refused("nobody is called so", { name: "guest.unknown" });
          if (who === "?") throw new Error("say who it is");
          return `${config("hello.word")}, ${who}!`;
        },
      },
    },
  },
  listeners: {
    welcome: {
      on: ["guest.greeted"],
      run({ event }) {
        log.info(`said ${event.data.greeting}`);
      },
    },
  },
});
