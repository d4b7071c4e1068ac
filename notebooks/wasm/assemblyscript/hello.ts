// Greets guests: a model with a command, an adapter with a configuration value, and a listener.

import { Answer, Json, Level, call, config, emit, error, log, nothing, ok } from "./aegis";
import { quoted, refused, serve } from "./aegis";
export { cabi_post_invoke, cabi_realloc, describe, invoke } from "./aegis";

serve(
  `{
    "name": "hello",
    "version": "1.0.0",
    "doc": "Greets guests.",
    "emits": ["guest.greeted"],
    "protocols": {
      "Greeter": {"greet": {"takes": {"who": {"type": "string"}}, "gives": {"type": "string"}}}
    },
    "models": {
      "Guest": {
        "endpoint": "guests",
        "fields": {
          "name": {"type": "string"},
          "greeting": {"type": ["string", "null"], "default": null}
        },
        "commands": {"greet": {"uses": {"greeter": "Greeter"}}}
      }
    },
    "adapters": {
      "Polite": {
        "does": ["Greeter"],
        "config": {"hello.word": {"type": "string", "default": "Hello"}}
      }
    },
    "listeners": {"welcome": {"on": ["guest.greeted"]}}
  }`,
  (name: string, input: Json): Answer => {
    if (name == "Guest.greet") return greet(input.get("record").get("name").text);
    if (name == "Polite.greet") return polite(input.get("arguments").get("who").text);
    if (name == "welcome") return welcome(input.get("event").get("data").get("greeting").text);
    return error(`there is no ${name} in it`);
  },
);

function greet(name: string): Answer {
  const greeting = call("greeter.greet", `{"who": ${quoted(name)}}`);
  if (greeting.failed) return greeting;
  const told = emit("guest.greeted", `{"greeting": ${greeting.text}}`);
  return told.failed ? told : ok(`{"record": {"greeting": ${greeting.text}}}`);
}

function polite(who: string): Answer {
  if (who == "") return refused("nobody is called so", `{"name": "guest.unknown"}`);
  if (who == "?") return error("say who it is");
  const word = config("hello.word");
  return word.failed ? word : ok(quoted(`${Json.parse(word.text).text}, ${who}!`));
}

function welcome(greeting: string): Answer {
  log(Level.Info, `said ${greeting}`);
  return nothing();
}
