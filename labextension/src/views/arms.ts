/** The two sides of a split, as a table whose figures move. */

import { make, mark, write } from '../element';
import type { Arm, Split } from '../protocol';
import { latency } from './graph-figures';
import type { Say } from './view';

type Column = 'version' | 'share' | 'calls' | 'errors' | 'p50' | 'p99';

/** What is told of a side, in this order. */
export const COLUMNS: readonly Column[] = ['version', 'share', 'calls', 'errors', 'p50', 'p99'];

/** The figures of a side as text. */
export function figuresOf(arm: Arm): Readonly<Record<Column, string>> {
  return {
    version: arm.version,
    share: share(arm.weight),
    calls: arm.calls.toLocaleString('en'),
    errors: arm.errors.toLocaleString('en'),
    p50: arm.p50 === null ? '' : latency(arm.p50),
    p99: arm.p99 === null ? '' : latency(arm.p99),
  };
}

/** A share in percent: `12.5 %`. */
export function share(weight: number): string {
  return `${Math.round(weight * 100) / 100} %`;
}

type Side = 'live' | 'candidate';

/** A column for each side: so it fits into a side bar, and each figure stands beside its other. */
export class ArmsTable {
  readonly node: HTMLElement;
  private readonly _sides: Readonly<Record<Side, Map<Column, HTMLElement>>>;

  constructor(split: Split, say: Say) {
    const names: Readonly<Record<Column, string>> = {
      version: say('version'),
      share: say('share'),
      calls: say('calls'),
      errors: say('errors'),
      p50: 'p50',
      p99: 'p99',
    };
    this._sides = { live: cells('live'), candidate: cells('candidate') };
    const { live, candidate } = this._sides;
    this.node = make(
      'table',
      { class: 'aegis-Table aegis-Arms', 'aria-label': say('The two versions of the split') },
      make(
        'thead',
        {},
        make(
          'tr',
          {},
          make('td', {}),
          make('th', { scope: 'col' }, say('live')),
          make('th', { scope: 'col' }, say('candidate')),
        ),
      ),
      make(
        'tbody',
        {},
        ...COLUMNS.map((column) =>
          make(
            'tr',
            {},
            make('th', { scope: 'row' }, names[column]),
            live.get(column) ?? null,
            candidate.get(column) ?? null,
          ),
        ),
      ),
    );
    this.update(split);
  }

  update(split: Split): void {
    for (const side of ['live', 'candidate'] as const) {
      const said = figuresOf(split[side]);
      for (const [column, cell] of this._sides[side]) {
        const wasm = column === 'version' && split[side].language === 'wasm';
        write(cell, wasm ? `${said[column]} (Wasm)` : said[column]);
        if (column === 'version') mark(cell, 'title', split[side].origin);
        if (column === 'errors') mark(cell, 'data-mood', split[side].errors > 0 ? 'bad' : null);
      }
    }
  }
}

function cells(side: Side): Map<Column, HTMLElement> {
  return new Map(
    COLUMNS.map((column) => [column, make('td', { 'data-side': side, 'data-column': column })]),
  );
}
