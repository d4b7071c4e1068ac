/** A view's session with a host, over any carrier: opened, kept up, opened again. */

import {
  type Answers,
  type FromHost,
  type FromView,
  type Open,
  PROTOCOL,
  RIGHTS,
  type Right,
  type Topic,
  type Verb,
} from './protocol';
import { EMPTY, gap, linked, reduce, type State } from './state';

/** What brings messages to a host and back: a comm, a widget's model, a fake. */
export interface Carrier {
  send(message: FromView): void;
  /** Told to the other side, if it is still there. `onClose` is not called for it. */
  close(): void;
  onMessage: (message: unknown) => void;
  /** The other side is gone, or not there; `why` is for a person. */
  onClose: (why: string) => void;
}

/** Makes a carrier, whenever a session begins or has to begin again. Throws when it cannot now. */
export type Dial = () => Carrier | Promise<Carrier>;

/** The host said no: `problem` is RFC 9457, the message its detail. */
export class Refusal extends Error {
  override readonly name = 'Refusal';

  constructor(readonly problem: Readonly<Record<string, unknown>>) {
    const { detail, title } = problem;
    super(
      typeof detail === 'string' ? detail : typeof title === 'string' ? title : 'The host refused.',
    );
  }
}

/** No answer came: the host is away, or too busy to say. It may have done what was asked. */
export class Lost extends Error {
  override readonly name = 'Lost';
}

export interface SessionOptions {
  readonly dial: Dial;
  /** This view's own version, told to the host. */
  readonly version: string;
  readonly rights?: readonly Right[];
  readonly topics?: readonly Topic[];
  readonly pattern?: string;
  /** What a person should know, but that changes nothing: a message of a kind not known, say. */
  readonly note?: (text: string) => void;
  /** Called once, when the session was disposed of. */
  readonly ended?: () => void;
}

/** How long to wait, in milliseconds. */
export const PATIENCE = {
  hello: 4000,
  answer: 15000,
  /** For what runs code of components, once or often. */
  slow: 120000,
  /** Without a frame, until the host is told which was the last one: it may be lost. */
  frame: 20000,
  again: [250, 500, 1000, 2000, 5000, 15000],
};

/** Verbs that fetch or run code of components, maybe many times. */
const SLOW: ReadonlySet<Verb['verb']> = new Set<Verb['verb']>([
  'retry',
  'retry_group',
  'discard_group',
  'replay',
  'replay_trap',
  'invoke',
  'plan',
  'deploy',
  'gate',
  'split',
  'promote',
  'rollback',
]);

interface Waiting {
  readonly settle: (value: unknown) => void;
  readonly fail: (error: Error) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/**
 * Keeps `state` true to a host, from `start` to `dispose`.
 *
 * When the carrier closes, the session dials again, with longer and longer pauses, and goes on after
 * the last frame it has. `wake` dials at once: for whoever knows that the host is back.
 */
export class Session {
  private _state: State = EMPTY;
  private _pattern: string;
  private _carrier: Carrier | null = null;
  private _capability: string | null = null;
  private _dials = 0;
  private _dialling = false;
  private _tries = 0;
  private _asks = 0;
  private _retry: ReturnType<typeof setTimeout> | undefined;
  private _impatience: ReturnType<typeof setTimeout> | undefined;
  private _silence: ReturnType<typeof setTimeout> | undefined;
  private _disposed = false;
  /** The next `Open` asks for everything: what is here does not add up. */
  private _whole = false;
  private readonly _waiting = new Map<number, Waiting>();
  private readonly _listeners = new Set<(state: State) => void>();
  private readonly _unknown = new Set<string>();

  constructor(private readonly options: SessionOptions) {
    this._pattern = options.pattern ?? '*';
  }

  get state(): State {
    return this._state;
  }

  get pattern(): string {
    return this._pattern;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Calls `listener` after every change of `state`; what comes back ends that. */
  listen(listener: (state: State) => void): () => void {
    this._listeners.add(listener);
    return () => {
      this._listeners.delete(listener);
    };
  }

  /** Begin. Nothing is sent before. */
  start(): void {
    if (this._state.link === 'idle') void this.dial();
  }

  /** Dial now, if no carrier is up. */
  wake(): void {
    const rests = this._carrier === null && !this._dialling;
    if (this._disposed || !rests || this._state.link === 'skewed') return;
    this._tries = 0;
    void this.dial();
  }

  /** The carrier no longer leads to the host that was there: dial anew, and go on there. */
  redial(): void {
    if (this._disposed || this._state.link === 'idle') return;
    this.hangUp();
    this._tries = 0;
    void this.dial();
  }

  /** See only events that match `pattern` from now on; the host sends them anew. */
  follow(pattern: string): void {
    if (pattern === this._pattern) return;
    this._pattern = pattern;
    this._whole = true;
    // A second `Open` begins the session anew; while there is none, the next dial says it.
    if (this._carrier !== null && this._capability !== null) {
      this.send(this._carrier, this.opening());
    }
  }

  /** Ask the host. Rejects with `Refusal` or `Lost`. */
  ask<V extends Verb>(verb: V): Promise<Answers[V['verb']]> {
    const carrier = this._carrier;
    const capability = this._capability;
    if (carrier === null || capability === null) {
      return Promise.reject(new Lost('There is no connection to the host just now.'));
    }
    if (!this._state.rights.includes(RIGHTS[verb.verb])) {
      return Promise.reject(new Refusal({ title: 'This view may only read.', status: 403 }));
    }
    const id = ++this._asks;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => {
          this._waiting.delete(id);
          reject(new Lost('The host has not answered. It may still do what was asked.'));
          if (this._carrier === carrier) this.redial();
        },
        SLOW.has(verb.verb) ? PATIENCE.slow : PATIENCE.answer,
      );
      this._waiting.set(id, {
        settle: (value) => {
          resolve(value as Answers[V['verb']]);
        },
        fail: reject,
        timer,
      });
      this.send(carrier, { kind: 'ask', id, capability, ask: verb });
    });
  }

  dispose(): void {
    if (this._disposed) return;
    this._disposed = true;
    this.hangUp();
    this._listeners.clear();
    this.options.ended?.();
  }

  private async dial(): Promise<void> {
    clearTimeout(this._retry);
    const dialled = ++this._dials;
    if (this._state.boot === null) {
      this.become(linked(this._state, 'connecting', this._state.note));
    }
    this._dialling = true;
    let carrier: Carrier;
    try {
      carrier = await this.options.dial();
    } catch (error) {
      if (dialled !== this._dials) return;
      this._dialling = false;
      this.later(error instanceof Error ? error.message : '');
      return;
    }
    if (dialled !== this._dials) {
      carrier.close();
      return;
    }
    this._dialling = false;
    this._carrier = carrier;
    this._impatience = setTimeout(() => {
      this.hangUp();
      this.later('The host has not answered yet.');
    }, PATIENCE.hello);
    carrier.onMessage = (message) => {
      if (this._carrier === carrier) this.take(carrier, message);
    };
    carrier.onClose = (why) => {
      if (this._carrier !== carrier) return;
      this._carrier = null;
      this.drop();
      this.later(why);
    };
    this.send(carrier, this.opening());
  }

  private opening(): Open {
    const { version, topics, rights } = this.options;
    return {
      kind: 'open',
      protocol: PROTOCOL,
      version,
      ...(topics === undefined ? {} : { topics }),
      rights: rights ?? ['view', 'steer'],
      pattern: this._pattern,
      boot: this._whole ? null : this._state.boot,
      cursor: this._whole ? 0 : this._state.cursor,
    };
  }

  private take(carrier: Carrier, message: unknown): void {
    if (!isFromHost(message)) {
      this.noteOnce(kindOf(message));
      return;
    }
    switch (message.kind) {
      case 'hello':
        clearTimeout(this._impatience);
        this._capability = message.capability;
        this._tries = 0;
        this.become(reduce(this._state, message));
        this.listenOn(carrier, 0);
        return;
      case 'skew':
        // Trying again would not help: whoever updates one of the two reloads the page anyway.
        this.become(reduce(this._state, message));
        this.hangUp();
        return;
      case 'frame':
        if (message.reset) this._whole = false;
        if (gap(this._state, message)) {
          this._whole = true;
          this.redial();
          return;
        }
        this.become(reduce(this._state, message));
        this.send(carrier, { kind: 'ack', cursor: message.cursor });
        this.listenOn(carrier, message.cursor);
        return;
      case 'reply': {
        if (message.id === 0) {
          this.told(new Refusal(message.problem ?? {}));
          return;
        }
        const waiting = this._waiting.get(message.id);
        if (waiting === undefined) return; // it came too late
        this._waiting.delete(message.id);
        clearTimeout(waiting.timer);
        if (message.problem === null) waiting.settle(message.value);
        else waiting.fail(new Refusal(message.problem));
      }
    }
  }

  /** Say the last `ack` again whenever no frame comes for long: jupyter-server may drop one. */
  private listenOn(carrier: Carrier, cursor: number): void {
    clearTimeout(this._silence);
    this._silence = setTimeout(() => {
      if (this._carrier !== carrier) return;
      this.send(carrier, { kind: 'ack', cursor });
      this.listenOn(carrier, cursor);
    }, PATIENCE.frame);
  }

  /** The host said what is wrong, and of no ask: that there is no session yet, say. */
  private told({ message }: Refusal): void {
    if (this._capability !== null) {
      this.options.note?.(message);
      return;
    }
    // It will greet as soon as it can; there is nothing to hurry.
    clearTimeout(this._impatience);
    this.become(linked(this._state, this._state.status ? 'lost' : 'connecting', message));
  }

  private send(carrier: Carrier, message: FromView): void {
    try {
      carrier.send(message);
    } catch (error) {
      carrier.onClose(error instanceof Error ? error.message : '');
    }
  }

  private hangUp(): void {
    clearTimeout(this._retry);
    this._dials++;
    this._dialling = false;
    const carrier = this._carrier;
    this._carrier = null;
    this.drop();
    carrier?.close();
  }

  private drop(): void {
    clearTimeout(this._impatience);
    clearTimeout(this._silence);
    this._capability = null;
    for (const { fail, timer } of this._waiting.values()) {
      clearTimeout(timer);
      fail(new Lost('The connection to the host was lost. It may still do what was asked.'));
    }
    this._waiting.clear();
  }

  private later(why: string): void {
    if (this._disposed) return;
    const known = this._state.status !== null;
    this.become(linked(this._state, known ? 'lost' : 'connecting', why));
    const { again } = PATIENCE;
    const pause = again[Math.min(this._tries++, again.length - 1)];
    clearTimeout(this._retry);
    this._retry = setTimeout(() => void this.dial(), pause);
  }

  private become(state: State): void {
    if (state === this._state) return;
    this._state = state;
    for (const listener of [...this._listeners]) listener(state);
  }

  private noteOnce(kind: string): void {
    if (this._unknown.has(kind)) return;
    this._unknown.add(kind);
    this.options.note?.(`The host said something this view does not know: ${kind}.`);
  }
}

const KINDS: ReadonlySet<unknown> = new Set<FromHost['kind']>(['hello', 'skew', 'frame', 'reply']);

function isFromHost(message: unknown): message is FromHost {
  return typeof message === 'object' && message !== null && KINDS.has(kindOf(message));
}

function kindOf(message: unknown): string {
  if (typeof message !== 'object' || message === null || !('kind' in message)) return 'no kind';
  return typeof message.kind === 'string' ? message.kind.slice(0, 40) : 'no kind';
}
