/** The events of a host as they happen, the newest first; each opens to its data. */

import { button, make, mark, show, write } from '../element';
import type { EventLine } from '../protocol';
import type { State } from '../state';
import type { Target } from '../views/view';
import { type Detail, List } from './list';
import { clock, facts, json, link, paragraph, past, room, short } from './parts';
import type { Desk, Section } from './section';

export class EventsSection implements Section {
  readonly node: HTMLElement;
  private readonly _list: List<EventLine>;
  private readonly _filter: HTMLInputElement;
  private readonly _pause: HTMLButtonElement;
  private readonly _note: HTMLElement;
  private readonly _empty: HTMLElement;
  private readonly _none: HTMLElement;
  private _boot: string | null = null;
  private _paused = false;
  /** What is shown while it is paused. */
  private _still: readonly EventLine[] | null = null;
  private _seen: readonly EventLine[] | null = null;

  constructor(private readonly desk: Desk) {
    const { say } = desk;
    this._list = new List<EventLine>(
      {
        key: (event) => String(event.seq),
        line: (event) => [
          make(
            'span',
            { class: 'aegis-Line-text' },
            clock(event.time),
            make('span', {}, event.type),
            make('span', { class: 'aegis-Quiet' }, short(event.subject ?? '')),
          ),
        ],
        detail: (event) => this._detail(event),
      },
      {
        say,
        label: say('Events'),
        opened: () => {
          desk.refresh();
        },
      },
    );
    this._filter = make('input', {
      class: 'aegis-Input',
      type: 'search',
      spellcheck: 'false',
      placeholder: say('Filter, such as order.*'),
      'aria-label': say('Filter events by type'),
    });
    this._filter.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') this._follow();
    });
    this._filter.addEventListener('change', () => {
      this._follow();
    });
    this._pause = button({ class: 'aegis-Button', 'aria-pressed': 'false' }, () => {
      // To go on is to close what was being read.
      const still = this._paused || this._list.isOpen;
      this._paused = !still;
      if (still) this._list.close();
      desk.refresh();
    });
    this._note = make('p', { class: 'aegis-Note', hidden: true });
    this._empty = room(
      say('No events yet'),
      paragraph(
        say('Every change of a record is an event. Create a record, and its event is the first.'),
      ),
    );
    this._none = room(say('No event matches the filter'));
    this.node = make(
      'div',
      { class: 'aegis-Section' },
      make('div', { class: 'aegis-Bar' }, this._filter, this._pause),
      this._note,
      this._empty,
      this._none,
      this._list.node,
    );
  }

  update(state: State): void {
    const { say } = this.desk;
    if (state.boot !== this._boot) {
      // Numbers begin anew in another run of the host: what was open is another event now.
      this._boot = state.boot;
      this._paused = false;
      this._list.close();
    }
    // Who reads an event keeps it: the list stands still while one is open.
    const still = this._paused || this._list.isOpen;
    if (!still) this._still = null;
    else this._still ??= this._seen ?? state.events;
    const events = this._still ?? state.events;
    const fresh = state.events !== events ? newer(state.events, events) : 0;
    mark(this._pause, 'aria-pressed', still ? 'true' : 'false');
    write(this._pause, still ? say('Resume') : say('Pause'));
    show(this._note, (still && fresh > 0) || state.skipped > 0);
    write(
      this._note,
      still && fresh > 0
        ? say('Paused: %1 newer', fresh >= state.events.length ? `${fresh}+` : fresh)
        : say('%1 earlier ones are not listed', state.skipped),
    );
    const filtered = this._filter.value.trim() !== '';
    const none = state.status !== null && events.length === 0;
    show(this._empty, none && !filtered);
    show(this._none, none && filtered);
    if (events === this._seen) return;
    this._seen = events;
    this._list.update([...events].reverse());
  }

  show(target: Target): void {
    if (target.kind !== 'event') return;
    const { desk } = this;
    const listed = desk.state().events.some(({ seq }) => seq === target.seq);
    if (listed) this._list.reveal(String(target.seq));
    else desk.tell(desk.say('That event is not among the newest, which are listed.'), false);
  }

  dispose(): void {
    this._list.dispose();
  }

  private _follow(): void {
    this.desk.follow(this._filter.value.trim() || '*');
    this._paused = false;
    this._list.close();
    this.desk.refresh();
  }

  private _detail(event: EventLine): Detail<EventLine> {
    const { say, ask, show: go } = this.desk;
    const data = make('div', {}, say('Loading…'));
    const { flow } = event;
    void ask({ verb: 'event', seq: event.seq }).then(
      (found) => {
        data.replaceChildren(json(found.data, say('Data of the event')));
      },
      (error: unknown) => {
        data.replaceChildren(paragraph(error instanceof Error ? error.message : String(error)));
      },
    );
    return {
      node: make(
        'div',
        {},
        facts([
          [say('Number'), String(event.seq)],
          [say('Subject'), event.subject],
          [say('Component'), event.component],
          [say('Cause'), event.cause],
          [
            say('Flow'),
            flow === null
              ? null
              : link(flow, () => {
                  go({ kind: 'flow', id: flow });
                }),
          ],
        ]),
        make('div', { class: 'aegis-Actions' }, ...past(event.id, this.desk)),
        data,
      ),
    };
  }
}

/** How many of `events` came after the newest of `shown`. */
function newer(events: readonly EventLine[], shown: readonly EventLine[]): number {
  const last = shown.at(-1)?.seq ?? 0;
  let count = 0;
  for (let at = events.length - 1; at >= 0 && (events[at]?.seq ?? 0) > last; at--) count++;
  return count;
}
