/** What stands in for a host in these tests: frames made up, and the far end of a comm. */

import type { Kernel } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';

import type {
  Ask,
  Component,
  EventLine,
  FlowLine,
  Frame,
  FromView,
  Hello,
  LogLine,
  Split,
  Status,
  StepLine,
} from '../src/protocol';
import type { Carrier } from '../src/session';

export function hello(change: Partial<Hello> = {}): Hello {
  return {
    kind: 'hello',
    protocol: 1,
    version: '0.1.0',
    boot: 'boot-1',
    capability: 'secret',
    rights: ['view', 'steer'],
    ...change,
  };
}

export function frame(change: Partial<Frame> = {}): Frame {
  return {
    kind: 'frame',
    cursor: 1,
    since: 0,
    reset: false,
    time: stamp(0),
    rate: 0,
    status: null,
    figures: {},
    events: [],
    skipped: 0,
    flows: [],
    failed: null,
    log: [],
    splits: null,
    gates: [],
    guests: [],
    ...change,
  };
}

export function stamp(millisecond: number): string {
  return new Date(Date.UTC(2026, 0, 1) + millisecond).toISOString();
}

export function event(seq: number, change: Partial<EventLine> = {}): EventLine {
  return {
    seq,
    id: `event-${seq}`,
    type: 'order.created',
    subject: `Order/${seq}`,
    time: stamp(seq),
    component: 'orders',
    flow: null,
    cause: null,
    ...change,
  };
}

export function flow(id: string, updated: number, change: Partial<FlowLine> = {}): FlowLine {
  return {
    id,
    component: 'orders',
    version: '1.0.0',
    model: 'Order',
    record: id,
    state: 'completed',
    created: stamp(0),
    updated: stamp(updated),
    steps: [],
    error: null,
    waits: null,
    root: `event of ${id}`,
    canceled: false,
    ...change,
  };
}

export function step(
  n: number,
  port: string,
  state: string,
  change: Partial<StepLine> = {},
): StepLine {
  return {
    n,
    model: 'orders.Order',
    port,
    record: 'a1',
    state,
    attempts: n,
    updated: stamp(n * 10),
    cause: 'e',
    error: null,
    waits: null,
    due: null,
    ...change,
  };
}

export function line(n: number, change: Partial<LogLine> = {}): LogLine {
  return {
    n,
    time: stamp(n),
    level: 'info',
    source: 'host',
    text: `line ${n}`,
    more: false,
    ...change,
  };
}

export function component(name: string, change: Partial<Component> = {}): Component {
  return {
    name,
    version: '1.0.0',
    revision: '3',
    digest: 'abcdef0123456789',
    origin: 'cell 3',
    endpoints: ['/orders'],
    models: ['Order'],
    previous: '2',
    health: 'ok',
    problem: null,
    since: stamp(0),
    who: '',
    resolved: '',
    signed: '',
    older: [],
    followed: null,
    language: 'python',
    guest: null,
    ...change,
  };
}

/** A candidate 1.1.0 beside 1.0.0, with these calls. */
export function split(component: string, weight = 10, live = 0, candidate = 0): Split {
  const language = 'python' as const;
  const digest = 'abcdef0123456789';
  const arm = { origin: 'cell 3', digest, errors: 0, p50: 1.5, p99: 20, language };
  return {
    component,
    by: 'record',
    live: { ...arm, version: '1.0.0', weight: 100 - weight, calls: live },
    candidate: { ...arm, version: '1.1.0', weight, calls: candidate },
  };
}

export function status(change: Partial<Status> = {}): Status {
  return {
    address: 'http://127.0.0.1:8123',
    data: null,
    notebook: 'orders.ipynb',
    graph: 'g1',
    components: [component('orders')],
    problems: [],
    waiting: [],
    flows_open: 0,
    events: 0,
    failed: 0,
    ...change,
  };
}

/** The near end of a comm whose far end the test holds. */
export class FakeCarrier implements Carrier {
  onMessage: (message: unknown) => void = () => undefined;
  onClose: (why: string) => void = () => undefined;
  readonly sent: FromView[] = [];
  closed = false;

  send(message: FromView): void {
    if (this.closed) throw new Error('closed');
    this.sent.push(message);
  }

  close(): void {
    this.closed = true;
  }

  /** The host says something. */
  say(message: unknown): void {
    this.onMessage(JSON.parse(JSON.stringify(message)));
  }

  /** The far end goes away. */
  end(why = 'gone'): void {
    this.closed = true;
    this.onClose(why);
  }

  last<K extends FromView['kind']>(kind: K): Extract<FromView, { kind: K }> {
    const found = this.sent.filter((message) => message.kind === kind).at(-1);
    if (found === undefined) throw new Error(`nothing of kind ${kind} was sent`);
    return found as Extract<FromView, { kind: K }>;
  }

  get asks(): readonly Ask[] {
    return this.sent.filter((message) => message.kind === 'ask');
  }
}

interface Sent {
  readonly header: { readonly msg_type: string };
  readonly content: {
    readonly comm_id: string;
    readonly target_name?: string;
    readonly data: unknown;
  };
}

/** A connection to a kernel, as far as a carrier uses one. */
export class FakeKernel {
  status = 'idle';
  isDisposed = false;
  implementation = 'ipython';
  readonly clientId = 'client';
  readonly username = '';
  connectionStatus: Kernel.ConnectionStatus = 'connected';
  readonly anyMessage = new Signal<this, Kernel.IAnyMessageArgs>(this);
  readonly connectionStatusChanged = new Signal<this, Kernel.ConnectionStatus>(this);
  readonly statusChanged = new Signal<this, string>(this);
  readonly disposed = new Signal<this, void>(this);
  readonly sent: Sent[] = [];
  futures = 0;

  constructor(
    readonly id = 'kernel-1',
    readonly name = 'aegis',
  ) {}

  get info(): Promise<{ implementation: string }> {
    return Promise.resolve({ implementation: this.implementation });
  }

  dispose(): void {
    this.isDisposed = true;
    this.disposed.emit();
  }

  sendShellMessage(message: Sent): { dispose: () => void } {
    this.sent.push(message);
    this.futures++;
    return { dispose: () => this.futures-- };
  }

  /** The kernel says something on iopub. */
  say(msg_type: string, content: object, session = 'process-1'): void {
    const header = { msg_type, session, msg_id: '', date: '', username: '', version: '5.3' };
    const msg = { header, content, channel: 'iopub', metadata: {}, parent_header: {} };
    this.anyMessage.emit({ msg, direction: 'recv' } as unknown as Kernel.IAnyMessageArgs);
  }
}

/** A generator of numbers from 0 to 1 that says the same each time. */
export function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296;
    return state / 4294967296;
  };
}
