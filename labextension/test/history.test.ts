/** The past of an event or a flow: looked up, shown as text and picture, and only the last of it. */

import { deflateSync, inflateSync } from 'node:zlib';

import type { Replay } from '../src/protocol';
import { HistorySection } from '../src/sections/history';
import { all, click, FakeDesk, HOSTILE, press, settle, texts } from './desk';

// The page of these tests has no streams, by which a browser unpacks.
jest.mock('../src/views/graph-picture', () => ({
  ...jest.requireActual<object>('../src/views/graph-picture'),
  unpacked: (data: string) => Promise.resolve(inflateSync(Buffer.from(data, 'base64')).toString()),
}));

const SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>a</text></svg>';

let desk: FakeDesk;
let section: HistorySection;

beforeEach(() => {
  desk = new FakeDesk();
  section = desk.seat(new HistorySection(desk));
});

const packed = (svg: string): string => deflateSync(Buffer.from(svg)).toString('base64');

test('why is a picture, and the same as text', async () => {
  desk.answer = () => ({ id: 'e', text: `order.created ${HOSTILE}`, data: packed(SVG) });
  section.show({ kind: 'why', id: 'e' });
  await settle();
  expect(desk.asked).toEqual([{ verb: 'why', id: 'e' }]);
  expect(all('.aegis-Graph-paper')[0]!.shadowRoot!.querySelector('text')!.textContent).toBe('a');
  expect(texts('details pre')).toEqual([`order.created ${HOSTILE}`]);
  expect(all('img, script')).toEqual([]);
});

test('there is more room for it in a tab, where there are tabs', async () => {
  desk.answer = () => ({ id: 'e', text: 'a', data: null });
  section.show({ kind: 'why', id: 'e' });
  await settle();
  expect(all('.aegis-Note')[0]!.hidden).toBe(true);
  const places: unknown[] = [];
  desk.enlarge = (target): void => void places.push(target);
  section = desk.seat(new HistorySection(desk));
  section.show({ kind: 'why', id: 'e' });
  await settle();
  click('Open in a tab');
  expect(places).toEqual([{ kind: 'why', id: 'e' }]);
});

test('a picture that is more than a drawing is not let in', async () => {
  desk.answer = () => ({
    ...{ id: 'e', text: 'a' },
    data: packed(SVG.replace('<text>a</text>', '<script>alert(1)</script>')),
  });
  section.show({ kind: 'why', id: 'e' });
  await settle();
  expect(all('.aegis-Graph-paper')[0]!.shadowRoot!.childElementCount).toBe(0);
  expect(document.body.textContent).toContain('The picture is not shown: a <script> in it.');
});

test('where no picture is drawn the text does', async () => {
  desk.answer = () => ({ id: 'e', text: 'order.created', data: null });
  section.show({ kind: 'why', id: 'e' });
  await settle();
  expect(texts('pre')).toEqual(['order.created']);
});

const replay = (change: Partial<Replay>): Replay => ({
  ...{ id: 'f', flow: 'f', revision: 'shop@1.0.0', same: true, stopped: false },
  ...{ reason: 'it completed', compared: 9, rows: [], notes: [], ...change },
});

test('a replay tells what came out then, and now', async () => {
  desk.answer = () =>
    replay({
      same: false,
      rows: [
        { part: 'steps', what: 'pay', then: HOSTILE, now: 'error: no money' },
        { part: 'events', what: 'order.paid', then: 'id: 1', now: null },
      ],
      notes: ['the clock is another'],
    });
  section.show({ kind: 'replay', id: 'f' });
  await settle();
  expect(texts('.aegis-Badge')).toEqual(['2 of 9 come out otherwise']);
  expect(texts('tbody tr')).toEqual([
    'Steps',
    `pay${HOSTILE}error: no money`,
    'Events',
    'order.paidid: 1not there',
  ]);
  expect(texts('.aegis-Quiet')).toContain('the clock is another');
  expect(all('img')).toEqual([]);
});

test('one that comes out the same says so, and one that had to stop says why', async () => {
  desk.answer = () => replay({});
  section.show({ kind: 'replay', id: 'f' });
  await settle();
  expect(texts('.aegis-Badge')).toEqual(['The same comes out']);
  desk.answer = () => replay({ same: false, stopped: true, reason: 'ship was not recorded' });
  section.show({ kind: 'replay', id: 'f' });
  await settle();
  expect(texts('.aegis-Badge')).toEqual(['It stopped']);
  expect(texts('.aegis-Problem')).toEqual(['ship was not recorded']);
});

test('a person types an id, and an unknown one is told', async () => {
  click('Why');
  await settle();
  expect(desk.asked).toEqual([]);
  const box = all<HTMLInputElement>('input')[0]!;
  expect(box.getAttribute('aria-invalid')).toBe('true');
  desk.answer = () => {
    throw new Error('there is no flow');
  };
  box.value = ' f ';
  press(box, 'Enter');
  await settle();
  expect(desk.asked).toEqual([{ verb: 'why', id: 'f' }]);
  expect(texts('.aegis-Problem')).toEqual(['there is no flow']);
});

test('an answer that comes late does not take the place of the last', async () => {
  let late: (value: unknown) => void = () => undefined;
  desk.answer = (verb) =>
    'id' in verb && verb.id === 'slow'
      ? new Promise((done) => {
          late = done;
        })
      : { id: 'quick', text: 'quick', data: null };
  section.show({ kind: 'why', id: 'slow' });
  await settle();
  section.show({ kind: 'why', id: 'quick' });
  await settle();
  late({ id: 'slow', text: 'slow', data: null });
  await settle();
  expect(texts('pre')).toEqual(['quick']);
});
