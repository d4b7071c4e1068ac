/** What is deployed: each component with its version, its revision, where it came from and how it is. */

import { make, show } from '../element';
import type { Component } from '../protocol';
import type { State } from '../state';
import type { Target } from '../views/view';
import { type Detail, List, type Mood } from './list';
import { badge, deed, facts, paragraph, room, sample } from './parts';
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

export class ComponentsSection implements Section {
  readonly node: HTMLElement;
  private readonly _list: List<Component>;
  private readonly _empty: HTMLElement;
  private readonly _waits: HTMLElement;
  private _waiting: readonly string[] = [];

  constructor(private readonly desk: Desk) {
    const { say } = desk;
    this._list = new List<Component>(
      {
        key: (component) => component.name,
        mood: (component) => MOODS[component.health],
        line: (component) => this._line(component),
        detail: (component) => this._detail(component),
      },
      { say, label: say('Components') },
    );
    this._empty = room(
      say('Nothing is deployed yet'),
      paragraph(say('Run a cell that begins with %1, and it is served at once:', '%%component')),
      sample(SAMPLE, say, desk.copy),
    );
    this._waits = make('div', { class: 'aegis-Notice', 'data-mood': 'busy', hidden: true });
    this.node = make('div', { class: 'aegis-Section' }, this._waits, this._empty, this._list.node);
  }

  update(state: State): void {
    const components = state.status?.components ?? [];
    show(this._empty, state.status !== null && components.length === 0);
    this._list.update(components);
    this._wait(state.status?.waiting ?? []);
  }

  show(target: Target): void {
    if (target.kind === 'component') this._list.reveal(target.name);
  }

  dispose(): void {
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

  private _line(component: Component): readonly Node[] {
    const { say } = this.desk;
    const health = { ok: say('ok'), failing: say('failing'), broken: say('broken') };
    return [
      make(
        'span',
        { class: 'aegis-Line-row' },
        make('span', { class: 'aegis-Name', title: component.name }, component.name),
        make('span', { class: 'aegis-Quiet' }, component.version),
        make('span', { class: 'aegis-Space' }),
        badge(health[component.health], MOODS[component.health]),
      ),
      make(
        'span',
        { class: 'aegis-Line-row aegis-Quiet' },
        make(
          'span',
          { class: 'aegis-Cut', title: `${component.origin} · ${component.revision}` },
          `${component.origin} · ${component.digest.slice(0, 8)}`,
        ),
      ),
      ...(component.problem === null
        ? []
        : [make('span', { class: 'aegis-Problem' }, component.problem)]),
    ];
  }

  private _detail(first: Component): Detail<Component> {
    const node = make('div');
    const fill = (component: Component): void => {
      node.replaceChildren(...this._facts(component));
    };
    fill(first);
    return { node, update: fill };
  }

  private _facts(component: Component): readonly HTMLElement[] {
    const { say, act, confirm } = this.desk;
    const { name, previous } = component;
    const rollback = deed(say('Roll back'), async () => {
      const sure = await confirm({
        title: say('Roll back %1?', name),
        body: say('Revision %1 is served again. Records and events stay.', previous ?? ''),
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
    return [
      facts([
        [say('Source'), component.origin],
        [say('Revision'), component.revision],
        [say('Models'), component.models.join(', ')],
        [say('Served at'), component.endpoints.join(', ')],
        [say('Before it'), previous],
      ]),
      make('div', { class: 'aegis-Actions' }, previous === null ? null : rollback, undeploy),
    ];
  }
}
