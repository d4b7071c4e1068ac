/** A section of the panel in the main area, with more room: the graph, or the past of something. */

import { Widget } from '@lumino/widgets';

import { make, mark, show } from './element';
import { paragraph, room } from './sections/parts';
import type { Desk, Section } from './sections/section';
import type { Target } from './views/view';
import type { Change, Watch } from './watch';

/** What a tab shows. */
export interface Shown {
  readonly section: new (desk: Desk) => Section;
  /** Its title while there is no host. */
  readonly title: string;
  /** Its title with the name of the host. */
  readonly of: (host: string) => string;
  /** What it is, for who cannot see it. */
  readonly label: string;
}

/** How often it renders at most, in milliseconds. */
const PAUSE = 100;

export class SectionTab extends Widget {
  private readonly _desk: Desk;
  private readonly _page = make('div', { class: 'aegis-Page' });
  private readonly _nobody: HTMLElement;
  private _section: Section | null = null;
  private _frame = 0;
  private _timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly watch: Watch,
    desk: Desk,
    private readonly shown: Shown,
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
      paragraph(say('It comes back with the host of a notebook on the Aegis kernel.')),
    );
    this.node.append(make('div', { class: 'aegis-Body' }, this._nobody, this._page));
    mark(this.node, 'role', 'region');
    mark(this.node, 'aria-label', shown.label);
    watch.changed.connect(this._news, this);
    this._begin();
  }

  /** Show one thing of it. */
  reveal(target: Target): void {
    this._section?.show?.(target);
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
    this._section = new this.shown.section(this._desk);
    this._page.replaceChildren(this._section.node);
    const { host } = this.watch;
    this.title.label = host === null ? this.shown.title : this.shown.of(host.label);
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
