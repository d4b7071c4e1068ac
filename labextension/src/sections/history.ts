/** The past of an event or a flow: why it happened, and how it would go with the code of now. */

import { make, mark, show } from '../element';
import type { Replay, Why } from '../protocol';
import { unpacked } from '../views/graph-picture';
import { PictureView } from '../views/picture';
import type { Target } from '../views/view';
import { badge, deed, paragraph, room } from './parts';
import type { Desk, Section } from './section';

export class HistorySection implements Section {
  readonly node: HTMLElement;
  private readonly _id: HTMLInputElement;
  private readonly _found = make('div', { class: 'aegis-Found', 'aria-live': 'polite' });
  private readonly _empty: HTMLElement;
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

  private _replay({ same, rows, stopped }: Replay): readonly HTMLElement[] {
    const { say } = this.desk;
    const verdict =
      stopped !== null
        ? badge(say('It stopped'), 'bad')
        : same
          ? badge(say('The same comes out'), 'ok')
          : badge(say('Something else comes out'), 'undone');
    const told = make('p', { class: 'aegis-Line-row' }, verdict);
    const why = stopped === null ? [] : [make('p', { class: 'aegis-Problem' }, stopped)];
    if (rows.length === 0) return [told, ...why];
    const cell = (text: string | null): HTMLElement =>
      make('td', text === null ? { class: 'aegis-Quiet' } : {}, text ?? say('nothing'));
    const body = make('tbody');
    for (const { what, then, now } of rows) {
      body.append(make('tr', {}, make('th', { scope: 'row' }, what), cell(then), cell(now)));
    }
    const heads = [say('What'), say('Then'), say('Now')];
    const head = make('tr', {}, ...heads.map((text) => make('th', { scope: 'col' }, text)));
    const table = make(
      'table',
      { class: 'aegis-Table aegis-Then', 'aria-label': say('What came out then, and now') },
      make('thead', {}, head),
      body,
    );
    const frame = make(
      'div',
      {
        class: 'aegis-View-scroll',
        tabindex: 0,
        role: 'region',
        'aria-label': say('Then and now'),
      },
      table,
    );
    return [told, ...why, frame];
  }
}
