/** A component in WebAssembly in the panel: its badge, its sandbox, what was stopped, and again. */

import type { GuestCost, GuestStatus, TrapLine, TrapOutcome } from '../src/protocol';
import { ComponentsSection } from '../src/sections/components';
import { Refusal } from '../src/session';
import { reduce } from '../src/state';
import { bytes } from '../src/views/guest';
import { all, click, FakeDesk, heads, HOSTILE, press, settle, texts } from './desk';
import { component, hello, split, stamp, status } from './fakes';

let desk: FakeDesk;

const SANDBOX: GuestStatus = {
  kind: 'module',
  size: 1536,
  digest: 'abcdef0123456789',
  contract: '0.1.0',
  imports: ['clock', 'host', 'http'],
  limits: { seconds: 0.5, memory: 1 << 26, output: 1 << 20, fuel: null },
  inline: false,
  fresh: false,
  needs: ['clock', 'http=https://api.example.org'],
  granted: ['clock'],
};

function cost(change: Partial<GuestCost> = {}): GuestCost {
  return {
    calls: 12,
    seconds: 0.25,
    stopped: {},
    queued: 0,
    wait_p50: 0.02,
    wait_p99: 1.5,
    threads: 1,
    instances: 2,
    memory: 1 << 18,
    ...change,
  };
}

function trap(n: number, change: Partial<TrapLine> = {}): TrapLine {
  return {
    n,
    revision: 'bank@1.0.0+abcdef01',
    function: 'Account.boom',
    time: stamp(n),
    reason: 'it ended itself',
    frames: ['inner', 'kaboom', 'invoke'],
    places: ['cell 4, line 17', '', ''],
    ...change,
  };
}

const fact = (name: string): string | null => {
  const term = all('.aegis-Sandbox dt').find((node) => node.textContent === name);
  return term?.hidden ? null : (term?.nextElementSibling?.textContent ?? null);
};

function again(change: Partial<TrapOutcome> = {}): TrapOutcome {
  return {
    n: 3,
    revision: 'bank@1.0.0+abcdef01',
    function: 'Account.boom',
    outcome: 'passed',
    same: false,
    reason: '',
    hint: null,
    frames: [],
    places: [],
    ...change,
  };
}

beforeEach(() => {
  HTMLElement.prototype.scrollIntoView = (): void => undefined;
  desk = new FakeDesk();
  desk.seat(new ComponentsSection(desk));
  desk.state_ = reduce(desk.state_, hello());
  const bank = component('bank', { language: 'wasm', guest: SANDBOX });
  desk.see({
    reset: true,
    status: status({ components: [bank, component('orders')] }),
    guests: [{ component: 'bank', cost: cost(), traps: [] }],
  });
});

test('each component has a badge of its language, and only one of them a sandbox', () => {
  expect(texts('.aegis-Language')).toEqual(['Wasm', 'Python']);
  for (const head of heads()) head.click();
  expect(texts('.aegis-Sandbox')).toHaveLength(1);
});

test('it tells what a call may use, what the host gave and what it costs', () => {
  heads()[0]!.click();
  expect(fact('Module')).toBe('plain module · 1.5 KiB · contract 0.1.0 · abcdef01');
  expect(fact('Limits')).toBe('0.5 s of computing, 64 MiB of memory, 1 MiB of answer');
  expect(fact('Of the host')).toBe(
    'host: each has it\nclock: granted\nhttp=https://api.example.org: not granted',
  );
  expect(fact('Computed')).toBe('250 ms in 12 calls');
  expect(fact('Waited')).toBe('p50 20 µs, p99 1.5 ms');
  expect(fact('Holds')).toBe('1 thread, 2 instances, 256 KiB of memory');
  expect(fact('Runs')).toBeNull();
  expect(fact('Stopped')).toBeNull();
});

test('figures move in place, and traps that did not change are not sent again', () => {
  heads()[0]!.click();
  const node = all('.aegis-Sandbox')[0]!;
  desk.see({ guests: [{ component: 'bank', cost: cost(), traps: [trap(3)] }] });
  const [line] = all('.aegis-Sandbox .aegis-Line-head');
  line!.click();
  const more = cost({ calls: 13, queued: 2, stopped: { time: 2, unreachable: 1, newer: 1 } });
  desk.see({ guests: [{ component: 'bank', cost: more, traps: null }] });
  expect(all('.aegis-Sandbox')[0]).toBe(node);
  expect(all('.aegis-Sandbox .aegis-Line-head')[0]).toBe(line);
  expect(line!.getAttribute('aria-expanded')).toBe('true');
  expect(fact('Computed')).toBe('250 ms in 13 calls');
  expect(fact('Waited')).toBe('p50 20 µs, p99 1.5 ms; 2 wait now');
  expect(fact('Stopped')).toBe('newer: 1\ncomputed for too long: 2\nended itself: 1');
});

test('the newest stopped call comes first, with its backtrace as text', () => {
  heads()[0]!.click();
  const traps = [trap(3), trap(4, { reason: HOSTILE, frames: [HOSTILE, 'invoke'] })];
  desk.see({ guests: [{ component: 'bank', cost: cost(), traps }] });
  const [newest] = all('.aegis-Sandbox .aegis-Line-head');
  expect(newest!.textContent).toContain(HOSTILE);
  newest!.click();
  expect(texts('.aegis-Backtrace > li')).toEqual([`${HOSTILE} cell 4, line 17`, 'invoke']);
  expect(document.querySelector('.aegis-Sandbox img, .aegis-Sandbox script')).toBeNull();
});

test.each([
  [again(), 'it passes now', []],
  [
    again({
      outcome: 'stopped',
      same: true,
      reason: 'its fuel',
      hint: 'raise it',
      frames: ['spin'],
    }),
    'stopped as then its fuel (raise it)',
    ['spin'],
  ],
  [again({ outcome: 'stopped', reason: 'its stack' }), 'stopped otherwise its stack', []],
  [again({ outcome: 'error', reason: 'not now' }), 'it gives an error now not now', []],
])('a replay tells what becomes of it: %#', async (answer, said, frames) => {
  heads()[0]!.click();
  desk.see({ guests: [{ component: 'bank', cost: cost(), traps: [trap(3)] }] });
  all('.aegis-Sandbox .aegis-Line-head')[0]!.click();
  desk.answer = () => answer;
  click('Replay');
  await settle();
  expect(desk.asked).toEqual([{ verb: 'replay_trap', component: 'bank', n: 3 }]);
  const [outcome] = all('.aegis-Sandbox-outcome');
  expect(outcome!.getAttribute('role')).toBe('status');
  expect(outcome!.querySelector('p')!.textContent).toBe(said);
  expect(texts('.aegis-Sandbox-outcome .aegis-Backtrace > li')).toEqual(frames);
});

test('what cannot be made again says why', async () => {
  heads()[0]!.click();
  desk.see({ guests: [{ component: 'bank', cost: cost(), traps: [trap(3)] }] });
  all('.aegis-Sandbox .aegis-Line-head')[0]!.click();
  desk.answer = () => {
    throw new Refusal({ detail: 'bank has no stopped call 3', status: 404, title: 'Not found' });
  };
  click('Replay');
  await settle();
  expect(texts('.aegis-Sandbox-outcome')).toEqual(['bank has no stopped call 3']);
});

test('the arrow keys walk the stopped calls and leave those of the components alone', () => {
  heads()[0]!.click();
  desk.see({ guests: [{ component: 'bank', cost: cost(), traps: [trap(3), trap(4)] }] });
  const [first, second] = all('.aegis-Sandbox .aegis-Line-head');
  first!.focus();
  press(first!, 'ArrowDown');
  expect(document.activeElement).toBe(second);
});

test('code of another language takes its sandbox with it', () => {
  heads()[0]!.click();
  desk.see({ status: status({ components: [component('bank')] }) });
  expect(texts('.aegis-Language')).toEqual(['Python']);
  expect(all('.aegis-Sandbox')).toEqual([]);
});

test('a candidate in another language says so beside what is live', () => {
  const tried = split('bank');
  const candidate = { ...tried.candidate, language: 'wasm' as const };
  desk.see({
    status: status({ components: [component('bank')] }),
    splits: [{ ...tried, candidate }],
  });
  heads()[0]!.click();
  expect(texts('.aegis-Arms [data-column=version]')).toEqual(['1.0.0', '1.1.0 (Wasm)']);
});

test('bytes are told as a person says them', () => {
  expect([0, 1023, 1024, 1536, 1 << 26, 2 ** 31].map(bytes)).toEqual([
    '0 B',
    '1023 B',
    '1 KiB',
    '1.5 KiB',
    '64 MiB',
    '2 GiB',
  ]);
});
