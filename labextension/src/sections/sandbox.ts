/** The sandbox of a component in WebAssembly: limits, grants, costs, and what was stopped in it. */

import { make, show, write } from '../element';
import type { GuestStatus, TrapLine, TrapOutcome } from '../protocol';
import type { Guest } from '../state';
import { computed, grants, held, limits, manner, module, stops, waiting } from '../views/guest';
import { type Detail, List } from './list';
import { badge, clock, deed, reason } from './parts';
import type { Desk } from './section';

type Fact = readonly [term: HTMLElement, value: HTMLElement];

export class Sandbox {
  readonly node: HTMLElement;
  private readonly _facts: readonly Fact[];
  private readonly _traps: List<TrapLine>;
  private readonly _stopped: HTMLElement;
  private readonly _none: HTMLElement;

  constructor(
    private readonly component: string,
    private readonly desk: Desk,
  ) {
    const { say } = desk;
    const names = [
      say('Module'),
      say('Limits'),
      say('Of the host'),
      say('Runs'),
      say('Computed'),
      say('Waited'),
      say('Holds'),
      say('Stopped'),
    ];
    this._facts = names.map((name) => [make('dt', {}, name), make('dd', {})] as const);
    this._traps = new List<TrapLine>(
      {
        key: ({ n }) => String(n),
        mood: () => 'bad',
        line: (trap) => this._line(trap),
        detail: (trap) => this._detail(trap),
      },
      { say, label: say('Stopped calls of %1', component) },
    );
    this._none = make('p', { class: 'aegis-Note' }, say('No call was stopped.'));
    this._stopped = make(
      'div',
      {},
      make('h4', { class: 'aegis-Sandbox-title' }, say('Last stopped calls')),
      this._none,
      this._traps.node,
    );
    this.node = make(
      'div',
      { class: 'aegis-Sandbox', role: 'group', 'aria-label': say('Sandbox of %1', component) },
      make('dl', { class: 'aegis-Facts' }, ...this._facts.flat()),
      this._stopped,
    );
  }

  /** Patched in place: a person may have opened a call, or be on a button. */
  update(status: GuestStatus, guest: Guest | null): void {
    const { say } = this.desk;
    const cost = guest?.cost ?? null;
    const values = [
      module(status, say),
      limits(status, say),
      grants(status, say),
      manner(status, say),
      ...(cost === null
        ? ['', '', '', '']
        : [computed(cost, say), waiting(cost, say), held(cost, say), stops(cost, say)]),
    ];
    this._facts.forEach(([term, value], place) => {
      const text = values[place] ?? '';
      write(value, text);
      show(term, text !== '');
      show(value, text !== '');
    });
    const traps = guest?.traps ?? [];
    show(this._none, traps.length === 0);
    show(this._traps.node, traps.length > 0);
    this._traps.update([...traps].reverse());
  }

  dispose(): void {
    this._traps.dispose();
  }

  private _line(trap: TrapLine): readonly Node[] {
    return [
      make(
        'span',
        { class: 'aegis-Line-row' },
        clock(trap.time),
        make('span', { class: 'aegis-Name', title: trap.function }, trap.function),
      ),
      make('span', { class: 'aegis-Problem' }, trap.reason),
    ];
  }

  private _detail(trap: TrapLine): Detail<TrapLine> {
    const { say, ask } = this.desk;
    const outcome = make('div', { class: 'aegis-Sandbox-outcome', role: 'status' });
    const replay = deed(
      say('Replay'),
      async () => {
        try {
          const again = await ask({ verb: 'replay_trap', component: this.component, n: trap.n });
          outcome.replaceChildren(...this._outcome(again));
        } catch (error) {
          outcome.replaceChildren(make('span', { class: 'aegis-Problem' }, reason(error)));
        }
      },
      { title: say('Make this call again with the code of now; nothing real is touched') },
    );
    return {
      node: make(
        'div',
        {},
        make('p', { class: 'aegis-Quiet' }, trap.revision),
        backtrace(trap, say('Backtrace'), say('no names: the module has none')),
        make('div', { class: 'aegis-Actions' }, replay),
        outcome,
      ),
    };
  }

  private _outcome(again: TrapOutcome): readonly Node[] {
    const { say } = this.desk;
    const verdicts = {
      passed: badge(say('it passes now'), 'ok'),
      stopped: badge(again.same ? say('stopped as then') : say('stopped otherwise'), 'bad'),
      error: badge(say('it gives an error now'), 'busy'),
    };
    const said = again.hint === null ? again.reason : `${again.reason} (${again.hint})`;
    return [
      make('p', {}, verdicts[again.outcome], said === '' ? null : ` ${said}`),
      make('p', { class: 'aegis-Quiet' }, say('on %1', again.revision)),
      ...(again.frames.length === 0 ? [] : [backtrace(again, say('Backtrace of the replay'), '')]),
    ];
  }
}

/** Functions from the innermost one, each with the place where it begins, where that is known. */
function backtrace(
  { frames, places }: Pick<TrapLine, 'frames' | 'places'>,
  label: string,
  none: string,
): HTMLElement {
  if (frames.length === 0) return make('p', { class: 'aegis-Quiet' }, none);
  return make(
    'ol',
    { class: 'aegis-Backtrace', tabindex: 0, 'aria-label': label },
    ...frames.map((frame, depth) => {
      const place = places[depth] ?? '';
      const there = place === '' ? null : make('span', { class: 'aegis-Quiet' }, ` ${place}`);
      return make('li', {}, frame, there);
    }),
  );
}
