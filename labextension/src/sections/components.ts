/** What is deployed: each component, the candidate beside it, and what comes from an address next. */

import { make, show, write } from '../element';
import type { Component, Split } from '../protocol';
import type { Guest, State } from '../state';
import { share } from '../views/arms';
import { timeOfDay } from '../views/graph-figures';
import { language } from '../views/guest';
import type { Target } from '../views/view';
import { Arms } from './arms';
import { type Detail, List, type Mood } from './list';
import { badge, deed, facts, hinder, paragraph, room, sample } from './parts';
import { PlanForm } from './plan';
import { Sandbox } from './sandbox';
import type { Desk, Section } from './section';

export const SAMPLE = `%%component notes 1.0.0
from aegis import Model

class Note(Model):
    text: str`;

const MOODS: Readonly<Record<Component['health'], Mood>> = {
  ok: 'ok',
  failing: 'bad',
  broken: 'bad',
};

/** A component with its split, and what its sandbox did. */
interface Seen {
  readonly component: Component;
  readonly split: Split | null;
  readonly guest: Guest | null;
}

export class ComponentsSection implements Section {
  readonly node: HTMLElement;
  private readonly _plan: PlanForm;
  private readonly _list: List<Seen>;
  private readonly _empty: HTMLElement;
  private readonly _waits: HTMLElement;
  private _waiting: readonly string[] = [];
  private _seen: readonly Seen[] = [];

  constructor(private readonly desk: Desk) {
    const { say } = desk;
    this._plan = new PlanForm(desk);
    this._list = new List<Seen>(
      {
        key: ({ component }) => component.name,
        mood: ({ component }) => MOODS[component.health],
        line: (seen) => this._line(seen),
        detail: (seen) => this._detail(seen),
      },
      { say, label: say('Components') },
    );
    this._empty = room(
      say('Nothing is deployed yet'),
      paragraph(say('Run a cell that begins with %1, and it is served at once:', '%%component')),
      sample(SAMPLE, say, desk.copy),
    );
    this._waits = make('div', { class: 'aegis-Notice', 'data-mood': 'busy', hidden: true });
    this.node = make(
      'div',
      { class: 'aegis-Section' },
      this._plan.node,
      this._waits,
      this._empty,
      this._list.node,
    );
  }

  update(state: State): void {
    const components = state.status?.components ?? [];
    show(this._empty, state.status !== null && components.length === 0);
    const before = new Map(this._seen.map((one) => [one.component.name, one]));
    this._seen = components.map((component) => {
      const split = state.splits.find((one) => one.component === component.name) ?? null;
      const guest = component.guest === null ? null : (state.guests[component.name] ?? null);
      const known = before.get(component.name);
      // What is as it was is the same object, and is not drawn anew.
      const same = known?.component === component && known.split === split && known.guest === guest;
      return same ? known : { component, split, guest };
    });
    this._list.update(this._seen);
    this._plan.update(state);
    this._wait(state.status?.waiting ?? []);
  }

  show(target: Target): void {
    if (target.kind === 'component') this._list.reveal(target.name);
  }

  dispose(): void {
    this._plan.dispose();
    this._list.dispose();
  }

  /** Code that open flows need and that is not loaded. */
  private _wait(waiting: readonly string[]): void {
    if (waiting === this._waiting) return;
    this._waiting = waiting;
    const { say, act } = this.desk;
    show(this._waits, waiting.length > 0);
    this._waits.replaceChildren(
      paragraph(say('Open flows wait for code that is not loaded: %1.', waiting.join(', '))),
      deed(say('Load it'), () => act({ verb: 'resume' })),
    );
  }

  private _line({ component, split }: Seen): readonly Node[] {
    const { say } = this.desk;
    const health = { ok: say('ok'), failing: say('failing'), broken: say('broken') };
    const { followed } = component;
    const cut = (text: string): HTMLElement =>
      make(
        'span',
        { class: 'aegis-Line-row aegis-Quiet' },
        make('span', { class: 'aegis-Cut', title: text }, text),
      );
    return [
      make(
        'span',
        { class: 'aegis-Line-row' },
        make('span', { class: 'aegis-Name', title: component.name }, component.name),
        make('span', { class: 'aegis-Quiet aegis-Cut' }, component.version),
        language(component.language, say),
        make('span', { class: 'aegis-Space' }),
        badge(health[component.health], MOODS[component.health]),
      ),
      cut(`${component.origin} · ${component.digest.slice(0, 8)}`),
      ...(split === null ? [] : [cut(tried(split, say))]),
      ...(followed?.held
        ? [make('span', { class: 'aegis-Problem' }, held(followed.held, followed.why, say))]
        : []),
      ...(component.problem === null
        ? []
        : [make('span', { class: 'aegis-Problem' }, component.problem)]),
    ];
  }

  private _detail(first: Seen): Detail<Seen> {
    const { desk } = this;
    const known = make('div');
    const beside = make('div');
    const inside = make('div');
    const actions = this._actions(first.component.name);
    let component: Component | null = null;
    let arms: Arms | null = null;
    let sandbox: Sandbox | null = null;
    // The forms stay as they are: a person may be typing while the figures move.
    const fill = ({ component: now, split, guest }: Seen): void => {
      if (now !== component) known.replaceChildren(this._facts(now));
      component = now;
      if (split === null) arms = null;
      else if (arms === null) arms = new Arms(split, desk);
      else arms.update(split);
      if (beside.firstChild !== (arms?.node ?? null)) {
        beside.replaceChildren(...(arms === null ? [] : [arms.node]));
      }
      if (now.guest === null) {
        sandbox?.dispose();
        sandbox = null;
      } else {
        sandbox ??= new Sandbox(now.name, desk);
        sandbox.update(now.guest, guest);
      }
      if (inside.firstChild !== (sandbox?.node ?? null)) {
        inside.replaceChildren(...(sandbox === null ? [] : [sandbox.node]));
      }
      actions.update({ component: now, split, guest });
    };
    fill(first);
    return {
      node: make('div', {}, known, beside, actions.node, inside),
      update: fill,
      dispose: () => sandbox?.dispose(),
    };
  }

  private _facts(component: Component): HTMLElement {
    const { say } = this.desk;
    const { since, who, followed, older } = component;
    return facts([
      [say('Source'), component.origin],
      [say('Resolved to'), component.resolved],
      [say('Signed by'), component.signed],
      [say('Revision'), component.revision],
      [
        say('Since'),
        since === ''
          ? null
          : make(
              'time',
              { datetime: since, title: since },
              who === '' ? timeOfDay(since) : say('%1, by %2', timeOfDay(since), who),
            ),
      ],
      [say('Models'), component.models.join(', ')],
      [say('Served at'), component.endpoints.join(', ')],
      [say('Before it'), component.previous],
      [
        say('Still loaded'),
        older
          .map(({ revision, flows }) =>
            flows === 1
              ? say('%1: 1 open flow ends on it', revision)
              : say('%1: %2 open flows end on it', revision, flows),
          )
          .join('\n'),
      ],
      [say('Followed'), followed === null ? null : `${followed.address} (${followed.range})`],
      [say('Newest there'), followed?.newest],
      [say('Held'), followed?.held ? held(followed.held, followed.why, say) : null],
      [say('Not reached'), followed?.problem],
    ]);
  }

  private _actions(name: string): Required<Pick<Detail<Seen>, 'node' | 'update'>> {
    const { say, act, confirm } = this.desk;
    let previous: string | null = null;
    const rollback = deed(say('Roll back'), async () => {
      const sure = await confirm({
        title: say('Roll back %1?', name),
        body: say(
          'Revision %1 is served again. What a migration changed is changed back.',
          previous ?? '',
        ),
        accept: say('Roll back'),
      });
      if (sure) await act({ verb: 'rollback', component: name });
    });
    const undeploy = deed(
      say('Undeploy'),
      async () => {
        const sure = await confirm({
          title: say('Undeploy %1?', name),
          body: say('Its API answers no more, and its flows wait. Its records stay.'),
          accept: say('Undeploy'),
          danger: true,
        });
        if (sure) await act({ verb: 'undeploy', component: name });
      },
      { danger: true },
    );
    const why = make('p', { class: 'aegis-Note' });
    return {
      node: make('div', {}, make('div', { class: 'aegis-Actions' }, rollback, undeploy), why),
      update: ({ component, split }) => {
        ({ previous } = component);
        const hindered =
          split !== null
            ? say('Promote the candidate or drop it before you roll back.')
            : previous === null
              ? say('There is no revision before this one to roll back to.')
              : null;
        hinder(rollback, hindered);
        show(why, hindered !== null);
        write(why, hindered ?? '');
      },
    };
  }
}

/** A split in one line. */
function tried({ live, candidate }: Split, say: Desk['say']): string {
  return say(
    '%1 gets %2: %3 of %4 calls, %5 errors',
    candidate.version,
    share(candidate.weight),
    candidate.calls,
    candidate.calls + live.calls,
    candidate.errors,
  );
}

function held(version: string, why: string, say: Desk['say']): string {
  return why === '' ? say('%1 is held', version) : say('%1 is held: %2', version, why);
}
