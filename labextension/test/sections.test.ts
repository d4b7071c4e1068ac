/** The sections of the panel: what they show, what they ask for, and that data stays text. */

import type { Done, FailedLine, Verb } from '../src/protocol';
import { ComponentsSection } from '../src/sections/components';
import { EventsSection } from '../src/sections/events';
import { FailedSection } from '../src/sections/failed';
import { FlowsSection } from '../src/sections/flows';
import { PAGE } from '../src/sections/list';
import { LogSection } from '../src/sections/log';
import type { Deed, Desk, Section } from '../src/sections/section';
import { EMPTY, reduce, type State } from '../src/state';
import type { Target } from '../src/views/view';
import { component, event, flow, frame, hello, line, stamp, status, step } from './fakes';

const HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>alert(1)</script>';

/** A desk that remembers what was asked of it. */
class FakeDesk implements Desk {
  state_: State = EMPTY;
  sure = true;
  readonly asked: Verb[] = [];
  readonly done: Deed[] = [];
  readonly shown: Target[] = [];
  readonly told: string[] = [];
  readonly copied: string[] = [];
  readonly patterns: string[] = [];
  section: Section | null = null;
  answer: (verb: Verb) => unknown = () => ({ text: 'done' });

  readonly say: Desk['say'] = (text, ...values) =>
    text.replace(/%(\d)/g, (_, place: string) => String(values[Number(place) - 1]));
  readonly ask = ((verb: Verb) => {
    this.asked.push(verb);
    return Promise.resolve(verb).then(this.answer);
  }) as Desk['ask'];
  readonly act = (deed: Deed): Promise<Done | null> => {
    this.done.push(deed);
    return Promise.resolve({ text: 'done' });
  };
  readonly confirm = (): Promise<boolean> => Promise.resolve(this.sure);
  readonly show = (target: Target): void => void this.shown.push(target);
  readonly follow = (pattern: string): void => void this.patterns.push(pattern);
  readonly refresh = (): void => this.section?.update(this.state_);
  readonly copy = (text: string): void => void this.copied.push(text);
  readonly tell = (text: string): void => void this.told.push(text);
  readonly state = (): State => this.state_;

  /** Puts a section on the page. */
  seat<S extends Section>(section: S): S {
    this.section = section;
    document.body.replaceChildren(section.node);
    return section;
  }

  see(change: Parameters<typeof frame>[0]): void {
    const cursor = this.state_.cursor + 1;
    this.state_ = reduce(this.state_, frame({ since: cursor - 1, cursor, ...change }));
    this.refresh();
  }
}

let desk: FakeDesk;

beforeEach(() => {
  desk = new FakeDesk();
  HTMLElement.prototype.scrollIntoView = (): void => undefined;
});

const all = <E extends HTMLElement>(selector: string): E[] => [
  ...document.body.querySelectorAll<E>(selector),
];
const heads = (): HTMLElement[] => all('.aegis-Line-head');
const texts = (selector: string): (string | null)[] =>
  all(selector).map((node) => node.textContent);
const press = (node: HTMLElement, key: string): void =>
  void node.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));

function click(text: string): void {
  const found = all<HTMLButtonElement>('button').find((node) => node.textContent === text);
  if (!found) throw new Error(`no button ${text}`);
  found.click();
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

function failure(id: string, change: Partial<FailedLine> = {}): FailedLine {
  return {
    id,
    kind: 'listener',
    what: 'orders.Order.notify',
    subject: 'Order/1',
    error: 'ValueError: no address',
    attempts: 3,
    time: stamp(0),
    held: false,
    event: `event of ${id}`,
    ...change,
  };
}

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
    expect(texts('button')).not.toContain('Roll back');
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
    expect(texts('.aegis-Steps > li')).toEqual([
      expect.stringMatching(/check.*2 attempts.*undone/),
      expect.stringMatching(/pay.*refused.*declined/),
    ]);
    heads()[1]!.click();
    desk.see({ flows: [flow('open', 9, { steps: [step(1, 'pay', 'done')] })] });
    const open = all('.aegis-Line').find((node) => node.querySelector('[aria-expanded=true]'))!;
    expect(open.textContent).toContain('completed');
    expect(texts('.aegis-Steps > li')).toContainEqual(expect.stringMatching(/pay.*done/));
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

describe('failed', () => {
  beforeEach(() => desk.seat(new FailedSection(desk)));

  test('it says that nothing failed', () => {
    desk.see({ status: status(), failed: [] });
    expect(all('.aegis-Room')[0]!.hidden).toBe(false);
  });

  test('why is told, and each can be tried again or discarded', async () => {
    desk.see({
      status: status({ failed: 2 }),
      failed: [failure('a'), failure('b', { held: true })],
    });
    expect(texts('.aegis-Line-head .aegis-Problem')[0]).toBe('ValueError: no address');
    expect(texts('.aegis-Badge')).toEqual(['listener', 'held']);
    click('Retry');
    await settle();
    heads()[1]!.click();
    click('Discard');
    await settle();
    expect(desk.done).toEqual([
      { verb: 'retry', id: 'a' },
      { verb: 'discard', id: 'b' },
    ]);
  });

  test('what led where can be read, and how often it was tried', () => {
    const what = 'order.completed for receipts.thank';
    desk.see({ status: status({ failed: 1 }), failed: [failure('a', { what, attempts: 1 })] });
    expect(texts('.aegis-Title')).toEqual(['order.completed \u2192 receipts.thank']);
    expect(heads()[0]!.textContent).toContain('1 attempt');
    desk.see({ failed: [failure('a', { what, attempts: 4 })] });
    expect(heads()[0]!.textContent).toContain('4 attempts');
    desk.see({ failed: [failure('f', { kind: 'flow', what: 'orders.Order', attempts: 0 })] });
    expect(texts('.aegis-Title')).toEqual(['orders.Order']);
    expect(heads()[0]!.textContent).not.toContain('attempt');
  });

  test('a button that was pressed waits until it is done', async () => {
    desk.see({ status: status({ failed: 1 }), failed: [failure('a')] });
    click('Retry');
    click('Retry');
    await settle();
    expect(desk.done).toHaveLength(1);
  });

  test('all are tried again, whatever becomes of one', async () => {
    desk.see({ status: status({ failed: 3 }), failed: ['a', 'bad', 'c'].map((id) => failure(id)) });
    desk.answer = (verb) => {
      if ('id' in verb && verb.id === 'bad') throw new Error('It was discarded.');
      return { text: 'done' };
    };
    click('Retry all');
    await settle();
    expect(desk.asked.map((verb) => 'id' in verb && verb.id)).toEqual(['a', 'bad', 'c']);
    expect(desk.told).toEqual(['2 of 3 are tried again. It was discarded.']);
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
