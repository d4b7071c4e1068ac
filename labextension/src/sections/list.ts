/** A list of things by key: updated in place, opened one by one, walked with the arrow keys. */

import { button, make, mark, show, write } from '../element';
import type { Say } from '../views/view';

/** What is shown of one item. */
export interface Lines<T> {
  readonly key: (item: T) => string;
  /** What stands in the line of an item; called again when the item is another value. */
  readonly line: (item: T) => readonly (Node | string)[];
  /** How the line is marked, beside what its text says. */
  readonly mood?: (item: T) => Mood;
  /** Buttons at the end of the line. */
  readonly actions?: (item: T) => readonly HTMLElement[];
  /** What opens under the line. */
  readonly detail?: (item: T) => Detail<T>;
  /** Whether there is something to open; it is asked once for a line. */
  readonly opens?: (item: T) => boolean;
}

export type Mood = 'ok' | 'busy' | 'undone' | 'bad' | 'plain';

export interface Detail<T> {
  readonly node: HTMLElement;
  update?(item: T): void;
  dispose?(): void;
}

/** How many lines are shown before a person asks for more: about what a high screen has room for. */
export const PAGE = 40;

class Line<T> {
  readonly node: HTMLLIElement;
  readonly head: HTMLElement;
  /** Whether there is something to open. */
  readonly opens: boolean;
  private readonly _bar: HTMLElement;
  private _detail: Detail<T> | null = null;

  constructor(
    public item: T,
    private readonly lines: Lines<T>,
    toggle: (line: Line<T>) => void,
  ) {
    const can = lines.detail !== undefined && (lines.opens?.(item) ?? true);
    this.opens = can;
    this.head = can
      ? button({ class: 'aegis-Line-head', 'aria-expanded': 'false', tabindex: -1 }, () => {
          toggle(this);
        })
      : make('div', { class: 'aegis-Line-head', tabindex: -1 });
    const bar = lines.actions ? 'aegis-Line-bar aegis-mod-actions' : 'aegis-Line-bar';
    this._bar = make('div', { class: bar }, this.head);
    this.node = make('li', { class: 'aegis-Line' }, this._bar);
    this._fill();
  }

  get isOpen(): boolean {
    return this._detail !== null;
  }

  update(item: T): void {
    if (item === this.item) return;
    this.item = item;
    this._fill();
    this._detail?.update?.(item);
  }

  open(opened: boolean): void {
    if (opened === this.isOpen || !this.opens) return;
    if (opened) {
      this._detail = this.lines.detail?.(this.item) ?? null;
      if (this._detail === null) return;
      this._detail.node.classList.add('aegis-Line-detail');
      this.node.append(this._detail.node);
    } else {
      this._detail?.node.remove();
      this._detail?.dispose?.();
      this._detail = null;
    }
    mark(this.head, 'aria-expanded', opened ? 'true' : 'false');
  }

  private _fill(): void {
    this.head.replaceChildren(...this.lines.line(this.item));
    mark(this.node, 'data-mood', this.lines.mood?.(this.item) ?? null);
    if (this.lines.actions) this._bar.replaceChildren(this.head, ...this.lines.actions(this.item));
  }
}

export class List<T> {
  readonly node: HTMLElement;
  private readonly _list: HTMLUListElement;
  private readonly _more: HTMLButtonElement;
  private readonly _shown = new Map<string, Line<T>>();
  private _items: readonly T[] = [];
  private _most = PAGE;
  private _wanted: string | null = null;

  constructor(
    private readonly lines: Lines<T>,
    private readonly options: {
      readonly say: Say;
      readonly label: string;
      /** Called when a line was opened or closed. */
      readonly opened?: () => void;
    },
  ) {
    this._list = make('ul', { class: 'aegis-List', role: 'list', 'aria-label': options.label });
    this._more = button({ class: 'aegis-List-more', hidden: true }, () => {
      this._most += 2 * PAGE;
      this._render();
    });
    this.node = make('div', { class: 'aegis-List-frame' }, this._list, this._more);
    this._list.addEventListener('keydown', (event) => {
      this._key(event);
    });
    this._list.addEventListener('focusin', (event) => {
      const head = (event.target as HTMLElement).closest('.aegis-Line-head');
      // There may be a list in an opened line, with a tab stop of its own.
      if (head instanceof HTMLElement && this._heads().includes(head)) this._rove(head);
    });
  }

  /** Whether a person reads the detail of a line. */
  get isOpen(): boolean {
    for (const line of this._shown.values()) if (line.isOpen) return true;
    return false;
  }

  update(items: readonly T[]): void {
    if (items === this._items) return;
    this._items = items;
    this._render();
  }

  /** Bring an item into sight and open it, now or when it comes. */
  reveal(key: string): void {
    this._wanted = key;
    const place = this._items.findIndex((item) => this.lines.key(item) === key);
    if (place >= this._most) this._most = place + PAGE;
    this._render();
  }

  /** Close every line. */
  close(): void {
    for (const line of this._shown.values()) line.open(false);
  }

  dispose(): void {
    this.close();
    this._shown.clear();
  }

  private _render(): void {
    const { key } = this.lines;
    const seen = this._items.slice(0, this._most);
    const keys = new Set(seen.map(key));
    let held = false;
    for (const [known, line] of this._shown) {
      if (keys.has(known)) continue;
      line.open(false);
      held ||= line.node.contains(document.activeElement);
      line.node.remove();
      this._shown.delete(known);
    }
    let place = this._list.firstElementChild;
    for (const item of seen) {
      const name = key(item);
      let line = this._shown.get(name);
      if (line === undefined) {
        line = new Line(item, this.lines, (one) => {
          this._toggle(one);
        });
        this._shown.set(name, line);
      } else {
        line.update(item);
      }
      if (line.node === place) place = place.nextElementSibling;
      else this._list.insertBefore(line.node, place);
    }
    const left = this._items.length - seen.length;
    show(this._more, left > 0);
    write(this._more, this.options.say('Show more (%1)', left));
    this._rove(null);
    // What had the focus is gone: stay in the list.
    if (held) this._heads()[0]?.focus();
    this._reveal();
  }

  private _reveal(): void {
    const line = this._wanted === null ? undefined : this._shown.get(this._wanted);
    if (line === undefined) return;
    this._wanted = null;
    line.open(true);
    this.options.opened?.();
    line.node.scrollIntoView({ block: 'nearest' });
    line.head.focus({ preventScroll: true });
  }

  private _toggle(line: Line<T>): void {
    line.open(!line.isOpen);
    this.options.opened?.();
  }

  private _key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    const node = target.closest('.aegis-Line');
    const line = [...this._shown.values()].find((one) => one.node === node);
    if (line === undefined) return;
    if (event.key === 'Escape' && line.isOpen) {
      this._toggle(line);
      line.head.focus();
    } else if (target === line.head) {
      const heads = this._heads();
      const at = heads.indexOf(line.head);
      if (event.key === 'ArrowDown') heads[at + 1]?.focus();
      else if (event.key === 'ArrowUp') heads[at - 1]?.focus();
      else if (event.key === 'Home') heads[0]?.focus();
      else if (event.key === 'End') heads.at(-1)?.focus();
      else if (event.key === 'ArrowRight' && !line.isOpen) this._toggle(line);
      else if (event.key === 'ArrowLeft' && line.isOpen) this._toggle(line);
      else return;
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  private _heads(): readonly HTMLElement[] {
    return [...this._list.querySelectorAll<HTMLElement>(':scope > li > div > .aegis-Line-head')];
  }

  /** One line of all can be reached with the tab key; the arrows lead to the others. */
  private _rove(head: HTMLElement | null): void {
    const heads = this._heads();
    const now = heads.find(({ tabIndex }) => tabIndex === 0);
    const next = head ?? now ?? heads[0];
    if (next === now) return;
    if (now) now.tabIndex = -1;
    if (next) next.tabIndex = 0;
  }
}
