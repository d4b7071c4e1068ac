/** The two sides of a split, as a table whose figures move. */

import { make, mark, write } from '../element';
import type { Arm, Split } from '../protocol';
import { latency } from './graph-figures';
import type { Say } from './view';

type Column = 'version' | 'share' | 'calls' | 'errors' | 'p50' | 'p99';

/** What is told of a side, in the order of `COLUMNS`. */
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

export class ArmsTable {
  readonly node: HTMLElement;
  private readonly _sides: Readonly<Record<'live' | 'candidate', Map<Column, HTMLElement>>>;

  constructor(split: Split, say: Say) {
    const heads = {
      version: say('version'),
      share: say('share'),
      calls: say('calls'),
      errors: say('errors'),
      p50: 'p50',
      p99: 'p99',
    };
    this._sides = { live: cells(), candidate: cells() };
    const row = (name: string, side: 'live' | 'candidate'): HTMLElement =>
      make('tr', {}, make('th', { scope: 'row' }, name), ...this._sides[side].values());
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
          ...COLUMNS.map((column) =>
            make('th', { scope: 'col', 'data-column': column }, heads[column]),
          ),
        ),
      ),
      make('tbody', {}, row(say('live'), 'live'), row(say('candidate'), 'candidate')),
    );
    this.update(split);
  }

  update(split: Split): void {
    for (const side of ['live', 'candidate'] as const) {
      const said = figuresOf(split[side]);
      for (const [column, cell] of this._sides[side]) {
        write(cell, said[column]);
        if (column === 'version') mark(cell, 'title', split[side].origin);
        if (column === 'errors') mark(cell, 'data-mood', split[side].errors > 0 ? 'bad' : null);
      }
    }
  }
}

function cells(): Map<Column, HTMLElement> {
  return new Map(COLUMNS.map((column) => [column, make('td', { 'data-column': column })]));
}
