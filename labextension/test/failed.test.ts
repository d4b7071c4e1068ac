/** The failed list: in groups, with its input, tried again or let be. */

import type { FailedGroup, FailedLine } from '../src/protocol';
import { FailedSection } from '../src/sections/failed';
import { Refusal } from '../src/session';
import { all, click, FakeDesk, heads, HOSTILE, press, settle, texts } from './desk';
import { flow, stamp, status, step } from './fakes';

let desk: FakeDesk;

beforeEach(() => {
  desk = new FakeDesk();
  HTMLElement.prototype.scrollIntoView = (): void => undefined;
});

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
    const tried = desk.asked.filter(({ verb }) => verb === 'retry');
    expect(tried.map((verb) => 'id' in verb && verb.id)).toEqual(['a', 'bad', 'c']);
    expect(desk.told).toEqual(['2 of 3 are tried again. It was discarded.']);
  });

  describe('in groups', () => {
    const group = (id: string, ids: readonly string[], count = ids.length): FailedGroup => ({
      ...{ id, kind: 'listener', what: 'order.created for shop.hear', error: HOSTILE },
      ...{ count, first: stamp(0), last: stamp(5), ids },
    });

    beforeEach(async () => {
      desk.groups = [group('group:a', ['a', 'b'], 7), group('group:c', ['c'])];
      desk.see({
        status: status({ failed: 8 }),
        failed: ['a', 'b', 'c'].map((id) => failure(id)),
      });
      expect(heads()).toHaveLength(3);
      await settle();
    });

    test('failures with the same error stand together, the others alone', () => {
      expect(texts('.aegis-Title')).toEqual(['order.created → shop.hear', 'orders.Order.notify']);
      expect(texts('.aegis-Badge')).toEqual(['7 failures', 'listener']);
      expect(texts('.aegis-Problem')).toEqual([HOSTILE, 'ValueError: no address']);
      expect(all('img, script')).toEqual([]);
    });

    test('one opens to its failures, each with its own ways on', async () => {
      heads()[0]!.click();
      expect(heads()).toHaveLength(4);
      expect(document.body.textContent).toContain('and 5 more, which are not listed');
      heads()[1]!.click();
      await settle();
      click('Discard');
      await settle();
      expect(desk.done).toEqual([{ verb: 'discard', id: 'a' }]);
    });

    test('all of one are tried again, or discarded once that is confirmed', async () => {
      click('Retry 7');
      await settle();
      heads()[0]!.click();
      desk.sure = false;
      click('Discard all');
      await settle();
      desk.sure = true;
      click('Discard all');
      await settle();
      expect(desk.done).toEqual([
        { verb: 'retry_group', id: 'group:a' },
        { verb: 'discard_group', id: 'group:a' },
      ]);
    });

    test('of a large one the oldest hundred are dealt with, and the buttons say so', async () => {
      desk.groups = [group('group:a', ['a', 'b'], 250)];
      desk.see({ status: status({ failed: 250 }), failed: ['a', 'b'].map((id) => failure(id)) });
      await settle();
      heads()[0]!.click();
      click('Retry 100');
      click('Discard 100');
      await settle();
      expect(desk.done.map(({ verb }) => verb).sort()).toEqual(['discard_group', 'retry_group']);
    });

    test('it stays open while others of it come and go', async () => {
      heads()[0]!.click();
      desk.groups = [group('group:a', ['b', 'd', 'e'])];
      desk.see({ status: status({ failed: 3 }), failed: ['b', 'd', 'e'].map((id) => failure(id)) });
      await settle();
      expect(texts('.aegis-Badge')).toEqual(['3 failures', 'listener', 'listener', 'listener']);
    });

    test('the arrows walk the lines inside without leaving the list behind', () => {
      heads()[0]!.click();
      heads()[1]!.focus();
      press(heads()[1]!, 'ArrowDown');
      expect(document.activeElement).toBe(heads()[2]);
      // Each list has a tab stop of its own.
      expect(heads().map(({ tabIndex }) => tabIndex)).toEqual([0, -1, 0, -1]);
      press(heads()[2]!, 'ArrowDown');
      expect(document.activeElement).toBe(heads()[2]);
    });

    test('a host that cannot tell has its lines stand alone', async () => {
      desk.ask = () => Promise.reject(new Error('unknown verb'));
      desk.see({ status: status({ failed: 2 }), failed: ['a', 'b'].map((id) => failure(id)) });
      await settle();
      expect(heads()).toHaveLength(2);
    });
  });

  describe('its input', () => {
    const box = (): HTMLTextAreaElement => all<HTMLTextAreaElement>('textarea')[0]!;
    const complaint = (): HTMLElement => all('.aegis-Form .aegis-Problem')[0]!;
    const retries = (): unknown[] => desk.asked.filter(({ verb }) => verb === 'retry');

    async function opened(line: FailedLine, input: typeof desk.input): Promise<void> {
      desk.input = input;
      desk.see({ status: status({ failed: 1 }), failed: [line] });
      heads()[0]!.click();
      await settle();
    }

    test('is shown as JSON, and a retry takes what was edited', async () => {
      await opened(failure('a'), { name: HOSTILE, total: 1 });
      expect(JSON.parse(box().value)).toEqual({ name: HOSTILE, total: 1 });
      box().value = '{"name": "x"}';
      click('Retry with this input');
      await settle();
      expect(retries()).toEqual([{ verb: 'retry', id: 'a', data: { name: 'x' } }]);
      expect(desk.told).toEqual(['done']);
      click('Reset');
      expect(JSON.parse(box().value)).toEqual({ name: HOSTILE, total: 1 });
    });

    test('is left out where it was not edited', async () => {
      await opened(failure('a'), { total: 1 });
      click('Retry with this input');
      await settle();
      expect(retries()).toEqual([{ verb: 'retry', id: 'a' }]);
    });

    test.each(['{"total": ', '[1]', 'null', '"text"', ''])(
      'that is no object (%s) goes nowhere, and the person is told',
      async (text) => {
        await opened(failure('a'), { total: 1 });
        box().value = text;
        click('Retry with this input');
        await settle();
        expect(retries()).toEqual([]);
        expect(complaint().hidden).toBe(false);
        expect(complaint().textContent).toMatch(/JSON/);
        expect(box().getAttribute('aria-invalid')).toBe('true');
      },
    );

    test('that the host refuses says where it is wrong, and stays to be edited', async () => {
      await opened(failure('a'), { total: 1 });
      desk.answer = () => {
        throw new Refusal({ detail: 'expected a number', pointer: '/total', hint: 'as in 9.50' });
      };
      box().value = '{"total": "many"}';
      click('Retry with this input');
      await settle();
      expect(complaint().textContent).toBe('/total: expected a number (as in 9.50)');
      expect(box().value).toBe('{"total": "many"}');
      desk.answer = () => ({ text: 'tried again' });
      box().value = '{"total": 2}';
      click('Retry with this input');
      await settle();
      expect(complaint().hidden).toBe(true);
      expect(desk.told).toEqual(['tried again']);
    });

    test('of a flow is its record, and only what was edited of it is sent', async () => {
      desk.flow = flow('f', 1, { state: 'compensated' });
      desk.answer = (verb) => (verb.verb === 'flow' ? { flow: desk.flow } : { text: 'done' });
      await opened(failure('flow:f', { kind: 'flow' }), { id: 'f', total: '1', tags: ['a'] });
      box().value = '{"id": "f", "total": "1", "tags": ["b"]}';
      click('Retry with this input');
      await settle();
      expect(retries()).toEqual([{ verb: 'retry', id: 'flow:f', data: { tags: ['b'] } }]);
    });

    test('is not there any more where its event is gone', async () => {
      await opened(failure('a'), null);
      expect(document.body.textContent).toContain('The event has left the journal');
      expect(all('textarea')).toEqual([]);
    });

    test('of an undo that stopped are the ways on', async () => {
      desk.flow = flow('f', 1, {
        state: 'compensation failed',
        steps: [step(1, 'pay', 'undo failed')],
      });
      await opened(failure('flow:f', { kind: 'flow' }), null);
      click('Continue');
      await settle();
      expect(desk.done).toEqual([{ verb: 'continue', id: 'f' }]);
    });
  });

  describe('a flow that somebody canceled', () => {
    const canceled = failure('flow:f', { kind: 'flow' });

    beforeEach(() => {
      desk.see({
        status: status({ failed: 1 }),
        failed: [canceled],
        flows: [flow('f', 1, { state: 'compensated', canceled: true })],
      });
    });

    test('is tried again only when a person insists', async () => {
      desk.sure = false;
      click('Retry');
      await settle();
      click('Retry all');
      await settle();
      expect(desk.done).toEqual([]);
      expect(desk.asked).toEqual([]);
      expect(desk.questions[0]!.body).toContain('Somebody canceled the flow of f');
      desk.sure = true;
      click('Retry');
      await settle();
      expect(desk.done).toEqual([{ verb: 'retry', id: 'flow:f' }]);
    });

    test('goes on with its undo unasked, where that stopped', async () => {
      desk.sure = false;
      desk.see({ flows: [flow('f', 2, { state: 'compensation failed', canceled: true })] });
      click('Retry');
      await settle();
      expect(desk.done).toEqual([{ verb: 'retry', id: 'flow:f' }]);
    });
  });

  test('its past is a click away: that of the event, or that of the flow', async () => {
    desk.see({
      status: status({ failed: 1 }),
      failed: [failure('a', { event: 'e1' }), failure('flow:f', { kind: 'flow', event: 'e2' })],
    });
    for (const head of heads()) head.click();
    await settle();
    for (const button of all('button')) {
      if (button.textContent === 'Why' || button.textContent === 'f') button.click();
    }
    expect(desk.shown).toEqual([
      { kind: 'why', id: 'e1' },
      { kind: 'flow', id: 'f' },
      { kind: 'why', id: 'f' },
    ]);
  });
});
