/** The sections of the panel: what they show, what they ask for, and that data stays text. */

import { ComponentsSection } from '../src/sections/components';
import { EventsSection } from '../src/sections/events';
import { FlowsSection } from '../src/sections/flows';
import { PAGE } from '../src/sections/list';
import { LogSection } from '../src/sections/log';
import { reduce } from '../src/state';
import { all, click, FakeDesk, heads, HOSTILE, press, settle, texts } from './desk';
import { component, event, flow, hello, line, stamp, status, step } from './fakes';

let desk: FakeDesk;

beforeEach(() => {
  desk = new FakeDesk();
  HTMLElement.prototype.scrollIntoView = (): void => undefined;
});

describe('components', () => {
  beforeEach(() => desk.seat(new ComponentsSection(desk)));

  test('an empty host says what to write, and copies it', () => {
    desk.see({ status: status({ components: [] }) });
    expect(document.body.textContent).toContain('Nothing is deployed yet');
    expect(all('.aegis-Room')[0]!.hidden).toBe(false);
    click('Copy');
    expect(desk.copied[0]).toMatch(/^%%component/);
    desk.see({ status: status() });
    expect(all('.aegis-Room')[0]!.hidden).toBe(true);
  });

  test('health is told in a word, with the reason', () => {
    const broken = component('bad', { health: 'broken', problem: 'line 3: SyntaxError' });
    desk.see({ status: status({ components: [component('good'), broken] }) });
    expect(texts('.aegis-Line .aegis-Badge')).toEqual(['ok', 'broken']);
    expect(texts('.aegis-Problem')).toEqual(['line 3: SyntaxError']);
  });

  test('a roll-back is confirmed first, and only offered where there is something before', async () => {
    const first = component('first', { previous: null });
    desk.see({ status: status({ components: [component('second'), first] }) });
    heads()[1]!.click();
    const hindered = all('button').find(({ textContent }) => textContent === 'Roll back')!;
    expect(hindered.getAttribute('aria-disabled')).toBe('true');
    expect(hindered.title).toContain('no revision before');
    hindered.click();
    await settle();
    expect(desk.questions).toEqual([]);
    heads()[1]!.click();
    heads()[0]!.click();
    desk.sure = false;
    click('Roll back');
    await settle();
    expect(desk.done).toEqual([]);
    desk.sure = true;
    click('Roll back');
    await settle();
    expect(desk.done).toEqual([{ verb: 'rollback', component: 'second' }]);
  });

  test('flows that wait for code lead to loading it', async () => {
    desk.see({ status: status({ waiting: ['orders 2.0.0'] }) });
    expect(document.body.textContent).toContain('orders 2.0.0');
    click('Load it');
    await settle();
    expect(desk.done).toEqual([{ verb: 'resume' }]);
  });

  test('a name is text, however odd', () => {
    const odd = [component(HOSTILE), component('🛡️'.repeat(50)), component('x'.repeat(200))];
    desk.see({ status: status({ components: odd }) });
    heads()[0]!.click();
    expect(texts('.aegis-Line .aegis-Name')).toEqual(odd.map(({ name }) => name));
    expect(all('img, script')).toEqual([]);
  });
});

describe('events', () => {
  beforeEach(() => desk.seat(new EventsSection(desk)));

  test('the newest is first, and what is there is not made anew', () => {
    desk.see({ status: status(), events: [event(1), event(2)] });
    const kept = heads()[0]!;
    desk.see({ events: [event(3)] });
    expect(texts('.aegis-Line time')).toHaveLength(3);
    expect(heads()[1]).toBe(kept);
  });

  test('however many there are, the page holds a few', () => {
    desk.see({ status: status() });
    for (let at = 0; at < 3000; at += 50) {
      desk.see({ events: Array.from({ length: 50 }, (_, n) => event(at + n + 1)) });
    }
    expect(heads()).toHaveLength(PAGE);
    click(`Show more (${1000 - PAGE})`);
    expect(heads()).toHaveLength(3 * PAGE);
  });

  test('an opened event shows its data as text, and the list stands still', async () => {
    const data = { text: HOSTILE };
    desk.answer = () => ({ line: event(2), data });
    desk.see({ status: status(), events: [event(1), event(2, { flow: 'flow-9' })] });
    heads()[0]!.click();
    await settle();
    expect(desk.asked).toEqual([{ verb: 'event', seq: 2 }]);
    expect(JSON.parse(texts('.aegis-Json')[0]!)).toEqual(data);
    expect(all('img, script')).toEqual([]);
    desk.see({ events: [event(3), event(4)] });
    expect(heads()).toHaveLength(2);
    expect(document.body.textContent).toContain('Paused: 2 newer');
    click('flow-9');
    expect(desk.shown).toEqual([{ kind: 'flow', id: 'flow-9' }]);
    click('Resume');
    expect(heads()).toHaveLength(4);
  });

  test('it pauses when told to', () => {
    desk.see({ status: status(), events: [event(1)] });
    click('Pause');
    desk.see({ events: [event(2)] });
    expect(heads()).toHaveLength(1);
    click('Resume');
    expect(heads()).toHaveLength(2);
  });

  test('what was read of the last run of a host goes with it', () => {
    desk.see({ status: status(), events: [event(1)] });
    heads()[0]!.click();
    desk.state_ = reduce(desk.state_, hello({ boot: 'boot-2' }));
    desk.see({ reset: true, status: status(), events: [event(1), event(2)] });
    expect(heads().map((head) => head.getAttribute('aria-expanded'))).toEqual(['false', 'false']);
  });

  test('a filter is followed by the host', () => {
    const filter = all<HTMLInputElement>('input')[0]!;
    filter.value = ' order.* ';
    press(filter, 'Enter');
    filter.value = '';
    press(filter, 'Enter');
    expect(desk.patterns).toEqual(['order.*', '*']);
  });

  test('an event that is not listed is said to be so', () => {
    desk.see({ status: status(), events: [event(7)] });
    desk.section!.show!({ kind: 'event', seq: 1 });
    expect(desk.told[0]).toContain('not among the newest');
    desk.section!.show!({ kind: 'event', seq: 7 });
    expect(heads()[0]!.getAttribute('aria-expanded')).toBe('true');
  });
});

describe('flows', () => {
  beforeEach(() => {
    desk.seat(new FlowsSection(desk));
    desk.see({
      status: status(),
      flows: [
        flow('done', 1),
        flow('open', 2, {
          state: 'running',
          waits: 'the retry at 12:00',
          steps: [step(1, 'pay', 'ready')],
        }),
        flow('undone', 3, {
          state: 'compensated',
          error: 'pay: declined',
          steps: [
            step(1, 'check', 'undone', { attempts: 2 }),
            step(2, 'pay', 'refused', { error: 'declined' }),
          ],
        }),
      ],
    });
  });

  test('each says where it stands, what it waits for and why it failed', () => {
    const [undone, open, done] = texts('.aegis-Line');
    expect(undone).toContain('compensated');
    expect(undone).toContain('pay: declined');
    expect(open).toContain('waits for the retry at 12:00');
    expect(done).toContain('completed');
  });

  test('the choice leaves the open or the failed ones', () => {
    const choice = all<HTMLSelectElement>('select')[0]!;
    for (const [value, count] of [
      ['open', 1],
      ['failed', 1],
      ['all', 3],
    ] as const) {
      choice.value = value;
      choice.dispatchEvent(new Event('change'));
      expect(heads()).toHaveLength(count);
    }
  });

  test('its steps are listed with their errors and kept up to date', () => {
    heads()[0]!.click();
    expect(texts('.aegis-Step')).toEqual([
      expect.stringMatching(/check.*undone.*2 failed attempts/),
      expect.stringMatching(/pay.*refused.*declined/),
    ]);
    heads()[1]!.click();
    desk.see({ flows: [flow('open', 9, { steps: [step(1, 'pay', 'done')] })] });
    const open = all('.aegis-Line').find((node) => node.querySelector('[aria-expanded=true]'))!;
    expect(open.textContent).toContain('completed');
    expect(texts('.aegis-Step')).toContainEqual(expect.stringMatching(/pay.*done/));
  });

  test('what a step waits for is told, and for how long it still does', () => {
    jest.useFakeTimers({ now: Date.parse(stamp(0)) });
    const due = stamp(62_500);
    const asked = step(1, 'pick', 'asked', { waits: 'warehouse.picked', due });
    desk.see({ flows: [flow('asks', 9, { state: 'running', steps: [asked] })] });
    expect(heads()[0]!.textContent).toContain('waits for warehouse.picked');
    heads()[0]!.click();
    expect(texts('.aegis-Step-waits')).toEqual(['waits for warehouse.picked · 1:03 left']);
    jest.advanceTimersByTime(3000);
    expect(texts('.aegis-Left')).toEqual(['1:00 left']);
    jest.advanceTimersByTime(61_000);
    expect(texts('.aegis-Left')).toEqual(['due now']);
    desk.section!.dispose();
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });

  const stuck = flow('stuck', 9, {
    state: 'compensation failed',
    steps: [
      step(1, 'reserve', 'done'),
      step(2, 'look', 'dropped'),
      step(3, 'pay', 'done'),
      step(4, 'pick', 'undo failed', { error: 'undo of pick: OSError: deaf' }),
      step(5, 'ship', 'undone'),
      step(6, 'close', 'failed'),
    ],
  });

  test('an undo that stopped says where and why, and goes on', async () => {
    desk.see({ flows: [stuck] });
    expect(texts('.aegis-Badge')[0]).toBe('compensation failed at pick');
    heads()[0]!.click();
    const [told] = texts('.aegis-Stopped');
    expect(told).toContain('stopped at pick: OSError: deaf');
    expect(told).toContain('Not undone yet: pay, reserve.');
    const ways = all('.aegis-Step').map((row) => row.dataset['back'] ?? null);
    expect(ways).toEqual([null, null, null, 'end', 'way', 'turn']);
    click('Continue');
    await settle();
    expect(desk.done).toEqual([{ verb: 'continue', id: 'stuck' }]);
    desk.see({ flows: [{ ...stuck, state: 'compensating', updated: stamp(10) }] });
    expect(all('.aegis-Stopped')).toEqual([]);
  });

  test('to skip a step is confirmed, with what that leaves behind', async () => {
    desk.see({ flows: [stuck] });
    heads()[0]!.click();
    desk.sure = false;
    click('Skip…');
    await settle();
    expect(desk.done).toEqual([]);
    const [question] = desk.questions;
    expect(question!.danger).toBe(true);
    expect(question!.body).toContain('What pick did at its partner stays as it is');
    expect(question!.body).toContain('goes on with: pay, reserve.');
    desk.sure = true;
    click('Skip…');
    await settle();
    expect(desk.done).toEqual([{ verb: 'skip', id: 'stuck' }]);
  });

  test('one that somebody canceled says so', () => {
    desk.see({ flows: [flow('off', 9, { state: 'compensated', canceled: true })] });
    expect(texts('.aegis-Badge')[0]).toBe('compensated, canceled');
  });

  test('its past is a click away', () => {
    heads()[0]!.click();
    click('Why');
    click('Replay');
    expect(desk.shown).toEqual([
      { kind: 'why', id: 'undone' },
      { kind: 'replay', id: 'undone' },
    ]);
  });

  test('its record and events come when they are asked for', async () => {
    desk.answer = () => ({ flow: flow('done', 1), record: { name: HOSTILE }, events: [event(5)] });
    heads()[2]!.click();
    expect(desk.asked).toEqual([]);
    click('Record and events');
    await settle();
    expect(texts('.aegis-Json')[0]).toContain('onerror');
    expect(all('img')).toEqual([]);
    click('order.created');
    expect(desk.shown).toEqual([{ kind: 'event', seq: 5 }]);
  });
});

describe('the log', () => {
  test('the newest line is first, and a level leaves the worse ones', () => {
    desk.seat(new LogSection(desk));
    desk.see({
      status: status(),
      log: [line(1), line(2, { level: 'error', text: HOSTILE }), line(3, { level: 'warning' })],
    });
    expect(texts('.aegis-Level')).toEqual(['warning', 'error', 'info']);
    expect(all('img')).toEqual([]);
    const choice = all<HTMLSelectElement>('select')[0]!;
    choice.value = 'error';
    choice.dispatchEvent(new Event('change'));
    expect(texts('.aegis-Wrap')).toEqual([HOSTILE]);
  });

  test('a line with a traceback opens to it, as text; the others do not open', async () => {
    desk.seat(new LogSection(desk));
    desk.answer = () => ({ text: HOSTILE });
    desk.see({ status: status(), log: [line(1), line(2, { level: 'warning', more: true })] });
    expect(heads().map(({ tagName }) => tagName)).toEqual(['BUTTON', 'DIV']);
    press(heads()[1]!, 'ArrowRight');
    expect(heads()[1]!.hasAttribute('aria-expanded')).toBe(false);
    heads()[0]!.click();
    await settle();
    expect(desk.asked).toEqual([{ verb: 'log', n: 2 }]);
    expect(texts('pre')).toEqual([HOSTILE]);
    expect(all('img')).toEqual([]);
  });
});

describe('the keyboard', () => {
  beforeEach(() => {
    desk.seat(new EventsSection(desk));
    desk.see({ status: status(), events: [event(1), event(2), event(3)] });
  });

  test('one line can be tabbed to; the arrows lead to the others', () => {
    expect(heads().map((head) => head.tabIndex)).toEqual([0, -1, -1]);
    heads()[0]!.focus();
    press(heads()[0]!, 'ArrowDown');
    expect(document.activeElement).toBe(heads()[1]);
    expect(heads().map((head) => head.tabIndex)).toEqual([-1, 0, -1]);
    press(heads()[1]!, 'End');
    press(heads()[2]!, 'ArrowDown');
    expect(document.activeElement).toBe(heads()[2]);
    press(heads()[2]!, 'Home');
    expect(document.activeElement).toBe(heads()[0]);
  });

  test('a line opens to the right, and closes to the left or by Escape', () => {
    const head = heads()[1]!;
    head.focus();
    press(head, 'ArrowRight');
    expect(head.getAttribute('aria-expanded')).toBe('true');
    press(head, 'ArrowLeft');
    expect(head.getAttribute('aria-expanded')).toBe('false');
    head.click();
    press(all('.aegis-Line-detail')[0]!, 'Escape');
    expect(head.getAttribute('aria-expanded')).toBe('false');
    expect(document.activeElement).toBe(head);
  });

  test('the focus stays in the list when its line goes', () => {
    heads()[2]!.focus();
    desk.see({ reset: true, status: status(), events: [event(9)] });
    expect(document.activeElement).toBe(heads()[0]);
  });
});
