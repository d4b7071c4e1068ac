/** A split in the detail of its component: both sides, and what can be done with the candidate. */

import { make } from '../element';
import type { Split } from '../protocol';
import { ArmsTable } from '../views/arms';
import { deed } from './parts';
import type { Desk } from './section';
import { percent, share } from './share';

export class Arms {
  readonly node: HTMLElement;
  private readonly _table: ArmsTable;
  private readonly _share: HTMLInputElement;
  private _weight: number;

  constructor(split: Split, desk: Desk) {
    const { say, act } = desk;
    const { component } = split;
    this._table = new ArmsTable(split, say);
    this._weight = split.candidate.weight;
    this._share = share(this._weight, say('Share of the candidate in percent'));
    const weigh = deed(say('Set share'), async () => {
      const weight = percent(this._share);
      if (weight !== null) await act({ verb: 'weigh', component, weight });
    });
    this._share.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') weigh.click();
    });
    this.node = make(
      'div',
      { class: 'aegis-Split', role: 'group', 'aria-label': say('Split of %1', component) },
      make(
        'div',
        { class: 'aegis-View-scroll', tabindex: 0, role: 'region', 'aria-label': say('Figures') },
        this._table.node,
      ),
      split.by === 'record'
        ? null
        : make('p', { class: 'aegis-Note' }, say('Who gets which goes by %1.', split.by)),
      make(
        'div',
        { class: 'aegis-Actions' },
        deed(say('Promote'), () => act({ verb: 'promote', component }), {
          primary: true,
          title: say('The candidate serves all from now on'),
        }),
        deed(say('Drop'), () => act({ verb: 'drop', component }), {
          title: say('What is live serves all again'),
        }),
        make('span', { class: 'aegis-Share' }, weigh, this._share, '%'),
      ),
    );
  }

  update(split: Split): void {
    this._table.update(split);
    const { weight } = split.candidate;
    // What a person types is left alone while nobody has set another share.
    if (weight !== this._weight) this._share.value = String(weight);
    this._weight = weight;
  }
}
