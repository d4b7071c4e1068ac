/** The views show what the host says, as text only, and touch only what changed. */

import type { Ask } from '../src/views/view';
import { Output } from '../src/output';
import type { Figure, FlowLine, StepLine } from '../src/protocol';
import { EMPTY, type State } from '../src/state';
import { ComponentsView } from '../src/views/components';
import { EventsView, FAST, glob, ROWS } from '../src/views/events';
import { FlowView } from '../src/views/flow';
import { GraphView } from '../src/views/graph';
import { compact, explained, IDLE, latency, told } from '../src/views/graph-figures';
import { BadPicture, nodes, picture, wires } from '../src/views/graph-picture';
import { portsOf, PortsView } from '../src/views/ports';
import { component, event, flow, split, stamp, status, step } from './fakes';
import cases from './figures.json';

const NASTY = '<img src=x onerror=alert(1)>\u{1f600}';
const PORT = 'port:orders.Order.pay';
const EDGE = 'consumes:event:order.created>port:orders.Order.pay';

const say = (text: string, ...values: readonly (string | number)[]): string =>
  text.replace(/%(\d)/g, (_, place) => String(values[Number(place) - 1]));
const silent: Ask = () => new Promise(() => undefined);
const options = { ask: silent, say };

function svg(inside = '', root = ''): string {
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" class="aegis-graph" role="img" width="400" height="200" viewBox="0 0 400 200"${root}>` +
    '<style>.x{fill:red}</style><g class="component h0" data-component="orders"><rect class="frame" x="0" y="0" width="390" height="190"/>' +
    `<g id="e" class="edge consumes" data-kind="consumes" data-source="event:order.created" data-target="${PORT}" data-at="90 20"><title>pay consumes order.created</title><path class="line" d="M0 0"/></g>` +
    `<g id="p" class="edge produces" data-kind="produces" data-source="${PORT}" data-target="event:paid"><title>x</title></g>` +
    '<g id="n" class="node event" data-id="event:order.created" data-kind="event" data-component="orders" data-at="50 10"><title>event order.created</title></g>' +
    `<g id="q" class="node port" data-id="${PORT}" data-kind="port" data-component="orders" data-at="150 10"><title>port pay\n5 s</title><rect class="shape"/></g>` +
    `</g>${inside}</svg>`
  );
}

function figure(change: Partial<Figure> = {}): Figure {
  return { ...IDLE, calls: 1, state: 'ok', ...change };
}

function live(change: Partial<State> = {}): State {
  return { ...EMPTY, link: 'live', boot: 'b', status: status({ graph: 'd1' }), ...change };
}

function shadow(view: { readonly node: HTMLElement }): ShadowRoot {
  return view.node.querySelector('.aegis-Graph-paper')!.shadowRoot!;
}

function place(view: { readonly node: HTMLElement }, id: string): Element {
  return shadow(view).querySelector(`[id="${id}"]`)!;
}

function graph(more = {}): GraphView {
  const view = new GraphView({ ...options, ...more });
  document.body.replaceChildren(view.node);
  view.draw(svg(), 'd1');
  return view;
}

describe('figures', () => {
  test.each(cases.compact as [number, string][])('%d is %s', (count, text) => {
    expect(compact(count)).toBe(text);
  });
  test.each(cases.latency as [number, string][])('%d ms are %s', (ms, text) => {
    expect(latency(ms)).toBe(text);
  });
  test('are told as the host tells them', () => {
    for (const [given, kind, text] of cases.told as [Partial<Figure>, string, string][]) {
      expect(told({ ...IDLE, ...given }, kind)).toBe(text);
    }
    for (const [given, text] of cases.explained as [Partial<Figure>, string][]) {
      expect(explained({ ...IDLE, ...given }, say)).toBe(text);
    }
  });
});

describe('a picture', () => {
  test('is let in when it is a drawing', () => {
    const found = picture(svg());
    expect(nodes(found).map(({ id }) => id)).toEqual(['event:order.created', PORT]);
    expect(wires(found)).toContainEqual({ kind: 'produces', from: PORT, to: 'event:paid' });
    expect(portsOf(found)).toEqual([
      {
        id: PORT,
        name: 'Order.pay',
        component: 'orders',
        consumes: ['order.created'],
        produces: ['paid'],
      },
    ]);
  });

  test.each([
    ['a script', '<script>alert(1)</script>', ''],
    ['HTML', '<foreignObject><div xmlns="http://www.w3.org/1999/xhtml"/></foreignObject>', ''],
    ['an event attribute', '<rect onclick="alert(1)"/>', ''],
    ['an event attribute at its root', '', ' onload="alert(1)"'],
    ['a link', '<a href="javascript:alert(1)"><text>x</text></a>', ''],
    ['an image', '<image href="https://example.org/x.png"/>', ''],
    ['an animation', '<set attributeName="href" to="x"/>', ''],
    ['a style from elsewhere', '<style>@import "//example.org"</style>', ''],
    ['a style that asks elsewhere', '<g style="fill:url(//example.org)"/>', ''],
    ['an escaped url', '<style>.a{fill:u\\72l(//example.org)}</style>', ''],
    ['what is no SVG', '<g', ''],
  ])('is refused with %s', (_, inside, root) => {
    expect(() => picture(svg(inside, root))).toThrow(BadPicture);
    const view = new GraphView(options);
    view.draw(svg(inside, root), 'd');
    expect(shadow(view).querySelector('svg')).toBeNull();
    expect(view.node.textContent).toContain('is not shown');
  });
});

describe('the graph', () => {
  test('shows figures at nodes and edges, and the failing ones by more than colour', () => {
    const view = graph();
    view.patch({ [PORT]: figure({ calls: 1234, p50: 12.3, p99: 20 }), [EDGE]: figure() });
    expect(place(view, 'q').querySelector('.figure')?.textContent).toBe('1.2k \u00b7 12 ms');
    expect(place(view, 'e').querySelector('.figure')?.textContent).toBe('1');
    view.patch({ [PORT]: figure({ errors: 2, state: 'failing', error: NASTY, running: 1 }) });
    const node = place(view, 'q');
    expect(node.classList.contains('failing') && node.classList.contains('running')).toBe(true);
    expect(node.querySelector('.figure')?.textContent).toBe('\u26a0 \u25b61 1');
    expect(node.querySelector('title')?.textContent).toContain(NASTY);
    expect(node.getAttribute('aria-label')).toContain('port pay');
    // The edge is not in the new figures: it has none any more.
    expect(place(view, 'e').querySelector('.figure')?.textContent).toBe('');
    expect(shadow(view).querySelector('img')).toBeNull();
  });

  test('touches only what changed', async () => {
    const view = graph();
    const figures = { [PORT]: figure(), [EDGE]: figure() };
    view.patch(figures);
    const seen: MutationRecord[] = [];
    const watch = new MutationObserver((records) => seen.push(...records));
    watch.observe(shadow(view), {
      subtree: true,
      childList: true,
      attributes: true,
      characterData: true,
    });
    view.patch({ [PORT]: figure(), [EDGE]: figure() });
    await Promise.resolve();
    expect(seen).toHaveLength(0);
    view.patch({ [PORT]: figure({ calls: 2 }), [EDGE]: figure() });
    await Promise.resolve();
    expect(seen.length).toBeGreaterThan(0);
    expect(seen.every(({ target }) => place(view, 'q').contains(target))).toBe(true);
  });

  test('takes the figures of a saved picture for what they are', () => {
    const view = new GraphView(options);
    const saved = svg(
      '<g id="s" class="node port failing running" data-id="port:s" data-kind="port" data-at="1 2" data-live=""><title>port s\n5 s\n3 so far</title><text class="figure">3</text></g>',
    );
    view.draw(saved, 'd1');
    expect(place(view, 's').querySelector('.figure')).toBeNull();
    expect(place(view, 's').getAttribute('aria-label')).toBe('port s\n5 s');
    expect(place(view, 's').getAttribute('class')).toBe('node port');
  });

  test('asks for another picture when the graph is another one, and keeps the zoom', () => {
    const ask = jest.fn(() => new Promise(() => undefined));
    const view = graph({ ask });
    view.zoom(2);
    view.update(live());
    expect(ask).not.toHaveBeenCalled();
    view.update(live({ status: status({ graph: 'd2' }) }));
    view.update(live({ status: status({ graph: 'd2' }), time: 'later' }));
    expect(ask.mock.calls).toEqual([[{ verb: 'picture' }]]);
  });

  test('can be walked by keys, and says what was chosen', () => {
    const show = jest.fn();
    const view = graph({ show });
    (place(view, 'n') as SVGElement).focus();
    const press = (key: string): void => {
      const target = shadow(view).activeElement ?? view.node;
      target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, composed: true }));
    };
    press('ArrowRight');
    expect(shadow(view).activeElement?.id).toBe('q');
    expect(view.node.querySelector('[role=status]')?.textContent).toBe('port pay\n5 s');
    press('Enter');
    expect(show).toHaveBeenCalledWith({ kind: 'node', id: PORT });
    press('+');
    expect((shadow(view).querySelector('svg') as SVGElement).style.width).toBe('500px');
  });
});

describe('ports', () => {
  const line = (name: string, component = 'orders') => ({
    id: `port:${name}`,
    name,
    component,
    consumes: ['order.created'],
    produces: [NASTY],
  });

  test('sort by what one clicks, and say so', () => {
    const view = new PortsView(options);
    view.set([line('b'), line('a'), line('c')]);
    view.patch({ 'port:c': figure({ calls: 7 }), 'port:a': figure({ state: 'failing' }) });
    const names = (): string[] =>
      [...view.node.querySelectorAll('tbody th')].map((cell) => cell.textContent);
    const head = (column: string): HTMLElement =>
      view.node.querySelector(`th[data-column=${column}]`)!;
    head('calls').querySelector('button')!.click();
    expect(names()).toEqual(['c', 'a', 'b']);
    expect(head('calls').getAttribute('aria-sort')).toBe('descending');
    head('name').querySelector('button')!.click();
    expect(names()).toEqual(['a', 'b', 'c']);
    head('state').querySelector('button')!.click();
    expect(names()[0]).toBe('a');
    expect(view.node.querySelector('tbody td')?.textContent).toBe('\u26a0 failing');
    expect(view.node.querySelector('img')).toBeNull();
  });

  test('with an open breaker say how long their partner is left alone', () => {
    jest.useFakeTimers({ now: Date.parse(stamp(0)) });
    const view = new PortsView(options);
    document.body.replaceChildren(view.node);
    view.set([line('a')]);
    const breaker = { since: stamp(-1000), until: stamp(12_000) };
    const open: Figure = { ...IDLE, calls: 3, state: 'open', breaker };
    view.update(live({ figures: { 'port:a': open } }));
    const cell = view.node.querySelector<HTMLElement>('tbody td');
    expect(cell?.textContent).toBe('\u2298 open \u00b7 0:12 left');
    expect(cell?.title).toMatch(/breaker open, since \d\d:\d\d:59, asks again at \d\d:\d\d:12/);
    jest.advanceTimersByTime(1000);
    expect(cell?.textContent).toBe('\u2298 open \u00b7 0:11 left');
    const probed: Figure = { ...open, state: 'half-open', breaker: { ...breaker, until: null } };
    view.update(live({ figures: { 'port:a': probed } }));
    expect(cell?.textContent).toBe('\u25d0 half-open');
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });

  test('keep the rows that stay', () => {
    const view = new PortsView(options);
    view.set([line('a')]);
    const before = view.node.querySelector('tbody tr');
    view.set([line('a'), line('b')]);
    expect(view.node.querySelector('tbody tr')).toBe(before);
  });
});

describe('events', () => {
  const types = (view: EventsView): string[] =>
    [...view.node.querySelectorAll('.aegis-Event code')].map((code) => code.textContent);

  test('stand newest first, a hundred at most, and rows that stay are left alone', () => {
    const view = new EventsView(options);
    const many = Array.from({ length: 150 }, (_, n) => event(n + 1));
    view.update(live({ events: many }));
    expect(view.node.querySelectorAll('.aegis-Event')).toHaveLength(ROWS);
    const top = view.node.querySelector('.aegis-Event');
    view.update(live({ events: [...many, event(151, { type: NASTY })] }));
    expect(types(view)[0]).toBe(NASTY);
    expect(view.node.querySelectorAll('.aegis-Event')[1]).toBe(top);
    expect(view.node.querySelectorAll('.aegis-Event')).toHaveLength(ROWS);
    expect(view.node.querySelector('.aegis-Event-gap')?.textContent).toBe('+1.0 ms');
    expect(view.node.querySelector('img')).toBeNull();
  });

  test('that come too fast to be read are those in sight, until they calm down', () => {
    const view = new EventsView(options);
    const events = Array.from({ length: 150 }, (_, n) => event(n + 1));
    const rows = (): number => view.node.querySelectorAll('.aegis-Event').length;
    view.update(live({ events, rate: FAST.rate + 1 }));
    expect(rows()).toBe(FAST.rows);
    const scroller = view.node.querySelector('.aegis-View-scroll')!;
    scroller.scrollTop = 40;
    scroller.dispatchEvent(new Event('scroll'));
    expect(rows()).toBe(ROWS);
    scroller.scrollTop = 0;
    scroller.dispatchEvent(new Event('scroll'));
    expect(rows()).toBe(FAST.rows);
    view.update(live({ events, rate: 0 }));
    expect(rows()).toBe(ROWS);
  });

  test('are filtered by a glob as on the host', () => {
    expect(glob('order.*')('order.created')).toBe(true);
    expect(glob('order.*')('orders.created')).toBe(false);
    expect(glob('*')('a.b')).toBe(true);
    const view = new EventsView({ ...options, pattern: 'order.*' });
    view.update(live({ events: [event(1), event(2, { type: 'payment.done' })] }));
    expect(types(view)).toEqual(['order.created']);
    const input = view.node.querySelector('input')!;
    input.value = 'nobody.*';
    input.dispatchEvent(new Event('input'));
    expect(view.node.textContent).toContain('None of the last 2 events matches.');
  });

  test('wait while paused', () => {
    const view = new EventsView(options);
    view.update(live({ events: [event(1)] }));
    const pause = [...view.node.querySelectorAll('button')].find((b) => b.textContent === 'Pause')!;
    pause.click();
    view.update(live({ events: [event(1), event(2)] }));
    expect(types(view)).toHaveLength(1);
    pause.click();
    expect(types(view)).toHaveLength(2);
  });

  test('open to their data, as text', async () => {
    const detail = { line: event(1), data: { note: NASTY } };
    const ask = jest.fn(() => Promise.resolve(detail)) as unknown as Ask;
    const view = new EventsView({ ...options, ask });
    view.update(live({ events: [event(1)] }));
    view.node.querySelector<HTMLElement>('.aegis-Event-head')!.click();
    await Promise.resolve();
    expect(view.node.querySelector('pre')?.textContent).toContain(NASTY);
    expect(view.node.querySelector('img')).toBeNull();
  });

  test('that were saved stay when the host tells about others', () => {
    const view = new EventsView(options);
    view.set([event(1, { seq: 0 })]);
    view.update(live({ events: [event(7)] }));
    expect(types(view)).toHaveLength(2);
    view.update(live({ events: [event(1), event(7)] }));
    expect(types(view)).toHaveLength(2);
  });
});

describe('a flow', () => {
  const undone: FlowLine = {
    ...flow('f', 30),
    created: stamp(0),
    state: 'compensated',
    error: NASTY,
    steps: [
      step(0, 'reserve', 'undone'),
      step(1, 'pay', 'undone'),
      step(2, 'ship', 'failed', { error: NASTY }),
      step(3, 'close', 'dropped'),
    ],
  };

  test('shows its steps with signs, and the way back from the one that failed', () => {
    const view = new FlowView({ ...options, flow: 'f' });
    view.update(live({ flows: [undone] }));
    const rows = [...view.node.querySelectorAll<HTMLElement>('li')];
    expect(rows.map((row) => row.querySelector('.aegis-Step-sign')?.textContent)).toEqual([
      '\u21b6',
      '\u21b6',
      '\u2717',
      '\u2013',
    ]);
    expect(rows.map((row) => row.dataset['back'])).toEqual(['end', 'way', 'turn', undefined]);
    expect(rows[2]?.textContent).toContain(NASTY);
    expect(rows[1]?.querySelector('.aegis-Step-time')?.textContent).toBe('+10 ms');
    expect(view.node.querySelector('img')).toBeNull();
  });

  test('says what its steps wait for, in an output too, and counts it down', () => {
    jest.useFakeTimers({ now: Date.parse(stamp(0)) });
    const view = new FlowView({ ...options, flow: 'f' });
    document.body.replaceChildren(view.node);
    const waits = 'invoice.sent (1 of 2 events came)';
    const steps = [
      step(0, 'pick', 'asked', { waits: 'warehouse.picked', due: stamp(3 * 86_400_000) }),
      step(1, 'bill', 'waiting', { waits }),
      step(2, 'ship', 'ready', { waits: 'its next attempt', due: stamp(9000), error: NASTY }),
    ];
    view.set({ ...undone, state: 'running', error: null, steps });
    const told = [...view.node.querySelectorAll('.aegis-Step-note')].map((one) => one.textContent);
    expect(told).toEqual([
      'waits for warehouse.picked \u00b7 3 d 0 h left',
      `waits for ${waits}`,
      `waits for its next attempt \u00b7 0:09 left${NASTY}`,
    ]);
    jest.advanceTimersByTime(2000);
    expect(view.node.querySelectorAll('.aegis-Left')[1]?.textContent).toBe('0:07 left');
    // Nothing is counted for a view that is not on the page.
    view.node.remove();
    jest.advanceTimersByTime(1000);
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });

  test('whose undo stopped says at which step, and that an output does not steer', () => {
    const view = new FlowView({ ...options, flow: 'f' });
    const steps = [step(0, 'pay', 'done'), step(1, 'ship', 'undo failed')];
    view.set({ ...undone, state: 'compensation failed', steps });
    expect(view.node.querySelector('.aegis-Flow-state')?.textContent).toBe(
      'compensation failed at ship',
    );
    expect(view.node.querySelector('.aegis-Flow-stopped')?.textContent).toContain('skip ship');
    expect(view.node.querySelector('button')).toBeNull();
  });

  test('as an earlier version saved it is shown all the same', () => {
    const view = new FlowView({ ...options, flow: 'f' });
    const { waits, due, ...old } = step(0, 'pay', 'done');
    expect([waits, due]).toEqual([null, null]);
    view.set({ ...undone, steps: [old as StepLine] });
    expect(view.node.querySelector('.aegis-Step-name')?.textContent).toBe('pay');
    expect(view.node.querySelector<HTMLElement>('.aegis-Step-note')?.hidden).toBe(true);
  });

  test('goes on while it runs, any number of steps', () => {
    const view = new FlowView({ ...options, flow: 'f' });
    const steps = Array.from({ length: 300 }, (_, n) => step(n, `s${n}`, 'done'));
    view.update(live({ flows: [{ ...undone, state: 'running', error: null, steps }] }));
    expect(view.node.querySelectorAll('li')).toHaveLength(300);
    expect(view.node.querySelector('[data-back]')).toBeNull();
    const shorter = steps.slice(0, 2);
    view.update(live({ flows: [{ ...undone, state: 'completed', error: null, steps: shorter }] }));
    expect(view.node.querySelectorAll('li')).toHaveLength(2);
    expect(view.node.textContent).toContain('completed');
  });

  test('is asked for when the host does not tell about it by itself', async () => {
    const detail = { flow: undone, record: null, events: [] };
    const ask = jest.fn(() => Promise.resolve(detail)) as unknown as Ask;
    const view = new FlowView({ ...options, ask, flow: 'f' });
    view.update(live());
    view.update(live({ time: 'later' }));
    await Promise.resolve();
    expect(ask).toHaveBeenCalledTimes(1);
    expect(view.node.querySelectorAll('li')).toHaveLength(4);
  });
});

describe('an output', () => {
  test('shows what was saved, and says when the kernel is gone', () => {
    const saved = { view: 'graph', graph: 'd1', figures: { [PORT]: { calls: 3, state: 'ok' } } };
    const output = new Output(saved, svg(), options);
    expect(place(output, 'q').querySelector('.figure')?.textContent).toBe('3');
    output.tell('The kernel is gone.');
    expect(output.node.querySelector('.aegis-View-link')?.textContent).toBe('The kernel is gone.');
  });

  test.each([
    [null],
    [{}],
    [{ view: 'map' }],
    [{ view: 'flow', flows: [1, { id: 2 }, null] }],
    [{ view: 'ports', ports: 'none' }],
    [{ view: 'events', events: [{ id: 'x' }] }],
    [{ view: 'graph', figures: [1] }],
  ])('bears whatever was saved: %j', (saved) => {
    const output = new Output(saved, '', options);
    output.update(live());
    output.dispose();
  });

  test('of a newer kernel says what to update', () => {
    const output = new Output({ view: NASTY }, '', options);
    expect(output.live).toBe(false);
    expect(output.node.textContent).toContain('update it');
    expect(output.node.querySelector('img')).toBeNull();
  });
});

describe('components', () => {
  const table = (view: { readonly node: HTMLElement }): string[][] =>
    [...view.node.querySelectorAll('tbody tr')].map((row) =>
      [...row.children].map((cell) => cell.textContent),
    );

  test('a candidate stands below what it is tried beside, and figures move in their cells', () => {
    const view = new ComponentsView(options);
    const components = [component('orders', { previous: null }), component(NASTY)];
    view.update(live({ status: status({ components }), splits: [split('orders', 10, 3, 1)] }));
    const kept = [...view.node.querySelectorAll('tr')];
    expect(table(view).map((row) => row.slice(0, 5))).toEqual([
      ['orders', '1.0.0', '\u2713 ok', '90 %', '3'],
      ['', '1.1.0', 'candidate', '10 %', '1'],
      [NASTY, '1.0.0', '\u2713 ok', '', ''],
    ]);
    view.update(live({ status: status({ components }), splits: [split('orders', 10, 4, 2)] }));
    expect(table(view).map((row) => row[4])).toEqual(['4', '2', '']);
    expect([...view.node.querySelectorAll('tr')]).toEqual(kept);
    view.update(live({ status: status({ components }), splits: [] }));
    expect(table(view)).toHaveLength(2);
    expect(view.node.querySelectorAll('img')).toHaveLength(0);
  });

  test('are shown as they were saved, whatever is missing', () => {
    const saved = {
      view: 'components',
      components: [
        { name: 'a', version: '1', digest: 'd', origin: 'o' },
        { name: 1 },
        component('orders'),
      ],
      splits: [split('orders'), { component: 'a', by: 'record' }, null],
    };
    const output = new Output(saved, '', options);
    expect(table(output).map(([name, version]) => [name, version])).toEqual([
      ['a', '1'],
      ['orders', '1.0.0'],
      ['', '1.1.0'],
    ]);
    expect(new Output({ view: 'components', components: 'x' }, '', options).live).toBe(true);
  });
});
