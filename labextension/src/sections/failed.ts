/** What failed and why, by error, and the ways on: try it again, as it was or edited, or let it be. */

import { make, show, write } from '../element';
import type { FailedGroup, FailedLine } from '../protocol';
import type { State } from '../state';
import { type Detail, List } from './list';
import { badge, clock, deed, facts, link, paragraph, past, room, short } from './parts';
import { input } from './input';
import { flowIdOf, retry, retryAll, sure } from './retry';
import type { Desk, Section } from './section';

/** So many of a group are dealt with at once, the oldest first. */
const MOST = 100;

/** A group of failures with the lines of it that are known, or one failure. */
type Item =
  | { readonly group: FailedGroup; readonly lines: readonly FailedLine[] }
  | { readonly line: FailedLine };

export class FailedSection implements Section {
  readonly node: HTMLElement;
  private readonly _list: List<Item>;
  private readonly _bar: HTMLElement;
  private readonly _count: HTMLElement;
  private readonly _empty: HTMLElement;
  private _failed: readonly FailedLine[] | null = null;
  private _groups: readonly FailedGroup[] = [];
  private _asking = false;
  private _again = false;
  private _disposed = false;
  /** The last items, so that what did not change is the same object. */
  private _items = new Map<string, Item>();

  constructor(private readonly desk: Desk) {
    const { say } = desk;
    this._list = new List<Item>(
      {
        key,
        mood: () => 'bad',
        line: (item) => ('line' in item ? this._line(item.line) : this._head(item.group)),
        actions: (item) => [
          'line' in item ? this._retry(item.line) : this._retryGroup(item.group, item.lines),
        ],
        detail: (item) => ('line' in item ? this._detail(item.line) : this._inside(item)),
      },
      { say, label: say('Failed') },
    );
    this._count = make('span', { class: 'aegis-Quiet' });
    const all = deed(say('Retry all'), () => retryAll(desk));
    const space = make('span', { class: 'aegis-Space' });
    this._bar = make('div', { class: 'aegis-Bar' }, this._count, space, all);
    this._empty = room(
      say('Nothing has failed'),
      paragraph(
        say(
          'A listener that gave up on an event, and a flow that ended undone, are listed here with their reason.',
        ),
      ),
    );
    this.node = make('div', { class: 'aegis-Section' }, this._bar, this._empty, this._list.node);
  }

  update(state: State): void {
    const { failed, status } = state;
    const whole = Math.max(failed.length, status?.failed ?? 0);
    show(this._empty, status !== null && whole === 0);
    show(this._bar, whole > 0);
    write(
      this._count,
      whole > failed.length
        ? this.desk.say('%1 of %2', failed.length, whole)
        : this.desk.say('%1 failed', whole),
    );
    if (failed === this._failed) return;
    this._failed = failed;
    this._arrange();
    // Fewer than two make no group.
    if (whole > 1) this._ask();
  }

  dispose(): void {
    this._disposed = true;
    this._list.dispose();
  }

  // --- groups -----------------------------------------------------------------------------------

  /** Ask for the groups, once at a time; until they are there lines stand alone. */
  private _ask(): void {
    this._again = this._asking;
    if (this._asking) return;
    this._asking = true;
    const settle = (groups: readonly FailedGroup[]): void => {
      this._asking = false;
      if (this._disposed) return;
      this._groups = groups;
      this._arrange();
      if (this._again) this._ask();
    };
    this.desk.ask({ verb: 'groups' }).then(
      ({ groups }) => {
        settle(groups);
      },
      () => {
        settle([]);
      },
    );
  }

  /** Put the lines into their groups; what is in none, and groups of one, stand alone. */
  private _arrange(): void {
    const groupOf = new Map<string, FailedGroup>();
    for (const group of this._groups) {
      if (group.count > 1) for (const id of group.ids) groupOf.set(id, group);
    }
    const items = new Map<string, Item>();
    const lines = new Map<FailedGroup, FailedLine[]>();
    for (const line of this._failed ?? []) {
      const group = groupOf.get(line.id);
      const known = group && lines.get(group);
      if (known) known.push(line);
      else if (group) {
        const first = [line];
        lines.set(group, first);
        const item = { group, lines: first };
        items.set(key(item), item);
      } else items.set(line.id, { line });
    }
    for (const [name, item] of items) {
      const before = this._items.get(name);
      if (before && alike(before, item)) items.set(name, before);
    }
    this._items = items;
    this._list.update([...items.values()]);
  }

  private _head(group: FailedGroup): readonly Node[] {
    const { say } = this.desk;
    return [
      make('span', { class: 'aegis-Title', title: group.what }, led(group)),
      make(
        'span',
        { class: 'aegis-Line-row' },
        badge(say('%1 failures', group.count), 'bad'),
        make('span', { class: 'aegis-Space' }),
        clock(group.last),
      ),
      make('span', { class: 'aegis-Problem' }, group.error),
    ];
  }

  private _retryGroup(group: FailedGroup, lines: readonly FailedLine[]): HTMLElement {
    const { desk } = this;
    const { say } = desk;
    return deed(
      say('Retry %1', Math.min(group.count, MOST)),
      async () => {
        if (await sure(lines, desk)) await desk.act({ verb: 'retry_group', id: group.id });
      },
      { label: say('Retry %1 of %2', Math.min(group.count, MOST), group.what) },
    );
  }

  private _inside(first: Extract<Item, { group: FailedGroup }>): Detail<Item> {
    const { say, act, confirm } = this.desk;
    const { id, what, error } = first.group;
    const about = make('div');
    const rest = paragraph('');
    const list = new List<FailedLine>(
      {
        key: ({ id }) => id,
        mood: () => 'bad',
        line: (line) => this._row(line),
        actions: (line) => [this._retry(line)],
        detail: (line) => this._detail(line),
      },
      { say, label: say('Failures of this group') },
    );
    const discard = deed(
      first.group.count > MOST ? say('Discard %1', MOST) : say('Discard all'),
      async () => {
        const sure = await confirm({
          title: say('Discard these failures?'),
          body: say('They are not tried again, ever: %1', `${what}: ${error}`),
          accept: say('Discard'),
          danger: true,
        });
        if (sure) await act({ verb: 'discard_group', id });
      },
      { danger: true },
    );
    const fill = (item: Item): void => {
      if ('line' in item) return;
      const { group, lines } = item;
      about.replaceChildren(
        facts([
          [say('Why'), group.error],
          [say('First'), clock(group.first)],
          [say('Last'), clock(group.last)],
        ]),
      );
      list.update(lines);
      show(rest, group.count > lines.length);
      write(rest, say('and %1 more, which are not listed', group.count - lines.length));
    };
    fill(first);
    return {
      node: make(
        'div',
        {},
        about,
        make('div', { class: 'aegis-Actions' }, discard),
        list.node,
        rest,
      ),
      update: fill,
      dispose: () => {
        list.dispose();
      },
    };
  }

  // --- one failure ------------------------------------------------------------------------------

  private _line(line: FailedLine): readonly Node[] {
    return [
      make('span', { class: 'aegis-Title', title: line.what }, led(line)),
      ...this._row(line),
      make('span', { class: 'aegis-Problem' }, line.error),
    ];
  }

  private _row(line: FailedLine): readonly Node[] {
    const { say } = this.desk;
    const kind = line.kind === 'flow' ? say('flow') : say('listener');
    return [
      make(
        'span',
        { class: 'aegis-Line-row' },
        badge(line.held ? say('held') : kind, 'bad'),
        make(
          'span',
          { class: 'aegis-Quiet aegis-Cut', title: line.subject ?? '' },
          short(line.subject ?? ''),
        ),
        make('span', { class: 'aegis-Quiet' }, tries(line, say)),
        make('span', { class: 'aegis-Space' }),
        clock(line.time),
      ),
    ];
  }

  private _retry(line: FailedLine): HTMLElement {
    const { desk } = this;
    const { say } = desk;
    return deed(say('Retry'), () => retry(line, desk), {
      label: say('Retry %1', line.what),
      title: line.held ? say('It waits behind an earlier failure of its subject.') : undefined,
    });
  }

  private _detail(line: FailedLine): Detail<never> {
    const { desk } = this;
    const { say, act, confirm, show: go } = desk;
    const discard = deed(
      say('Discard'),
      async () => {
        const sure = await confirm({
          title: say('Discard this failure?'),
          body: say('%1 is not tried again, ever: %2', line.what, line.error),
          accept: say('Discard'),
          danger: true,
        });
        if (sure) await act({ verb: 'discard', id: line.id });
      },
      { danger: true },
    );
    const flow = flowIdOf(line);
    return {
      node: make(
        'div',
        {},
        facts([
          [say('Why'), line.error],
          [say('What'), line.what],
          [say('Subject'), line.subject],
          [say('Attempts'), line.attempts === 0 ? null : String(line.attempts)],
          [say('When'), clock(line.time)],
          [say('Held'), line.held ? say('behind an earlier failure of its subject') : null],
          [
            say('Flow'),
            flow === null
              ? null
              : link(flow, () => {
                  go({ kind: 'flow', id: flow });
                }),
          ],
        ]),
        make('div', { class: 'aegis-Actions' }, discard, ...past(flow ?? line.event, desk)),
        input(line, desk),
      ),
    };
  }
}

function key(item: Item): string {
  return 'line' in item ? item.line.id : item.group.id;
}

function alike(a: Item, b: Item): boolean {
  if ('line' in a || 'line' in b) return 'line' in a && 'line' in b && a.line === b.line;
  return (
    a.group.count === b.group.count &&
    a.lines.length === b.lines.length &&
    a.lines.every((line, place) => line === b.lines[place])
  );
}

/** What led where: `order.completed \u2192 receipts.thank`, or the model of a flow. */
function led({ kind, what }: { readonly kind: string; readonly what: string }): string {
  return kind === 'listener' ? what.replace(' for ', ' \u2192 ') : what;
}

/** How often it was tried; a flow is tried as another one each time. */
function tries({ attempts }: FailedLine, say: Desk['say']): string {
  if (attempts < 1) return '';
  return attempts === 1 ? say('1 attempt') : say('%1 attempts', attempts);
}
