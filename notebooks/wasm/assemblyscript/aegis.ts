// What a component in AssemblyScript needs of Aegis. Copy it beside yours; it has no dependencies.
//
//     import { Answer, Json, error, nothing, serve } from "./aegis";
//     export * from "./aegis";
//     serve(`{"name": "hello", "version": "1.0.0", ...}`, (name: string, input: Json): Answer => ...);
//
// What passes a text from one side to the other is the canonical ABI of the Component Model, by
// hand, at the end of this file.

/** What a call gives, and whether that is an error. */
export class Answer {
  constructor(
    readonly text: string,
    readonly failed: bool,
  ) {}
}

/** Code that answers a call by its name. */
export type Run = (name: string, input: Json) => Answer;

/** Say what this component is, and what its code is. */
export function serve(described: string, run: Run): void {
  description = described;
  runs = run;
}

/** The answer of a listener, and of a port that changes nothing. */
export function nothing(): Answer {
  return new Answer("", false);
}

/** An answer as JSON: a change, or what a method of an adapter gives. */
export function ok(json: string): Answer {
  return new Answer(json, false);
}

/** What is tried again. */
export function error(why: string): Answer {
  return new Answer(why, true);
}

/** What ends a step for good; `emit` is {"name": ...} of an event to publish. */
export function refused(why: string, emit: string = "null"): Answer {
  return new Answer(`{"refused": ${quoted(why)}, "emit": ${emit}}`, true);
}

// --- what the host offers ----------------------------------------------------------------------

export enum Level {
  Debug,
  Info,
  Warning,
  Error,
}

/** Write to the host's log. */
export function log(level: Level, message: string): void {
  const text = String.UTF8.encode(message);
  hostLog(level, at(text), text.byteLength);
}

/** A configuration value of the adapter or service that is being called, as JSON. */
export function config(key: string): Answer {
  const text = String.UTF8.encode(key);
  hostConfig(at(text), text.byteLength, LAID);
  return lifted();
}

/** Publish an event when the unit of work under way is committed; without subject of its record. */
export function emit(name: string, data: string, subject: string | null = null): Answer {
  const named = String.UTF8.encode(name), told = String.UTF8.encode(data);
  const about = String.UTF8.encode(subject === null ? "" : subject);
  hostEmit(
    at(named), named.byteLength, subject !== null, at(about), about.byteLength,
    at(told), told.byteLength, LAID,
  );
  return lifted();
}

/** Call an adapter (`name.method`) or a relation; its error may be given on as it is. */
export function call(target: string, input: string): Answer {
  const named = String.UTF8.encode(target), given = String.UTF8.encode(input);
  hostCall(at(named), named.byteLength, at(given), given.byteLength, LAID);
  return lifted();
}

/** What is kept under a key, as JSON: a text, or null. It needs a world with `keys`, and the right. */
export function kept(key: string): Answer {
  const named = String.UTF8.encode(key);
  keysGet(at(named), named.byteLength, LAID);
  return lifted();
}

/** Keep a text under a key, with the unit of work under way. */
export function keep(key: string, text: string): Answer {
  const named = String.UTF8.encode(key), given = String.UTF8.encode(text);
  keysSet(at(named), named.byteLength, true, at(given), given.byteLength, LAID);
  return lifted();
}

// --- JSON --------------------------------------------------------------------------------------

/** A value of JSON. What is not there is null, and so is what is asked of null. */
export class Json {
  kind: string = "null"; // or object, array, string, number, boolean
  private plain: string = "";
  private fields: Map<string, Json> = new Map<string, Json>();
  readonly items: Json[] = [];

  /** The value of a text, which is what the host gives: it has no faults, and no white space. */
  static parse(text: string): Json {
    return new Reader(text).value();
  }

  static of(kind: string, plain: string): Json {
    const value = new Json();
    value.kind = kind;
    value.plain = plain;
    return value;
  }

  get(name: string): Json {
    return this.fields.has(name) ? this.fields.get(name) : new Json();
  }

  set(name: string, value: Json): void {
    this.fields.set(name, value);
  }

  get isNull(): bool {
    return this.kind == "null";
  }

  /** A text, or a number, true or false as it is written. */
  get text(): string {
    return this.plain;
  }

  /** A number, also of a text that is one (a decimal); NaN of anything else. */
  get number(): f64 {
    return this.plain.length == 0 ? NaN : parseFloat(this.plain);
  }
}

/** A text as JSON has it. */
export function quoted(text: string): string {
  let json = '"', begin = 0;
  for (let n = 0; n < text.length; n++) {
    const code = text.charCodeAt(n);
    if (code >= 0x20 && code != 0x22 && code != 0x5c) continue;
    json += text.substring(begin, n); // a whole stretch: until the call ends nothing is collected
    json += code >= 0x20 ? "\\" + text.charAt(n) : "\\u00" + (code < 16 ? "0" : "") + code.toString(16);
    begin = n + 1;
  }
  return json + text.substring(begin) + '"';
}

class Reader {
  private n: i32 = 0;

  constructor(private text: string) {}

  value(): Json {
    const code = this.text.charCodeAt(this.n);
    if (code == 0x7b || code == 0x5b) return this.many(code == 0x7b);
    if (code == 0x22) return Json.of("string", this.string());
    const begin = this.n;
    while (this.n < this.text.length && ",]}".indexOf(this.text.charAt(this.n)) < 0) this.n++;
    const plain = this.text.substring(begin, this.n);
    if (plain == "null") return new Json();
    return Json.of(plain == "true" || plain == "false" ? "boolean" : "number", plain);
  }

  /** An object or an array. */
  private many(isObject: bool): Json {
    const found = Json.of(isObject ? "object" : "array", "");
    const end = isObject ? 0x7d : 0x5d;
    this.n++;
    while (this.text.charCodeAt(this.n) != end) {
      if (isObject) {
        const name = this.string();
        this.n++; // the colon
        found.set(name, this.value());
      } else {
        found.items.push(this.value());
      }
      if (this.text.charCodeAt(this.n) == 0x2c) this.n++;
    }
    this.n++;
    return found;
  }

  private string(): string {
    let plain = "";
    this.n++;
    let begin = this.n;
    while (this.text.charCodeAt(this.n) != 0x22) {
      if (this.text.charCodeAt(this.n) != 0x5c) {
        this.n++;
        continue;
      }
      plain += this.text.substring(begin, this.n);
      const code = this.text.charAt(this.n + 1);
      const known = "bfnrt".indexOf(code);
      this.n += 2;
      if (code == "u") {
        plain += String.fromCharCode(<i32>parseInt(this.text.substr(this.n, 4), 16));
        this.n += 4;
      } else {
        plain += known < 0 ? code : "\b\f\n\r\t".charAt(known);
      }
      begin = this.n;
    }
    plain += this.text.substring(begin, this.n);
    this.n++;
    return plain;
  }
}

// --- the canonical ABI, by hand ------------------------------------------------------------------

let description: string = "{}";
let runs: Run = (name: string, input: Json): Answer => error(`there is no ${name} in it`);

// Where the host lays a result<string, string>: a byte, an address, a size.
const LAID = memory.data(12, 4);
// Where an export lays what it gives, and the text itself, which lives until the host has read it.
const GIVEN = memory.data(12, 4);
let answer: ArrayBuffer = new ArrayBuffer(0);

// @ts-ignore: decorator
@external("aegis:component/host@0.1.0", "log")
declare function hostLog(level: i32, message: usize, size: i32): void;
// @ts-ignore: decorator
@external("aegis:component/host@0.1.0", "config")
declare function hostConfig(key: usize, size: i32, result: usize): void;
// @ts-ignore: decorator
@external("aegis:component/host@0.1.0", "emit")
declare function hostEmit(
  name: usize, nameSize: i32, hasSubject: bool, subject: usize, subjectSize: i32,
  data: usize, dataSize: i32, result: usize,
): void;
// @ts-ignore: decorator
@external("aegis:component/host@0.1.0", "call")
declare function hostCall(
  target: usize, targetSize: i32, input: usize, inputSize: i32, result: usize,
): void;

// @ts-ignore: decorator
@external("aegis:component/keys@0.1.0", "get")
declare function keysGet(key: usize, size: i32, result: usize): void;
// @ts-ignore: decorator
@external("aegis:component/keys@0.1.0", "set")
declare function keysSet(
  key: usize, size: i32, hasValue: bool, value: usize, valueSize: i32, result: usize,
): void;

function at(text: ArrayBuffer): usize {
  return changetype<usize>(text);
}

/** A text in memory that the host asked for, which is ours again. */
function taken(address: usize, size: usize): string {
  const text = String.UTF8.decodeUnsafe(address, size);
  heap.free(address);
  return text;
}

function lifted(): Answer {
  return new Answer(taken(load<usize>(LAID, 4), load<usize>(LAID, 8)), load<u8>(LAID) != 0);
}

export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  return old == 0 ? heap.alloc(size) : heap.realloc(old, size);
}

export function describe(): usize {
  answer = String.UTF8.encode(description);
  store<usize>(GIVEN, at(answer));
  store<usize>(GIVEN, answer.byteLength, 4);
  return GIVEN;
}

export function invoke(name: usize, nameSize: usize, input: usize, inputSize: usize): usize {
  const given = runs(taken(name, nameSize), Json.parse(taken(input, inputSize)));
  answer = String.UTF8.encode(given.text);
  store<u8>(GIVEN, given.failed);
  store<usize>(GIVEN, at(answer), 4);
  store<usize>(GIVEN, answer.byteLength, 8);
  return GIVEN;
}

/** The answer has been read: what the call made is garbage. */
export function cabi_post_invoke(_: usize): void {
  answer = new ArrayBuffer(0);
  __collect();
}

/** What `throw` and a failed assertion come to: a line in the log, and the end of the call. */
export function abort(message: string | null, file: string | null, line: u32, _: u32): void {
  log(Level.Error, `${message ? message : "it aborted"} (${file ? file : ""}:${line})`);
  unreachable();
}
