/** A session is opened, kept up and opened again, whatever becomes of its carrier. */

import { Lost, PATIENCE, Refusal, Session, type SessionOptions } from '../src/session';
import { event, FakeCarrier, frame, hello, status } from './fakes';

class Exchange {
  readonly carriers: FakeCarrier[] = [];
  readonly notes: string[] = [];
  refuse: string | null = null;

  readonly options: SessionOptions = {
    version: '0.1.0',
    note: (text) => this.notes.push(text),
    dial: () => {
      if (this.refuse !== null) throw new Error(this.refuse);
      const carrier = new FakeCarrier();
      this.carriers.push(carrier);
      return carrier;
    },
  };

  get line(): FakeCarrier {
    return this.carriers.at(-1)!;
  }
}

let exchange: Exchange;
let session: Session;

async function settle(milliseconds = 0): Promise<void> {
  await jest.advanceTimersByTimeAsync(milliseconds);
}

async function begin(): Promise<void> {
  session.start();
  await settle();
  exchange.line.say(hello());
  exchange.line.say(frame({ cursor: 5, reset: true, status: status(), events: [event(5)] }));
}

beforeEach(() => {
  jest.useFakeTimers();
  exchange = new Exchange();
  session = new Session(exchange.options);
});

afterEach(() => {
  session.dispose();
  jest.useRealTimers();
});

test('nothing is sent before it starts; then one opening', async () => {
  await settle(1000);
  expect(exchange.carriers).toHaveLength(0);
  session.start();
  session.start();
  await settle();
  expect(exchange.line.sent).toEqual([
    expect.objectContaining({ kind: 'open', protocol: 1, pattern: '*', boot: null, cursor: 0 }),
  ]);
  expect(session.state.link).toBe('connecting');
});

test('each frame is taken and acknowledged', async () => {
  const states: number[] = [];
  session.listen((state) => states.push(state.cursor));
  await begin();
  exchange.line.say(frame({ since: 5, cursor: 9, events: [event(9)] }));
  expect(session.state.events.map(({ seq }) => seq)).toEqual([5, 9]);
  expect(exchange.line.sent.slice(1)).toEqual([
    { kind: 'ack', cursor: 5 },
    { kind: 'ack', cursor: 9 },
  ]);
  expect(states.at(-1)).toBe(9);
});

test('a frame that got lost is asked for by the last acknowledgement', async () => {
  session.start();
  await settle();
  exchange.line.say(hello());
  await settle(PATIENCE.frame);
  expect(exchange.line.sent.at(-1)).toEqual({ kind: 'ack', cursor: 0 });
  exchange.line.say(frame({ cursor: 5, reset: true, status: status(), events: [event(5)] }));
  await settle(PATIENCE.frame - 1);
  expect(exchange.line.sent).toHaveLength(3);
  await settle(PATIENCE.frame);
  expect(exchange.line.sent.slice(2)).toEqual([
    { kind: 'ack', cursor: 5 },
    { kind: 'ack', cursor: 5 },
  ]);
  expect(session.state.link).toBe('live');
});

test('an ask carries the capability and gets its own answer', async () => {
  await begin();
  const first = session.ask({ verb: 'retry', id: 'a' });
  const second = session.ask({ verb: 'discard', id: 'b' });
  const [one, two] = exchange.line.asks;
  expect(one).toMatchObject({ capability: 'secret', ask: { verb: 'retry', id: 'a' } });
  exchange.line.say({ kind: 'reply', id: two!.id, value: { text: 'second' }, problem: null });
  exchange.line.say({ kind: 'reply', id: one!.id, value: { text: 'first' }, problem: null });
  expect((await first).text).toBe('first');
  expect((await second).text).toBe('second');
});

test('a problem of the host is a refusal with its words', async () => {
  await begin();
  const asked = session.ask({ verb: 'rollback', component: 'orders' });
  const problem = { status: 409, title: 'Conflict', detail: 'There is no earlier revision.' };
  exchange.line.say({ kind: 'reply', id: exchange.line.asks[0]!.id, value: null, problem });
  await expect(asked).rejects.toEqual(new Refusal(problem));
  await expect(asked).rejects.toThrow('There is no earlier revision.');
});

test('an ask without an answer is lost, and the line is tried anew', async () => {
  await begin();
  const asked = session.ask({ verb: 'picture' });
  const outcome = expect(asked).rejects.toBeInstanceOf(Lost);
  await settle(PATIENCE.answer);
  await outcome;
  expect(exchange.carriers).toHaveLength(2);
  expect(exchange.carriers[0]!.closed).toBe(true);
});

test('what runs code of components is waited for longer', async () => {
  await begin();
  const asked = session.ask({ verb: 'retry_group', id: 'group:a' });
  const outcome = expect(asked).rejects.toBeInstanceOf(Lost);
  await settle(PATIENCE.answer);
  expect(exchange.carriers).toHaveLength(1);
  await settle(PATIENCE.slow - PATIENCE.answer);
  await outcome;
  expect(exchange.carriers).toHaveLength(2);
});

test('a view that may only read does not ask for more', async () => {
  session.start();
  await settle();
  exchange.line.say(hello({ rights: ['view'] }));
  await expect(session.ask({ verb: 'retry', id: 'a' })).rejects.toBeInstanceOf(Refusal);
  expect(exchange.line.asks).toHaveLength(0);
});

test('an ask without a connection is lost at once', async () => {
  await expect(session.ask({ verb: 'picture' })).rejects.toBeInstanceOf(Lost);
});

test('a lost line is dialled again and goes on at its cursor', async () => {
  await begin();
  const asked = session.ask({ verb: 'picture' });
  exchange.line.end('The connection was lost.');
  await expect(asked).rejects.toBeInstanceOf(Lost);
  expect(session.state).toMatchObject({ link: 'lost', note: 'The connection was lost.' });
  expect(session.state.events).toHaveLength(1); // what was known stays to be read
  await settle(PATIENCE.again[0]);
  expect(exchange.line.last('open')).toMatchObject({ boot: 'boot-1', cursor: 5 });
  exchange.line.say(hello());
  exchange.line.say(frame({ since: 5, cursor: 8, events: [event(8)] }));
  expect(session.state.link).toBe('live');
  expect(session.state.events.map(({ seq }) => seq)).toEqual([5, 8]);
});

test('after a restart the new run replaces the old one', async () => {
  await begin();
  exchange.line.end('The kernel was restarted.');
  await settle(PATIENCE.again[0]);
  exchange.line.say(hello({ boot: 'boot-2', capability: 'other' }));
  exchange.line.say(frame({ cursor: 2, reset: true, status: status(), events: [event(1)] }));
  expect(session.state.events.map(({ seq }) => seq)).toEqual([1]);
  void session.ask({ verb: 'picture' }).catch(() => undefined);
  expect(exchange.line.asks[0]!.capability).toBe('other');
});

test('it tries less and less often, and at once when woken', async () => {
  exchange.refuse = 'The kernel is not running.';
  session.start();
  await settle(60_000);
  expect(session.state).toMatchObject({ link: 'connecting', note: 'The kernel is not running.' });
  exchange.refuse = null;
  session.wake();
  await settle();
  expect(exchange.carriers).toHaveLength(1);
  session.wake();
  await settle();
  expect(exchange.carriers).toHaveLength(1);
});

test('a host that does not greet is dialled again', async () => {
  session.start();
  await settle(PATIENCE.hello + PATIENCE.again[0]!);
  expect(exchange.carriers).toHaveLength(2);
  expect(exchange.carriers[0]!.closed).toBe(true);
});

test('a gap makes it begin anew', async () => {
  await begin();
  exchange.line.say(frame({ since: 50, cursor: 60, events: [event(60)] }));
  await settle();
  expect(exchange.carriers).toHaveLength(2);
  expect(exchange.line.last('open')).toMatchObject({ boot: null, cursor: 0 });
});

test('another pattern sees events anew, over the same line', async () => {
  await begin();
  session.follow('order.*');
  expect(exchange.line.last('open')).toMatchObject({ pattern: 'order.*', boot: null, cursor: 0 });
  exchange.line.say(frame({ since: 5, cursor: 6, events: [event(6)] })); // it was under way
  exchange.line.say(hello({ capability: 'new' }));
  expect(session.state.status).not.toBeNull();
  exchange.line.say(frame({ cursor: 6, reset: true, status: status(), events: [event(2)] }));
  expect(session.state.events.map(({ seq }) => seq)).toEqual([2]);
  expect(exchange.carriers).toHaveLength(1);
  exchange.line.end();
  await settle(PATIENCE.again[0]);
  expect(exchange.line.last('open')).toMatchObject({ boot: 'boot-1', cursor: 6 });
});

test('where no host runs yet, it says why and waits for the greeting', async () => {
  session.start();
  await settle();
  exchange.line.say({ kind: 'reply', id: 0, value: null, problem: { detail: 'No host runs.' } });
  await settle(10 * PATIENCE.hello);
  expect(session.state).toMatchObject({ link: 'connecting', note: 'No host runs.' });
  expect(exchange.carriers).toHaveLength(1);
  exchange.line.say(hello());
  expect(session.state).toMatchObject({ link: 'live', note: '' });
});

test('a problem that answers no ask is noted', async () => {
  await begin();
  exchange.line.say({ kind: 'reply', id: 0, value: null, problem: { detail: 'Too long.' } });
  expect(exchange.notes).toEqual(['Too long.']);
  expect(session.state.link).toBe('live');
});

test('a skew is told, and not tried again', async () => {
  session.start();
  await settle();
  exchange.line.say({ kind: 'skew', protocol: 2, version: '9', text: 'Update aegis-kernel.' });
  await settle(120_000);
  session.wake();
  await settle();
  expect(session.state).toMatchObject({ link: 'skewed', note: 'Update aegis-kernel.' });
  expect(exchange.carriers).toHaveLength(1);
});

test('what is not known is noted once and changes nothing', async () => {
  await begin();
  const before = session.state;
  for (const said of [
    { kind: 'applause' },
    { kind: 'applause' },
    null,
    7,
    'hello',
    { kind: 3 },
    [],
  ]) {
    exchange.line.say(said);
  }
  expect(session.state).toBe(before);
  expect(exchange.notes).toEqual([
    expect.stringContaining('applause'),
    expect.stringContaining('no kind'),
  ]);
  exchange.line.say({ kind: 'reply', id: 99, value: 1, problem: null });
  expect(session.state).toBe(before);
});

test('a late word on an old line is not heard', async () => {
  await begin();
  const old = exchange.line;
  session.redial();
  await settle();
  old.say(frame({ since: 5, cursor: 6, events: [event(6)] }));
  old.end();
  expect(session.state.cursor).toBe(5);
  expect(exchange.carriers).toHaveLength(2);
});

test('disposed of, it hangs up, says nothing and ends once', async () => {
  let ended = 0;
  session = new Session({ ...exchange.options, ended: () => ended++ });
  await begin();
  const asked = session.ask({ verb: 'picture' });
  session.dispose();
  session.dispose();
  await expect(asked).rejects.toBeInstanceOf(Lost);
  exchange.line.say(frame({ since: 5, cursor: 6 }));
  await settle(120_000);
  expect(session.state.cursor).toBe(5);
  expect([exchange.carriers.length, exchange.line.closed, ended]).toEqual([1, true, 1]);
});

test('disposed of while it dials, it keeps no line', async () => {
  session.start();
  session.dispose();
  await settle();
  expect(exchange.line.closed).toBe(true);
  expect(exchange.line.sent).toHaveLength(0);
});
