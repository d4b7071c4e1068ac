/** The past of an event or a flow: why it happened, and how it would go with the code of now. */

import { make, mark, show } from '../element';
import type { Replay, Why } from '../protocol';
import { unpacked } from '../views/graph-picture';
import { PictureView } from '../views/picture';
import type { Target } from '../views/view';
import { badge, deed, link, paragraph, room } from './parts';
import type { Desk, Section } from './section';

export class HistorySection implements Section {
  readonly node: HTMLElement;
  private readonly _id: HTMLInputElement;
  private readonly _found = make('div', { class: 'aegis-Found', 'aria-live': 'polite' });
  private readonly _empty: HTMLElement;
  private readonly _enlarge: HTMLElement;
  private _view: PictureView | null = null;
  /** The last thing that was asked for: an answer to an earlier one is late. */
  private _asked: Target | null = null;

  constructor(private readonly desk: Desk) {
    const { say } = desk;
    this._id = make('input', {
      class: 'aegis-Input',
      spellcheck: 'false',
      autocomplete: 'off',
      placeholder: say('id of an event or a flow'),
      'aria-label': say('Event or flow'),
    });
    this._id.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') void this._look('why');
    });
    this._empty = room(
      say('Nothing was asked for yet'),
      paragraph(
        say(
          'Why shows what led to an event or a flow, and what came of it. Replay runs it again on a copy, with the code of now and the recorded answers of partners: nothing real is touched.',
        ),
      ),
    );
    this._enlarge = make(
      'p',
      { class: 'aegis-Note', hidden: true },
      link(say('Open in a tab'), () => {
        if (this._asked) desk.enlarge?.(this._asked);
      }),
    );
    this.node = make(
      'div',
      { class: 'aegis-Section' },
      make(
        'div',
        { class: 'aegis-Bar' },
        this._id,
        deed(say('Why'), () => this._look('why')),
        deed(say('Replay'), () => this._look('replay')),
      ),
      this._enlarge,
      this._empty,
      this._found,
    );
  }

  update(): void {
    // What happened stays.
  }

  show(target: Target): void {
    if (target.kind !== 'why' && target.kind !== 'replay') return;
    this._id.value = target.id;
    void this._look(target.kind);
  }

  dispose(): void {
    this._asked = null;
    this._view?.dispose();
    this._view = null;
  }

  private async _look(kind: 'why' | 'replay'): Promise<void> {
    const { say, ask } = this.desk;
    const id = this._id.value.trim();
    mark(this._id, 'aria-invalid', id === '' ? 'true' : null);
    if (id === '') {
      this._id.focus();
      return;
    }
    const asked: Target = { kind, id };
    this._asked = asked;
    this._view?.dispose();
    this._view = null;
    show(this._empty, false);
    show(this._enlarge, this.desk.enlarge !== undefined);
    this._found.replaceChildren(
      paragraph(kind === 'why' ? say('Looking it up…') : say('Running it again on a copy…')),
    );
    let told: readonly HTMLElement[];
    try {
      told =
        kind === 'why'
          ? await this._why(await ask({ verb: 'why', id }))
          : this._replay(await ask({ verb: 'replay', id }));
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      told = [make('p', { class: 'aegis-Problem' }, text)];
    }
    if (this._asked === asked) this._found.replaceChildren(...told);
  }

  private async _why({ text, data }: Why): Promise<readonly HTMLElement[]> {
    const { say } = this.desk;
    const tree = make(
      'pre',
      { class: 'aegis-Json', tabindex: 0, role: 'group', 'aria-label': say('What led to what') },
      text,
    );
    if (data === null) return [tree];
    const view = new PictureView({ ...this.desk, label: say('What led to what') });
    view.draw(await unpacked(data));
    this._view = view;
    return [view.node, make('details', {}, make('summary', {}, say('As text')), tree)];
  }

  private _replay(found: Replay): readonly HTMLElement[] {
    const { say } = this.desk;
    const { same, stopped, rows, notes } = found;
    const verdict = stopped
      ? badge(say('It stopped'), 'bad')
      : same
        ? badge(say('The same comes out'), 'ok')
        : badge(say('%1 of %2 come out otherwise', rows.length, found.compared), 'undone');
    const told = [
      make('p', { class: 'aegis-Line-row' }, verdict),
      make('p', stopped ? { class: 'aegis-Problem' } : {}, found.reason),
      make('p', { class: 'aegis-Quiet' }, say('Flow %1 on %2', found.flow, found.revision)),
      ...notes.map((note) => make('p', { class: 'aegis-Quiet' }, note)),
    ];
    return rows.length === 0 ? told : [...told, this._table(rows)];
  }

  private _table(rows: Replay['rows']): HTMLElement {
    const { say } = this.desk;
    const cell = (text: string | null): HTMLElement =>
      make('td', text === null ? { class: 'aegis-Quiet' } : {}, text ?? say('not there'));
    const parts = { steps: say('Steps'), events: say('Events'), state: say('At the end') };
    const table = make(
      'table',
      { class: 'aegis-Table aegis-Then', 'aria-label': say('What came out then, and now') },
      make(
        'thead',
        {},
        make(
          'tr',
          {},
          ...[say('What'), say('Then'), say('Now')].map((text) =>
            make('th', { scope: 'col' }, text),
          ),
        ),
      ),
    );
    for (const part of ['steps', 'events', 'state'] as const) {
      const found = rows.filter((row) => row.part === part);
      if (found.length === 0) continue;
      const head = make('th', { scope: 'rowgroup', colspan: 3 }, parts[part]);
      const body = make('tbody', {}, make('tr', {}, head));
      for (const { what, then, now } of found) {
        body.append(make('tr', {}, make('th', { scope: 'row' }, what), cell(then), cell(now)));
      }
      table.append(body);
    }
    return make(
      'div',
      {
        class: 'aegis-View-scroll',
        tabindex: 0,
        role: 'region',
        'aria-label': say('Then and now'),
      },
      table,
    );
  }
}
