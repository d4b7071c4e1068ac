/** A gate: how far it is, and what of the recorded comes to something else. */

import { make, mark, show, write } from '../element';
import type { Diverging, GateRun } from '../protocol';
import { badge, deed, link } from './parts';
import type { Desk } from './section';

export class Gate {
  readonly node: HTMLElement;
  private readonly _bar = make('progress', { class: 'aegis-Progress' });
  private readonly _said = make('p', {});
  private readonly _way: HTMLElement;
  private readonly _found = make('div', { class: 'aegis-Gate-found' });
  private _run: GateRun | null = null;

  constructor(private readonly desk: Desk) {
    const { say, act } = desk;
    mark(this._bar, 'aria-label', say('Recorded flows and requests that are tried'));
    const cancel = deed(
      say('Cancel'),
      async () => {
        if (this._run) await act({ verb: 'cancel_gate', component: this._run.component });
      },
      { label: say('Cancel the gate') },
    );
    this._way = make('div', { class: 'aegis-Actions' }, this._bar, cancel);
    this.node = make(
      'div',
      { class: 'aegis-Gate', role: 'group', 'aria-label': say('Gate'), hidden: true },
      this._said,
      this._way,
      this._found,
    );
  }

  /** Show this gate, or none. */
  update(run: GateRun | null): void {
    if (run === this._run) return;
    this._run = run;
    show(this.node, run !== null);
    if (run === null) return;
    const running = run.state === 'running';
    show(this._way, running);
    if (running) {
      this._progress(run);
      this._found.replaceChildren();
    } else {
      this._end(run);
    }
  }

  private _progress({ done, total }: GateRun): void {
    const { say } = this.desk;
    // Without a value it says that it does not know yet.
    mark(this._bar, 'max', total > 0 ? total : null);
    mark(this._bar, 'value', total > 0 ? done : null);
    write(
      this._said,
      total > 0 ? say('Tried %1 of %2…', done, total) : say('Looking up what was recorded…'),
    );
  }

  private _end(run: GateRun): void {
    const { say } = this.desk;
    const verdicts = {
      done: run.passes
        ? badge(say('the gate lets it through'), 'ok')
        : badge(say('the gate refuses it'), 'bad'),
      canceled: badge(say('canceled'), 'plain'),
      failed: badge(say('the gate could not tell'), 'bad'),
      running: badge('', 'plain'),
    };
    this._said.replaceChildren(verdicts[run.state], ' ', run.text);
    this._found.replaceChildren(
      ...(run.diverging.length === 0
        ? []
        : [
            make(
              'ul',
              {
                class: 'aegis-Plan-lines',
                role: 'list',
                'aria-label': say('What comes to something else'),
              },
              ...run.diverging.map((one) => this._diverging(one)),
            ),
          ]),
      ...run.notes.map((note) => make('p', { class: 'aegis-Quiet' }, note)),
    );
  }

  private _diverging({ id, kind, what, verdict, error, rows }: Diverging): HTMLElement {
    const { say, show: open } = this.desk;
    const raises = verdict === 'raises';
    const line = make(
      'div',
      {},
      raises ? say('raises: ') : say('differs: '),
      link(what, () => {
        open(kind === 'flow' ? { kind: 'flow', id } : { kind: 'why', id });
      }),
      error === null ? null : make('span', { class: 'aegis-Problem' }, ` ${error}`),
    );
    if (rows.length > 0) line.append(this._rows(rows));
    return make(
      'li',
      { 'data-sign': raises ? '!' : '~' },
      make('span', { class: 'aegis-Sign', 'aria-hidden': 'true' }, raises ? '!' : '~'),
      line,
    );
  }

  private _rows(rows: Diverging['rows']): HTMLElement {
    const { say } = this.desk;
    const side = (sign: string, text: string | null): HTMLElement =>
      make('div', {}, `${sign} ${text ?? say('not there')}`);
    return make(
      'details',
      {},
      make('summary', {}, say('then and now')),
      ...rows.map(({ what, then, now }) =>
        make(
          'div',
          { class: 'aegis-Unlike' },
          make('div', { class: 'aegis-Quiet' }, what),
          side('\u2212', then),
          side('+', now),
        ),
      ),
    );
  }
}
