/** What failed and why, and the ways on: try it again, or take it off the list. */

import { make, show, write } from '../element';
import type { FailedLine } from '../protocol';
import type { State } from '../state';
import { type Detail, List } from './list';
import { badge, clock, deed, facts, paragraph, room, short } from './parts';
import type { Desk, Section } from './section';

export class FailedSection implements Section {
  readonly node: HTMLElement;
  private readonly _list: List<FailedLine>;
  private readonly _bar: HTMLElement;
  private readonly _count: HTMLElement;
  private readonly _empty: HTMLElement;
  private readonly _all: HTMLButtonElement;

  constructor(private readonly desk: Desk) {
    const { say } = desk;
    this._list = new List<FailedLine>(
      {
        key: (line) => line.id,
        mood: () => 'bad',
        line: (line) => this._line(line),
        actions: (line) => [this._retry(line)],
        detail: (line) => this._detail(line),
      },
      { say, label: say('Failed') },
    );
    this._count = make('span', { class: 'aegis-Quiet' });
    this._all = deed(say('Retry all'), () => retryAll(desk));
    const space = make('span', { class: 'aegis-Space' });
    this._bar = make('div', { class: 'aegis-Bar' }, this._count, space, this._all);
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
    this._list.update(failed);
  }

  dispose(): void {
    this._list.dispose();
  }

  private _line(line: FailedLine): readonly Node[] {
    const { say } = this.desk;
    const kind = line.kind === 'flow' ? say('flow') : say('listener');
    return [
      make('span', { class: 'aegis-Title', title: line.what }, led(line)),
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
      make('span', { class: 'aegis-Problem' }, line.error),
    ];
  }

  private _retry(line: FailedLine): HTMLElement {
    const { say, act } = this.desk;
    return deed(say('Retry'), () => act({ verb: 'retry', id: line.id }), {
      label: say('Retry %1', line.what),
      title: line.held ? say('It waits behind an earlier failure of its subject.') : undefined,
    });
  }

  private _detail(line: FailedLine): Detail<FailedLine> {
    const { say, act, confirm } = this.desk;
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
        ]),
        make('div', { class: 'aegis-Actions' }, discard),
      ),
    };
  }
}

/** What led where: `order.completed \u2192 receipts.thank`, or the model of a flow. */
function led(line: FailedLine): string {
  return line.kind === 'listener' ? line.what.replace(' for ', ' \u2192 ') : line.what;
}

/** How often it was tried; a flow is tried as another one each time. */
function tries({ attempts }: FailedLine, say: Desk['say']): string {
  if (attempts < 1) return '';
  return attempts === 1 ? say('1 attempt') : say('%1 attempts', attempts);
}

/** Try everything on the list again, in its order; tell how many went, and why the first did not. */
export async function retryAll(desk: Pick<Desk, 'ask' | 'say' | 'state' | 'tell'>): Promise<void> {
  const { ask, say, tell } = desk;
  const { failed } = desk.state();
  let done = 0;
  let why = '';
  for (const { id } of failed) {
    try {
      await ask({ verb: 'retry', id });
      done++;
    } catch (error) {
      why ||= error instanceof Error ? error.message : String(error);
    }
  }
  const text = say('%1 of %2 are tried again.', done, failed.length);
  tell(why === '' ? text : `${text} ${why}`, why === '');
}
