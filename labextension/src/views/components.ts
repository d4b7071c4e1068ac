/** What is deployed, as a table: a row for each component, and one for each candidate of a split. */

import { make, mark, show, write } from '../element';
import type { Arm, Component, Split } from '../protocol';
import type { State } from '../state';
import { figuresOf } from './arms';
import { timeOfDay } from './graph-figures';
import { language } from './guest';
import type { Say, View, ViewOptions } from './view';

type Column = (typeof NAMED)[number] | (typeof COUNTED)[number] | (typeof ORIGIN)[number];

const NAMED = ['name', 'version', 'health'] as const;
const COUNTED = ['share', 'calls', 'errors', 'p50', 'p99'] as const;
const ORIGIN = ['source', 'since', 'note'] as const;
const COLUMNS: readonly Column[] = [...NAMED, ...COUNTED, ...ORIGIN];

/** What a row tells, and what stands behind what is cut. */
interface Told {
  readonly text: Readonly<Record<Column, string>>;
  readonly titles: Partial<Readonly<Record<Column, string>>>;
  readonly bad: boolean;
  /** Told where it is not the usual one. */
  readonly language: Component['language'] | null;
}

interface Row {
  readonly element: HTMLTableRowElement;
  readonly cells: ReadonlyMap<Column, HTMLElement>;
  /** Where the name stands, with the badge of its language behind. */
  readonly badged: HTMLElement;
  language: Told['language'];
}

export class ComponentsView implements View {
  readonly node: HTMLElement;
  private readonly _body = make('tbody');
  private readonly _table: HTMLElement;
  private readonly _empty: HTMLElement;
  private _rows = new Map<string, Row>();
  private _components: readonly Component[] = [];
  private _splits: readonly Split[] = [];

  constructor(private readonly options: ViewOptions) {
    const { say } = options;
    const names = titles(say);
    this._table = make(
      'table',
      { class: 'aegis-Table', 'aria-label': say('Components'), hidden: true },
      make(
        'thead',
        {},
        make(
          'tr',
          {},
          ...COLUMNS.map((column) =>
            make('th', { scope: 'col', 'data-column': column }, names[column]),
          ),
        ),
      ),
      this._body,
    );
    this._empty = make('p', { class: 'aegis-View-empty' }, say('Nothing is deployed yet.'));
    this.node = make(
      'div',
      { class: 'aegis-View aegis-Components' },
      this._empty,
      make(
        'div',
        {
          class: 'aegis-View-scroll',
          tabindex: 0,
          role: 'region',
          'aria-label': say('Components'),
        },
        this._table,
      ),
    );
  }

  update(state: State): void {
    this.set(state.status?.components ?? [], state.splits);
  }

  /** Show these. Rows that were there stay, and only what is otherwise in them is written. */
  set(components: readonly Component[], splits: readonly Split[]): void {
    if (components === this._components && splits === this._splits) return;
    this._components = components;
    this._splits = splits;
    const before = this._rows;
    this._rows = new Map();
    for (const component of components) {
      const split = splits.find((one) => one.component === component.name) ?? null;
      this._put(before, component.name, this._live(component, split));
      if (split !== null) this._put(before, `${component.name} +`, this._candidate(split));
    }
    const rows = [...this._rows.values()].map(({ element }) => element);
    const there = [...this._body.children];
    if (rows.length !== there.length || rows.some((row, place) => row !== there[place])) {
      this._body.replaceChildren(...rows);
    }
    show(this._table, rows.length > 0);
    show(this._empty, rows.length === 0);
  }

  dispose(): void {
    this._rows.clear();
  }

  private _put(before: ReadonlyMap<string, Row>, key: string, told: Told): void {
    const row = before.get(key) ?? rowOf();
    this._rows.set(key, row);
    for (const [column, cell] of row.cells) {
      write(cell, told.text[column]);
      mark(cell, 'title', told.titles[column] ?? (told.text[column] || null));
    }
    if (row.language !== told.language) {
      row.language = told.language;
      const { say } = this.options;
      row.badged.replaceChildren(
        ...(told.language === null ? [] : [' ', language(told.language, say)]),
      );
    }
    mark(row.element, 'data-state', told.bad ? 'failing' : null);
  }

  private _live(component: Component, split: Split | null): Told {
    const { say } = this.options;
    const { followed, previous, older } = component;
    const health = { ok: say('ok'), failing: say('failing'), broken: say('broken') };
    const bad = component.health !== 'ok';
    const notes = [
      ...(component.problem === null ? [] : [component.problem]),
      ...(followed?.held ? [say('%1 is held: %2', followed.held, followed.why)] : []),
      ...(followed?.problem ? [followed.problem] : []),
      ...(previous === null ? [] : [say('before it %1', previous)]),
      ...older.map(({ revision, flows }) => say('%1 ends %2 flows', revision, flows)),
    ];
    return {
      text: {
        name: component.name,
        version: component.version,
        health: `${bad ? '\u26a0' : '\u2713'} ${health[component.health]}`,
        ...counted(split?.live ?? null),
        source: component.origin,
        since: component.since === '' ? '' : timeOfDay(component.since),
        note: notes.join('; '),
      },
      titles: {
        version: component.digest,
        since: [component.since, component.who].filter((part) => part !== '').join(' \u00b7 '),
      },
      bad,
      language: component.language === 'wasm' ? 'wasm' : null,
    };
  }

  private _candidate({ candidate, by }: Split): Told {
    const { say } = this.options;
    return {
      text: {
        name: '',
        version: candidate.version,
        health: say('candidate'),
        ...counted(candidate),
        source: candidate.origin,
        since: '',
        note: by === 'record' ? '' : say('by %1', by),
      },
      titles: { version: candidate.digest },
      bad: false,
      language: candidate.language === 'wasm' ? 'wasm' : null,
    };
  }
}

function rowOf(): Row {
  const cells = new Map<Column, HTMLElement>(
    COLUMNS.map((column) => [
      column,
      column === 'name' ? make('span', {}) : make('td', { 'data-column': column }),
    ]),
  );
  const badged = make('span', {});
  const [name, ...rest] = cells.values();
  const head = make('th', { scope: 'row', 'data-column': 'name' }, name ?? null, badged);
  return { element: make('tr', {}, head, ...rest), cells, badged, language: null };
}

function counted(arm: Arm | null): Readonly<Record<(typeof COUNTED)[number], string>> {
  if (arm === null) return { share: '', calls: '', errors: '', p50: '', p99: '' };
  const { share, calls, errors, p50, p99 } = figuresOf(arm);
  return { share, calls, errors, p50, p99 };
}

function titles(say: Say): Readonly<Record<Column, string>> {
  return {
    name: say('component'),
    version: say('version'),
    health: say('state'),
    share: say('share'),
    calls: say('calls'),
    errors: say('errors'),
    p50: 'p50',
    p99: 'p99',
    source: say('source'),
    since: say('since'),
    note: say('to know'),
  };
}
