/** What frames add up to does not depend on how they were cut, and stays bounded. */

import type { EventLine, Figure, FlowLine, Frame, LogLine } from '../src/protocol';
import { EMPTY, EVENTS, FLOWS, LOG, gap, problems, reduce, type State } from '../src/state';
import { component, dice, event, flow, frame, hello, line, stamp, status } from './fakes';
import { IDLE } from '../src/views/graph-figures';

type Change =
  | { readonly kind: 'event'; readonly line: EventLine }
  | { readonly kind: 'flow'; readonly flow: FlowLine }
  | { readonly kind: 'log'; readonly line: LogLine }
  | { readonly kind: 'figure'; readonly id: string; readonly figure: Figure }
  | { readonly kind: 'status'; readonly events: number };

function figure(calls: number): Figure {
  return { ...IDLE, calls, state: 'ok' };
}

/** A life of a host: changes in their order, numbered from one. */
function life(seed: number, length: number): readonly Change[] {
  const roll = dice(seed);
  const states = ['running', 'running', 'completed', 'compensated'];
  return Array.from({ length }, (_, at): Change => {
    const n = at + 1;
    const pick = Math.floor(roll() * 5);
    if (pick === 0) return { kind: 'event', line: event(n) };
    if (pick === 1) return { kind: 'log', line: line(n) };
    if (pick === 2) return { kind: 'status', events: n };
    if (pick === 3) {
      return { kind: 'figure', id: `port:${Math.floor(roll() * 9)}`, figure: figure(n) };
    }
    const id = `flow-${Math.floor(roll() * length * 0.6)}`;
    const state = states[Math.floor(roll() * states.length)] ?? 'running';
    return { kind: 'flow', flow: flow(id, n, { state }) };
  });
}

/** The frame a host makes of the changes after `since` up to `cursor`. */
function cut(changes: readonly Change[], since: number, cursor: number): Frame {
  const events: EventLine[] = [];
  const log: LogLine[] = [];
  const flows = new Map<string, FlowLine>();
  const figures: Record<string, Figure> = {};
  let newest: number | null = null;
  for (const change of changes.slice(since, cursor)) {
    if (change.kind === 'event') events.push(change.line);
    else if (change.kind === 'log') log.push(change.line);
    else if (change.kind === 'flow') flows.set(change.flow.id, change.flow);
    else if (change.kind === 'figure') figures[change.id] = change.figure;
    else newest = change.events;
  }
  return frame({
    since,
    cursor,
    reset: since === 0,
    time: stamp(cursor),
    events,
    log,
    flows: [...flows.values()],
    figures,
    status: newest === null ? null : status({ events: newest }),
  });
}

function fold(changes: readonly Change[], cuts: readonly number[]): State {
  let state = reduce(EMPTY, hello());
  let since = 0;
  for (const cursor of cuts) {
    state = reduce(state, cut(changes, since, cursor));
    since = cursor;
  }
  return state;
}

test.each([1, 2, 3, 4, 5, 6, 7, 8])('any split of a life gives the same state (%i)', (seed) => {
  const roll = dice(seed * 7919);
  const changes = life(seed, 4000);
  const whole = fold(changes, [changes.length]);
  for (let round = 0; round < 5; round++) {
    const cuts = new Set([changes.length]);
    const pieces = 1 + Math.floor(roll() * 60);
    for (let piece = 0; piece < pieces; piece++) cuts.add(1 + Math.floor(roll() * changes.length));
    const state = fold(
      changes,
      [...cuts].sort((a, b) => a - b),
    );
    expect(state).toEqual(whole);
  }
});

test('a frame that comes twice changes nothing', () => {
  const changes = life(11, 300);
  const state = fold(changes, [100, 200, 300]);
  expect(reduce(state, cut(changes, 100, 200))).toBe(state);
  expect(reduce(state, cut(changes, 200, 300))).toBe(state);
});

test('what did not change is the same object', () => {
  const before = fold(life(12, 300), [300]);
  const after = reduce(before, frame({ since: 300, cursor: 301, events: [event(301)] }));
  expect(after.events).not.toBe(before.events);
  for (const part of ['status', 'figures', 'flows', 'failed', 'log'] as const) {
    expect(after[part]).toBe(before[part]);
  }
});

test('a reset forgets what was there, but not whom one talks to', () => {
  const before = fold(life(13, 300), [300]);
  const after = reduce(before, frame({ cursor: 7, reset: true, events: [event(7)] }));
  expect(after.events).toEqual([event(7)]);
  expect(after.flows).toEqual([]);
  expect(after.status).toBeNull();
  expect([after.cursor, after.boot, after.link]).toEqual([7, 'boot-1', 'live']);
});

test('another run of the host begins anew, the same one goes on', () => {
  const before = fold(life(14, 300), [300]);
  expect(reduce(before, hello()).events).toBe(before.events);
  const other = reduce(before, hello({ boot: 'boot-2' }));
  expect([other.cursor, other.events, other.status]).toEqual([0, [], null]);
});

test('a gap is seen, and a reset is none', () => {
  const state = fold(life(15, 100), [100]);
  expect(gap(state, frame({ since: 100, cursor: 120 }))).toBe(false);
  expect(gap(state, frame({ since: 90, cursor: 120 }))).toBe(false);
  expect(gap(state, frame({ since: 101, cursor: 120 }))).toBe(true);
  expect(gap(state, frame({ since: 101, cursor: 120, reset: true }))).toBe(false);
});

test('a burst of 100,000 events stays bounded, and what is left out is counted', () => {
  let state = reduce(EMPTY, hello());
  for (let at = 0; at < 100_000; at += 50) {
    const events = Array.from({ length: 50 }, (_, n) => event(at + n + 1));
    const flows = events.map(({ seq }) => flow(`flow-${seq}`, seq));
    const log = events.map(({ seq }) => line(seq));
    state = reduce(state, frame({ since: at, cursor: at + 50, events, flows, log }));
  }
  expect([state.events.length, state.flows.length, state.log.length]).toEqual([EVENTS, FLOWS, LOG]);
  expect(state.skipped).toBe(100_000 - EVENTS);
  expect(state.events.at(-1)?.seq).toBe(100_000);
  expect(state.flows[0]?.id).toBe('flow-100000');
  expect(state.log[0]?.n).toBe(100_000 - LOG + 1);
});

test('an open flow outlives a crowd of ended ones', () => {
  let state = reduce(EMPTY, frame({ flows: [flow('stuck', 1, { state: 'running' })] }));
  for (let n = 2; n < 2000; n++) {
    state = reduce(state, frame({ since: n - 1, cursor: n, flows: [flow(`flow-${n}`, n)] }));
  }
  expect(state.flows).toHaveLength(FLOWS);
  expect(state.flows.at(-1)?.id).toBe('stuck');
});

test('the rate goes on when nothing happens', () => {
  const state = reduce(EMPTY, frame({ rate: 40 }));
  const after = reduce(state, frame({ since: 1, cursor: 1, rate: 0 }));
  expect(after.rate).toBe(0);
  expect(after.events).toBe(state.events);
});

test('problems are what a person should look at', () => {
  expect(problems(EMPTY)).toBe(0);
  const troubled = status({
    components: [component('good'), component('bad', { health: 'failing' })],
    problems: [{ source: 'lag', text: 'slow', time: stamp(0) }],
    waiting: ['orders 2.0.0'],
    failed: 3,
  });
  expect(problems(reduce(EMPTY, frame({ status: troubled })))).toBe(6);
});

test('a skew is told', () => {
  const said = { kind: 'skew', protocol: 2, version: '9', text: 'Update aegis-kernel.' } as const;
  expect(reduce(EMPTY, said)).toMatchObject({ link: 'skewed', note: said.text, version: '9' });
});

test('a frame that was only late is told again, and still counts once', () => {
  let state = reduce(
    EMPTY,
    frame({ cursor: 2, reset: true, status: status(), events: [event(1)], log: [line(1)] }),
  );
  state = reduce(state, frame({ since: 2, cursor: 4, events: [event(2)], log: [line(2)] }));
  state = reduce(
    state,
    frame({ since: 2, cursor: 6, events: [event(2), event(3)], log: [line(2), line(3)] }),
  );
  expect(state.events.map(({ seq }) => seq)).toEqual([1, 2, 3]);
  expect(state.log.map(({ n }) => n)).toEqual([1, 2, 3]);
  expect(state.skipped).toBe(0);
});
