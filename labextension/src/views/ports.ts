/** Ports and listeners with their live figures, as a table that sorts by any column. */

import { button, make, mark, show, write } from '../element';
import type { Figure } from '../protocol';
import type { State } from '../state';
import { countdown, Countdowns } from './countdown';
import { compact, explained, IDLE, latency, same, SIGNS } from './graph-figures';
import { nodes, picture, unpacked, wires } from './graph-picture';
import type { Say, View, ViewOptions } from './view';

/** A port or listener: what sets it off, and what it gives. */
export interface PortLine {
  readonly id: string;
  readonly name: string;
  readonly component: string;
  readonly consumes: readonly string[];
  readonly produces: readonly string[];
}

interface Row {
  readonly line: PortLine;
  readonly element: HTMLTableRowElement;
  readonly cells: Readonly<Record<Live, HTMLElement>>;
  figure: Figure;
}

type Live = 'state' | 'calls' | 'errors' | 'running' | 'p50' | 'p99' | 'error';
type Column = 'name' | 'component' | 'ways' | Live;

const COLUMNS: readonly Column[] = [
  ...(['state', 'name', 'component', 'ways', 'calls', 'errors', 'running'] as const),
  ...(['p50', 'p99', 'error'] as const),
];
const RANKS = { open: 0, 'half-open': 0, failing: 0, ok: 1, idle: 2 };
/** Milliseconds between two sortings by figures: rows that jump cannot be read. */
const CALM = 1000;
const AGAIN = 3000;

export class PortsView implements View {
  readonly node: HTMLElement;
  private readonly _body: HTMLElement;
  private readonly _empty: HTMLElement;
  private readonly _table: HTMLElement;
  private readonly _heads = new Map<Column, HTMLElement>();
  private _rows = new Map<string, Row>();
  private _figures: Readonly<Record<string, Figure>> = {};
  private _digest: string | null = null;
  private _asked: string | null = null;
  private _retry: ReturnType<typeof setTimeout> | undefined;
  private _by: Column = 'state';
  private _down = false;
  private _sorted = 0;
  private _disposed = false;
  private readonly _countdowns: Countdowns;

  constructor(private readonly options: ViewOptions) {
    const { say } = options;
    const names = titles(say);
    const head = make('tr');
    for (const column of COLUMNS) {
      const cell = make(
        'th',
        { scope: 'col', 'data-column': column },
        button(
          { class: 'aegis-Sort' },
          () => {
            this._sort(column);
          },
          names[column],
        ),
      );
      this._heads.set(column, cell);
      head.append(cell);
    }
    this._body = make('tbody');
    this._table = make(
      'table',
      { class: 'aegis-Table', 'aria-label': say('Ports and listeners'), hidden: true },
      make('thead', {}, head),
      this._body,
    );
    this._empty = make('p', { class: 'aegis-View-empty' }, say('Nothing is deployed yet.'));
    this.node = make(
      'div',
      { class: 'aegis-View aegis-Ports' },
      this._empty,
      make(
        'div',
        { class: 'aegis-View-scroll', tabindex: 0, role: 'region', 'aria-label': say('Ports') },
        this._table,
      ),
    );
    this._countdowns = new Countdowns(this._body, say);
    this._order();
  }

  update(state: State): void {
    const digest = state.status?.graph ?? null;
    if (digest !== null && digest !== this._digest && digest !== this._asked) this._fetch(digest);
    if (state.figures !== this._figures) this.patch(state.figures);
  }

  /** Show these ports. Those that were there keep their rows. */
  set(lines: readonly PortLine[]): void {
    const before = this._rows;
    this._rows = new Map(
      lines.map((line) => {
        const row = before.get(line.id);
        const known = row !== undefined && JSON.stringify(row.line) === JSON.stringify(line);
        return [line.id, known ? row : this._row(line)];
      }),
    );
    show(this._table, lines.length > 0);
    show(this._empty, lines.length === 0);
    this.patch(this._figures);
    this._order();
    this._countdowns.look();
  }

  patch(figures: Readonly<Record<string, Figure>>): void {
    this._figures = figures;
    let moved = false;
    for (const [id, row] of this._rows) {
      const figure = figures[id] ?? IDLE;
      if (same(row.figure, figure)) continue;
      row.figure = figure;
      this._fill(row);
      moved = true;
    }
    if (moved && Date.now() - this._sorted >= CALM) this._order();
    this._countdowns.look();
  }

  dispose(): void {
    this._disposed = true;
    clearTimeout(this._retry);
    this._countdowns.dispose();
  }

  private _fetch(digest: string): void {
    this._asked = digest;
    clearTimeout(this._retry);
    this.options
      .ask({ verb: 'picture' })
      .then(async (found) => {
        const text = await unpacked(found.data);
        if (this._disposed) return;
        this._asked = null;
        this._digest = found.digest;
        this.set(portsOf(picture(text)));
      })
      .catch(() => {
        this._retry = setTimeout(() => {
          this._asked = null;
        }, AGAIN);
      });
  }

  private _row(line: PortLine): Row {
    const cell = (column: Column, ...children: readonly (Node | string)[]): HTMLElement =>
      make('td', { 'data-column': column }, ...children);
    const cells = {
      state: cell('state'),
      calls: cell('calls'),
      errors: cell('errors'),
      running: cell('running'),
      p50: cell('p50'),
      p99: cell('p99'),
      error: cell('error'),
    };
    const { show: choose } = this.options;
    const name =
      choose === undefined
        ? make('span', { title: line.name }, line.name)
        : button(
            { class: 'aegis-Link', title: line.name },
            () => {
              choose({ kind: 'node', id: line.id });
            },
            line.name,
          );
    const ways = make(
      'td',
      {
        'data-column': 'ways',
        title: `${line.consumes.join(', ')} \u2192 ${line.produces.join(', ')}`,
      },
      ...codes(line.consumes),
      ' \u2192 ',
      ...codes(line.produces),
    );
    const element = make(
      'tr',
      {},
      cells.state,
      make('th', { scope: 'row', 'data-column': 'name' }, name),
      make('td', { 'data-column': 'component', title: line.component }, line.component),
      ways,
      cells.calls,
      cells.errors,
      cells.running,
      cells.p50,
      cells.p99,
      cells.error,
    );
    const row = { line, element, cells, figure: IDLE };
    this._fill(row);
    return row;
  }

  private _fill({ cells, element, figure }: Row): void {
    const { say } = this.options;
    const states = {
      idle: say('idle'),
      ok: say('ok'),
      failing: say('failing'),
      open: say('open'),
      'half-open': say('half-open'),
    };
    mark(element, 'data-state', figure.state);
    const until = figure.breaker?.until;
    cells.state.replaceChildren(
      `${SIGNS[figure.state]} ${states[figure.state]}`,
      ...(until ? [' \u00b7 ', countdown(until)] : []),
    );
    mark(cells.state, 'title', explained(figure, say) || null);
    write(cells.calls, compact(figure.calls));
    write(cells.errors, figure.errors ? compact(figure.errors) : '');
    write(cells.running, figure.running ? compact(figure.running) : '');
    write(cells.p50, figure.p50 === null ? '' : latency(figure.p50));
    write(cells.p99, figure.p99 === null ? '' : latency(figure.p99));
    write(cells.error, figure.error ?? '');
    mark(cells.error, 'title', figure.error);
  }

  private _sort(column: Column): void {
    // Of figures one wants the largest first.
    const largest = ['calls', 'errors', 'running', 'p50', 'p99'].includes(column);
    this._down = column === this._by ? !this._down : largest;
    this._by = column;
    this._order();
  }

  private _order(): void {
    this._sorted = Date.now();
    for (const [column, cell] of this._heads) {
      const way = this._down ? 'descending' : 'ascending';
      mark(cell, 'aria-sort', column === this._by ? way : 'none');
    }
    const by = this._by;
    const turn = this._down ? -1 : 1;
    const rows = [...this._rows.values()]
      .map((row, place) => ({ row, place, value: valueOf(row, by) }))
      .sort((a, b) => turn * compared(a.value, b.value) || a.place - b.place)
      .map(({ row }) => row.element);
    const there = [...this._body.children];
    if (rows.length === there.length && rows.every((row, place) => row === there[place])) return;
    this._body.replaceChildren(...rows);
  }
}

/** The ports and listeners that a picture shows. */
export function portsOf(svg: SVGSVGElement): PortLine[] {
  const consumes = new Map<string, string[]>();
  const produces = new Map<string, string[]>();
  const event = (id: string): string => id.slice(id.indexOf(':') + 1);
  for (const { kind, from, to } of wires(svg)) {
    if (kind === 'consumes') put(consumes, to, event(from));
    else if (kind === 'produces') put(produces, from, event(to));
  }
  return nodes(svg)
    .filter(({ kind }) => kind === 'port' || kind === 'listener')
    .map(({ id, component }) => {
      const name = event(id);
      const own = `${component}.`;
      return {
        id,
        name: name.startsWith(own) ? name.slice(own.length) : name,
        component,
        consumes: consumes.get(id) ?? [],
        produces: produces.get(id) ?? [],
      };
    });
}

function put(lists: Map<string, string[]>, id: string, name: string): void {
  const list = lists.get(id);
  if (list === undefined) lists.set(id, [name]);
  else list.push(name);
}

function titles(say: Say): Readonly<Record<Column, string>> {
  return {
    state: say('state'),
    name: say('port'),
    component: say('component'),
    ways: say('consumes \u2192 produces'),
    calls: say('calls'),
    errors: say('errors'),
    running: say('running'),
    p50: 'p50',
    p99: 'p99',
    error: say('last error'),
  };
}

function codes(names: readonly string[]): Node[] {
  return names.map((name) => make('code', { title: name }, name));
}

function valueOf({ line, figure }: Row, column: Column): number | string {
  switch (column) {
    case 'name':
    case 'component':
      return line[column];
    case 'ways':
      return [...line.consumes, ...line.produces].join(' ');
    case 'state':
      return RANKS[figure.state];
    case 'error':
      return figure.error ?? '';
    default:
      return figure[column] ?? -1;
  }
}

function compared(a: number | string, b: number | string): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return String(a).localeCompare(String(b));
}
