/** A picture that the host drew of what happened: a sequence of calls, what led to what. It stays. */

import { make, show, write } from '../element';
import { BadPicture, picture } from './graph-picture';
import type { Say, View } from './view';

export interface PictureOptions {
  readonly say: Say;
  /** What it shows, for who cannot see it. */
  readonly label: string;
}

export class PictureView implements View {
  readonly node: HTMLElement;
  private readonly _empty: HTMLElement;
  private readonly _shadow: ShadowRoot;

  constructor(private readonly options: PictureOptions) {
    const { say, label } = options;
    const paper = make('div', { class: 'aegis-Graph-paper' });
    this._shadow = paper.attachShadow({ mode: 'open' });
    this._empty = make('p', { class: 'aegis-View-empty' }, say('Nothing was recorded.'));
    const room = make(
      'div',
      { class: 'aegis-View-scroll', tabindex: 0, role: 'region', 'aria-label': label },
      paper,
    );
    this.node = make('div', { class: 'aegis-View aegis-Trace' }, this._empty, room);
  }

  draw(text: string): void {
    try {
      this._shadow.replaceChildren(picture(text));
      show(this._empty, false);
    } catch (error) {
      if (!(error instanceof BadPicture)) throw error;
      write(this._empty, this.options.say('The picture is not shown: %1.', error.message));
    }
  }

  update(): void {
    // What happened stays.
  }

  dispose(): void {
    this._shadow.replaceChildren();
  }
}
