/** Events as they happen, the newest on top: dense, filtered, paused at will, one opened at a time. */

import { button, make, mark, show, write } from '../element';
import type { EventDetail, EventLine } from '../protocol';
import type { State } from '../state';
import { latency, timeOfDay } from './graph-figures';
import type { View, ViewOptions } from './view';

/** Rows on the page. Whoever wants older ones filters, or asks the journal. */
export const ROWS = 100;
/** Rows while more than so many events come a second, and nobody scrolls: those in sight. */
export const FAST = { rows: 30, rate: 100 };
/** Of an event's data, as text. */
const CHARACTERS = 4000;

export class EventsView implements View {
  readonly node: HTMLElement;
  private readonly _list: HTMLElement;
  private readonly _said: HTMLElement;
  private readonly _empty: HTMLElement;
  private readonly _filter: HTMLInputElement;
  private readonly _pause: HTMLButtonElement;
  private _saved: readonly EventLine[] = [];
  private _told: readonly EventLine[] = [];
  private _events: readonly EventLine[] = [];
  private _held: readonly EventLine[] | null = null;
  private _meant: (type: string) => boolean;
  private _fast = false;
  private _scrolled = false;
  private _rows = new Map<string, HTMLElement>();
  private _open: { readonly id: string; readonly node: HTMLElement } | null = null;

  constructor(private readonly options: ViewOptions) {
    const { say, pattern } = options;
    this._meant = glob(pattern ?? '*');
    this._said = make('p', { class: 'aegis-View-said' });
    this._filter = make('input', {
      class: 'aegis-Input',
      type: 'text',
      spellcheck: 'false',
      placeholder: say('Filter, as in order.*'),
      'aria-label': say('Show only events that match'),
      value: pattern === undefined || pattern === '*' ? null : pattern,
    });
    this._filter.addEventListener('input', () => {
      this._meant = glob(this._filter.value.trim() || '*');
      this._draw();
    });
    this._filter.addEventListener('keydown', (event) => {
      event.stopPropagation();
    });
    this._pause = button(
      { class: 'aegis-Button', 'aria-pressed': 'false' },
      () => {
        this._held = this._held === null ? this._events : null;
        mark(this._pause, 'aria-pressed', String(this._held !== null));
        write(this._pause, this._held === null ? say('Pause') : say('Go on'));
        this._draw();
      },
      say('Pause'),
    );
    this._empty = make('p', { class: 'aegis-View-empty' }, say('No events yet.'));
    this._list = make('ol', {
      class: 'aegis-Events-list',
      reversed: true,
      'aria-label': say('Events'),
    });
    const scroller = make(
      'div',
      { class: 'aegis-View-scroll', tabindex: 0, role: 'region', 'aria-label': say('Events') },
      this._list,
    );
    scroller.addEventListener('scroll', () => {
      const scrolled = scroller.scrollTop > 0;
      if (scrolled === this._scrolled) return;
      this._scrolled = scrolled;
      this._draw();
    });
    this.node = make(
      'div',
      { class: 'aegis-View aegis-Events' },
      make('div', { class: 'aegis-View-bar' }, this._filter, this._said, this._pause),
      this._empty,
      scroller,
    );
  }

  update(state: State): void {
    const { say } = this.options;
    const rate = state.rate > 0 ? say('%1 a second', Math.round(state.rate * 10) / 10) : '';
    const kept = this._held === null ? '' : say('paused');
    write(this._said, [kept, rate].filter(Boolean).join(' \u00b7 '));
    const fast = state.rate > FAST.rate;
    if (state.events === this._told && fast === this._fast) return;
    this._fast = fast;
    this._told = state.events;
    this._join();
  }

  /** Events of before, which the host need not tell about again. */
  set(saved: readonly EventLine[]): void {
    this._saved = saved;
    this._join();
  }

  private _join(): void {
    const told = new Set(this._told.map(({ id }) => id));
    const before = this._saved.filter(({ id }) => !told.has(id));
    this._events = before.length === 0 ? this._told : [...before, ...this._told];
    if (this._held === null) this._draw();
  }

  dispose(): void {
    this._rows.clear();
  }

  /** Make the rows those of the newest events that are meant; rows that stay are left alone. */
  private _draw(): void {
    const events = this._held ?? this._events;
    const most = this._fast && !this._scrolled && this._held === null ? FAST.rows : ROWS;
    const found: (readonly [EventLine, EventLine | undefined])[] = [];
    for (let place = events.length - 1; place >= 0 && found.length < most; place--) {
      const event = events[place];
      if (event === undefined || !this._meant(event.type)) continue;
      found.push([event, events[place - 1]]);
    }
    const rows = new Map<string, HTMLElement>();
    for (const [event, before] of found) {
      // One that was saved has no number, so nothing more can be asked of it.
      const key = event.seq > 0 ? event.id : `saved ${event.id}`;
      rows.set(key, this._rows.get(key) ?? this._row(event, before));
    }
    for (const [id, row] of this._rows) {
      if (!rows.has(id)) row.remove();
    }
    // From the oldest up, so that in the usual case only new ones are put on top.
    let next: HTMLElement | null = null;
    for (const row of [...rows.values()].reverse()) {
      if (row.parentNode !== this._list || row.nextElementSibling !== next) {
        this._list.insertBefore(row, next);
      }
      next = row;
    }
    this._rows = rows;
    if (this._open !== null && !this._open.node.isConnected) this._open = null;
    show(this._empty, rows.size === 0);
    write(
      this._empty,
      events.length === 0
        ? this.options.say('No events yet.')
        : this.options.say('None of the last %1 events matches.', events.length),
    );
  }

  private _row(event: EventLine, before: EventLine | undefined): HTMLElement {
    const gap = before === undefined ? '' : after(event.time, before.time);
    const row = make('li', { class: 'aegis-Event' });
    const head = button(
      {
        class: 'aegis-Event-head',
        'aria-expanded': this.options.show === undefined ? 'false' : null,
      },
      () => {
        this._choose(event, row, head);
      },
      make('time', { datetime: event.time, title: event.time }, clock(event.time)),
      make('span', { class: 'aegis-Event-gap' }, gap),
      make('code', { title: event.type }, event.type),
      make('span', { class: 'aegis-Event-about', title: event.subject ?? '' }, event.subject ?? ''),
      make('span', { class: 'aegis-Event-by', title: event.component }, event.component),
    );
    row.append(head);
    return row;
  }

  private _choose(event: EventLine, row: HTMLElement, head: HTMLElement): void {
    const { show: elsewhere } = this.options;
    if (elsewhere !== undefined && event.seq > 0) {
      elsewhere({ kind: 'event', seq: event.seq });
      return;
    }
    const before = this._open;
    before?.node.remove();
    for (const other of this._rows.values())
      mark(other.firstElementChild ?? other, 'aria-expanded', 'false');
    this._open = null;
    if (before?.id === event.id) return;
    mark(head, 'aria-expanded', 'true');
    const node = make('div', { class: 'aegis-Event-detail' }, facts(event));
    this._open = { id: event.id, node };
    row.append(node);
    if (event.seq <= 0) return;
    const data = make('pre', { tabindex: 0 }, '\u2026');
    node.append(data);
    this.options.ask({ verb: 'event', seq: event.seq }).then(
      (detail) => {
        write(data, told(detail));
      },
      (error: unknown) => {
        write(data, error instanceof Error ? error.message : String(error));
      },
    );
  }
}

/** Whether an event name is meant by `pattern`; `*` stands for any text, as on the host. */
export function glob(pattern: string): (type: string) => boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  const expression = new RegExp(`^${parts.join('.*')}$`);
  return (type) => expression.test(type);
}

function told(detail: EventDetail): string {
  const text = JSON.stringify(detail.data, null, 1);
  return text.length > CHARACTERS ? `${text.slice(0, CHARACTERS)}\u2026` : text;
}

function facts(event: EventLine): HTMLElement {
  const known = { id: event.id, time: event.time, flow: event.flow, cause: event.cause };
  const list = make('dl');
  for (const [name, value] of Object.entries(known)) {
    if (value === null) continue;
    list.append(make('dt', {}, name), make('dd', {}, value));
  }
  return list;
}

/** The time of day here. */
function clock(time: string): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return time;
  return `${timeOfDay(time)}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** How long one was after the other. */
function after(time: string, before: string): string {
  const ms = Date.parse(time) - Date.parse(before);
  return Number.isNaN(ms) ? '' : ms < 1 ? '+0 ms' : `+${latency(ms)}`;
}
