/** The graph in the main area: the section of the panel with more room, of the host looked at. */

import { Widget } from '@lumino/widgets';

import { make, mark, show } from './element';
import { GraphSection } from './sections/graph';
import { paragraph, room } from './sections/parts';
import type { Desk } from './sections/section';
import type { Change, Watch } from './watch';

/** How often it renders at most, in milliseconds. */
const PAUSE = 100;

export class GraphTab extends Widget {
  private readonly _desk: Desk;
  private readonly _page = make('div', { class: 'aegis-Page' });
  private readonly _nobody: HTMLElement;
  private _section: GraphSection | null = null;
  private _frame = 0;
  private _timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly watch: Watch,
    desk: Desk,
  ) {
    super({ node: make('div', { class: 'aegis-Panel aegis-mod-tab' }) });
    const { say } = desk;
    this._desk = {
      ...desk,
      enlarge: undefined,
      refresh: () => {
        this._render();
      },
    };
    this._nobody = room(
      say('No host is running'),
      paragraph(say('Its graph comes back with the host of a notebook on the Aegis kernel.')),
    );
    this.node.append(make('div', { class: 'aegis-Body' }, this._nobody, this._page));
    mark(this.node, 'role', 'region');
    mark(this.node, 'aria-label', say('Graph of what is deployed'));
    watch.changed.connect(this._news, this);
    this._begin();
  }

  override dispose(): void {
    if (this.isDisposed) return;
    cancelAnimationFrame(this._frame);
    clearTimeout(this._timer);
    this._section?.dispose();
    super.dispose();
  }

  protected override onAfterShow(): void {
    this._render();
  }

  protected override onAfterAttach(): void {
    this._render();
  }

  private _news(_: unknown, change: Change): void {
    if (change === 'host') this._begin();
    this._render();
  }

  private _begin(): void {
    this._section?.dispose();
    this._section = new GraphSection(this._desk);
    this._page.replaceChildren(this._section.node);
    const { host } = this.watch;
    this.title.label =
      host === null ? this._desk.say('Graph') : this._desk.say('Graph of %1', host.label);
  }

  private _render(): void {
    if (this._timer !== undefined || !this.isVisible) return;
    this._timer = setTimeout(() => {
      this._timer = undefined;
      cancelAnimationFrame(this._frame);
      this._frame = requestAnimationFrame(() => {
        this._draw();
      });
    }, PAUSE);
  }

  private _draw(): void {
    if (!this.isVisible) return;
    const { state, host } = this.watch;
    const there = host !== null && state.status !== null;
    show(this._page, there);
    show(this._nobody, host === null);
    mark(this._page.parentElement ?? this._page, 'data-link', state.link);
    if (there) this._section?.update(state);
  }
}
