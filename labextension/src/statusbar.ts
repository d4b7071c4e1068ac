/** The status bar's item: where the API answers, how much happens, and how many problems there are. */

import { Widget } from '@lumino/widgets';

import { button, make, mark, write } from './element';
import { markIcon } from './logo';
import { problems } from './state';
import type { Say } from './views/view';
import type { Watch } from './watch';

/** How often its text changes at most, in milliseconds: it is read in passing. */
const PAUSE = 1000;

export class StatusItem extends Widget {
  private readonly _text = make('span', { class: 'aegis-StatusItem-text' });
  private readonly _heard = make('span', { class: 'aegis-Unseen', role: 'status' });
  private readonly _button: HTMLButtonElement;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _problems = 0;

  constructor(
    private readonly watch: Watch,
    private readonly say: Say,
    open: () => void,
  ) {
    super({ node: make('div', { class: 'aegis-StatusItem' }) });
    this._button = button({ class: 'aegis-StatusItem-button' }, open);
    const icon = markIcon.element({ tag: 'span', height: '14px', width: '14px' });
    this._button.append(icon, this._text);
    this.node.append(this._button, this._heard);
    watch.changed.connect(this._news, this);
    this._draw();
  }

  override dispose(): void {
    clearTimeout(this._timer);
    super.dispose();
  }

  private _news(): void {
    if (this.isDisposed) return;
    this._timer ??= setTimeout(() => {
      this._timer = undefined;
      this._draw();
    }, PAUSE);
  }

  private _draw(): void {
    const { say, watch } = this;
    const { status, rate, link } = watch.state;
    if (status === null) {
      write(this._text, say('Aegis'));
      mark(this._button, 'title', watch.state.note || say('Open the Aegis panel'));
      return;
    }
    const port = status.address.replace(/^https?:\/\/[^:/]*/, '');
    const count = problems(watch.state);
    const parts = [port || say('Aegis'), say('%1/s', Math.round(rate))];
    if (link !== 'live') parts.push(say('not connected'));
    else if (count === 1) parts.push(say('1 problem'));
    else if (count > 1) parts.push(say('%1 problems', count));
    write(this._text, parts.join(' · '));
    mark(this._button, 'data-mood', link !== 'live' || count > 0 ? 'bad' : 'ok');
    mark(
      this._button,
      'title',
      say('Aegis: %1, %2 events a second. Open the panel', status.address, Math.round(rate)),
    );
    // Heard are problems only: a rate that is read out every second is noise.
    if (count !== this._problems) {
      this._problems = count;
      write(this._heard, say('Aegis: %1 problems', count));
    }
  }
}
