/** From an address to what serves: plan, deploy, split, another share, promote, drop. */

import type { GateRun, Plan, Verb } from '../src/protocol';
import { ComponentsSection } from '../src/sections/components';
import { Refusal } from '../src/session';
import { all, click, FakeDesk, heads, HOSTILE, press, settle, texts } from './desk';
import { component, hello, split, status } from './fakes';
import { reduce } from '../src/state';

let desk: FakeDesk;

function plan(change: Partial<Plan> = {}): Plan {
  return {
    source: 'github:acme/orders',
    component: 'orders',
    version: '1.1.0',
    digest: 'd1',
    before: '1.0.0',
    fits: true,
    nothing: false,
    lines: [
      { sign: '~', text: 'orders 1.0.0 -> 1.1.0' },
      { sign: '!', text: 'breaking: order.paid is gone' },
      { sign: '-', text: 'event order.paid' },
    ],
    data: null,
    ...change,
  };
}

const field = (label: string): HTMLInputElement =>
  all<HTMLInputElement>('input').find((node) => node.getAttribute('aria-label') === label)!;
const button = (text: string): HTMLElement =>
  all('button').find((node) => node.textContent === text)!;
const hindered = (text: string): boolean => button(text).getAttribute('aria-disabled') === 'true';

async function ask(address: string): Promise<void> {
  field('Source of a component').value = address;
  press(field('Source of a component'), 'Enter');
  await settle();
}

beforeEach(() => {
  HTMLElement.prototype.scrollIntoView = (): void => undefined;
  desk = new FakeDesk();
  desk.answer = () => plan();
  desk.seat(new ComponentsSection(desk));
  desk.state_ = reduce(desk.state_, hello());
  desk.see({ reset: true, status: status() });
});

describe('a plan', () => {
  test('tells what it breaks first, each with a sign that has a name', async () => {
    await ask(' github:acme/orders ');
    expect(desk.asked).toEqual([{ verb: 'plan', source: 'github:acme/orders' }]);
    expect(texts('.aegis-Plan-lines > li')).toEqual([
      '!breaking: order.paid is gone',
      '~orders 1.0.0 -> 1.1.0',
      '\u2212event order.paid',
    ]);
    const signs = all('.aegis-Sign').map((node) => node.getAttribute('aria-label'));
    expect(signs).toEqual(['breaking', 'changed', 'removed']);
    expect(document.body.textContent).toContain('fits, and breaks others');
  });

  test('is deployed as it was looked at, and leads to its component', async () => {
    await ask('github:acme/orders');
    click('Deploy');
    await settle();
    expect(desk.done).toEqual([{ verb: 'deploy', source: 'github:acme/orders', digest: 'd1' }]);
    expect(desk.shown).toEqual([{ kind: 'component', name: 'orders' }]);
    expect(all('.aegis-Plan')[0]!.hidden).toBe(true);
  });

  test('that would be refused says why, and cannot be deployed', async () => {
    const lines = [{ sign: 'x', text: 'refused: no adapter for Bank' }];
    desk.answer = () => plan({ fits: false, lines });
    await ask('here');
    expect(hindered('Deploy')).toBe(true);
    click('Deploy');
    await settle();
    expect(desk.done).toEqual([]);
    expect(texts('.aegis-Plan .aegis-Badge')).toEqual(['would be refused']);
  });

  test('has nothing to do where this very code serves', async () => {
    desk.answer = () => plan({ nothing: true, lines: [] });
    await ask('here');
    expect([hindered('Deploy'), hindered('Split')]).toEqual([true, true]);
    expect(document.body.textContent).toContain('This very code serves already.');
  });

  test('splits by a share that is one, and only beside what serves', async () => {
    await ask('here');
    const share = field('Share of the candidate in percent');
    for (const wrong of ['', '101', '-1', 'x']) {
      share.value = wrong;
      click('Split');
      await settle();
      expect(share.getAttribute('aria-invalid')).toBe('true');
    }
    expect(desk.done).toEqual([]);
    share.value = '12.5';
    press(share, 'Enter');
    await settle();
    expect(desk.done).toEqual([
      { verb: 'split', source: 'github:acme/orders', digest: 'd1', weight: 12.5 },
    ]);
    desk.answer = () => plan({ component: 'new', before: null });
    await ask('here');
    expect([hindered('Deploy'), hindered('Split')]).toEqual([false, true]);
  });

  test('waits while another candidate is tried, and for who may only read', async () => {
    await ask('here');
    desk.see({ splits: [split('orders')] });
    expect([hindered('Deploy'), hindered('Split')]).toEqual([true, true]);
    expect(button('Deploy').title).toContain('1.1.0 is tried');
    desk.see({ splits: [] });
    expect(hindered('Deploy')).toBe(false);
    desk.state_ = reduce(desk.state_, hello({ rights: ['view'] }));
    desk.see({ status: status() });
    expect(button('Deploy').title).toBe('This view may only read.');
  });

  test('that cannot be had says why and what to do, and the next one is not mixed up with it', async () => {
    desk.answer = () => {
      throw new Refusal({ detail: 'nothing is at ./odd', hint: 'is it a folder?' });
    };
    await ask('./odd');
    expect(texts('.aegis-Problem')).toEqual(['nothing is at ./odd (is it a folder?)']);
    const answers: ((found: Plan) => void)[] = [];
    desk.answer = (verb: Verb) =>
      verb.verb === 'plan' ? new Promise<Plan>((tell) => answers.push(tell)) : null;
    await ask('slow');
    await ask('quick');
    answers[1]!(plan({ version: '2.0.0' }));
    answers[0]!(plan({ version: '0.0.1' }));
    await settle();
    expect(all('.aegis-Plan')[0]!.textContent).toContain('1.0.0 → 2.0.0');
    click('Close');
    expect(all('.aegis-Plan')[0]!.hidden).toBe(true);
  });

  test('of nothing asks for an address', async () => {
    await ask('  ');
    expect(desk.asked).toEqual([]);
    expect(field('Source of a component').getAttribute('aria-invalid')).toBe('true');
  });

  test('is text, however odd', async () => {
    const lines = [{ sign: '!', text: HOSTILE }];
    desk.answer = () => plan({ component: HOSTILE, version: HOSTILE, before: HOSTILE, lines });
    await ask('here');
    expect(all('img, script')).toEqual([]);
    expect(texts('.aegis-Plan-lines > li')).toEqual([`!${HOSTILE}`]);
  });
});

describe('a gate', () => {
  const run = (change: Partial<GateRun> = {}): GateRun => ({
    component: 'orders',
    version: '1.1.0',
    digest: 'd1',
    source: 'github:acme/orders',
    state: 'running',
    done: 0,
    total: 0,
    text: '',
    passes: false,
    deployed: false,
    diverging: [],
    notes: [],
    ...change,
  });

  beforeEach(async () => {
    await ask('github:acme/orders');
    click('Gate');
    await settle();
  });

  const gate = (): HTMLElement => all('.aegis-Gate')[0]!;

  test('tells how far it is, keeps others waiting, and is canceled', async () => {
    expect(desk.done).toEqual([{ verb: 'gate', source: 'github:acme/orders', digest: 'd1' }]);
    desk.see({ gates: [run()] });
    expect(gate().textContent).toContain('Looking up what was recorded');
    desk.see({ gates: [run({ done: 120, total: 416 })] });
    expect(gate().textContent).toContain('Tried 120 of 416');
    expect(all<HTMLProgressElement>('progress')[0]!.value).toBe(120);
    expect([hindered('Gate'), hindered('Deploy'), hindered('Split')]).toEqual([true, true, true]);
    click('Cancel');
    await settle();
    expect(desk.done.at(-1)).toEqual({ verb: 'cancel_gate', component: 'orders' });
    desk.see({ gates: [run({ state: 'canceled', text: 'it was canceled' })] });
    expect(texts('.aegis-Gate .aegis-Badge')).toEqual(['canceled']);
    expect(hindered('Deploy')).toBe(false);
  });

  test('shows what is otherwise, and leads to each', () => {
    const diverging: GateRun['diverging'] = [
      { id: 'f1', kind: 'flow', what: HOSTILE, verdict: 'raises', error: HOSTILE, rows: [] },
      {
        id: 'e1',
        kind: 'request',
        what: 'order.created a1',
        verdict: 'differs',
        error: null,
        rows: [{ what: 'record', then: 'total=1', now: null }],
      },
    ];
    const text = '412 same, 3 differ, 1 raises';
    desk.see({ gates: [run({ state: 'done', text, diverging, notes: ['and 2 more'] })] });
    expect(gate().textContent).toContain(`the gate refuses it ${text}`);
    expect(gate().textContent).toContain('record\u2212 total=1+ not there');
    expect(gate().textContent).toContain('and 2 more');
    expect(all('img, script')).toEqual([]);
    click(HOSTILE);
    click('order.created a1');
    expect(desk.shown).toEqual([
      { kind: 'flow', id: 'f1' },
      { kind: 'why', id: 'e1' },
    ]);
  });

  test('of other code is not mistaken for this one', () => {
    desk.see({ gates: [run({ digest: 'd0', state: 'done', passes: true })] });
    expect(gate().hidden).toBe(true);
  });

  test('that was asked to deploys what passes', async () => {
    all<HTMLInputElement>('input[type=checkbox]')[0]!.checked = true;
    click('Deploy');
    await settle();
    expect(desk.done.at(-1)).toEqual({
      verb: 'gate',
      source: 'github:acme/orders',
      digest: 'd1',
      deploy: true,
    });
    desk.see({ gates: [run({ done: 1, total: 2 })] });
    desk.see({ gates: [run({ state: 'done', passes: true, deployed: true })] });
    expect(desk.shown).toEqual([{ kind: 'component', name: 'orders' }]);
    expect(all('.aegis-Plan')[0]!.hidden).toBe(true);
  });
});

describe('a split', () => {
  beforeEach(() => {
    desk.see({ splits: [split('orders', 50, 3, 4)] });
    heads()[0]!.click();
  });

  const rows = (): (string | null)[][] =>
    all('.aegis-Arms tbody tr').map((row) => [...row.children].map((cell) => cell.textContent));

  test('shows both sides, and their figures move while a person types', () => {
    expect(rows()).toEqual([
      ['version', '1.0.0', '1.1.0'],
      ['share', '50 %', '50 %'],
      ['calls', '3', '4'],
      ['errors', '0', '0'],
      ['p50', '1.5 ms', '1.5 ms'],
      ['p99', '20 ms', '20 ms'],
    ]);
    const share = field('Share of the candidate in percent');
    share.focus();
    share.value = '7';
    desk.see({ splits: [split('orders', 50, 30, 40)] });
    expect(rows()[2]).toEqual(['calls', '30', '40']);
    expect(field('Share of the candidate in percent')).toBe(share);
    expect([share.value, document.activeElement]).toEqual(['7', share]);
    expect(texts('.aegis-Line-head .aegis-Cut').join()).toContain(
      '1.1.0 gets 50 %: 40 of 70 calls, 0 errors',
    );
  });

  test('gets another share, is promoted or dropped', async () => {
    field('Share of the candidate in percent').value = '80';
    click('Set share');
    click('Promote');
    click('Drop');
    await settle();
    expect(desk.done).toEqual([
      { verb: 'weigh', component: 'orders', weight: 80 },
      { verb: 'promote', component: 'orders' },
      { verb: 'drop', component: 'orders' },
    ]);
    desk.see({ splits: [split('orders', 80)] });
    expect(field('Share of the candidate in percent').value).toBe('80');
    desk.see({ splits: [] });
    expect(all('.aegis-Split')).toEqual([]);
  });

  test('keeps from rolling back, and says what comes first', () => {
    expect(hindered('Roll back')).toBe(true);
    expect(document.body.textContent).toContain('Promote the candidate or drop it');
    desk.see({ splits: [] });
    expect(hindered('Roll back')).toBe(false);
  });
});

describe('a component', () => {
  test('tells who brought it, what ends on old code, and what is held', () => {
    const followed = {
      address: 'github:acme/orders',
      range: '^1.0.0',
      newest: '1.2.0',
      held: '1.2.0',
      why: HOSTILE,
      problem: null,
    };
    const older = [
      { revision: 'orders@0.9.0+aa', flows: 1 },
      { revision: 'orders@0.8.0+bb', flows: 2 },
    ];
    const one = component('orders', { who: 'panel', older, followed });
    desk.see({ status: status({ components: [one] }) });
    heads()[0]!.click();
    const told = document.body.textContent;
    for (const part of [
      ', by panel',
      'orders@0.9.0+aa: 1 open flow ends on it',
      'orders@0.8.0+bb: 2 open flows end on it',
      'github:acme/orders (^1.0.0)',
      `1.2.0 is held: ${HOSTILE}`,
    ]) {
      expect(told).toContain(part);
    }
    expect(all('img, script')).toEqual([]);
  });

  test('that is as it was is not drawn anew, however many there are', () => {
    const many = (): ReturnType<typeof component>[] =>
      Array.from({ length: 50 }, (_, n) => component(`c${n}`));
    desk.see({ status: status({ components: many() }) });
    const before = all('.aegis-Line-row');
    desk.see({ status: status({ components: many(), events: 9 }), splits: [split('c7')] });
    const after = new Set(all('.aegis-Line-row'));
    // The line of the one that is split, and of no other.
    expect(before.filter((node) => !after.has(node))).toHaveLength(2);
  });
});
