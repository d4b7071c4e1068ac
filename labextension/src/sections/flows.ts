/** What each root event set off: flows with their steps, and what they wait for. */

import { make, show } from '../element';
import type { FlowDetail, FlowLine } from '../protocol';
import { isFailed, isOpen, type State } from '../state';
import { FlowView } from '../views/flow';
import { standing } from '../views/step';
import type { Target } from '../views/view';
import { type Detail, List, type Mood } from './list';
import {
  badge,
  choice,
  clock,
  facts,
  json,
  link,
  paragraph,
  past,
  room,
  short,
  word,
} from './parts';
import type { Desk, Section } from './section';
import { stopped } from './undo';

type Choice = 'all' | 'open' | 'failed';

export function flowMood(flow: FlowLine): Mood {
  if (flow.state === 'compensation failed') return 'bad';
  if (isFailed(flow)) return 'undone';
  return isOpen(flow) ? 'busy' : 'ok';
}

/** What an open flow waits for: the host's own word, or what its first waiting step does. */
function waitsFor(flow: FlowLine): string | null {
  if (flow.waits !== null || !isOpen(flow)) return flow.waits;
  return flow.steps.find(({ waits }) => waits !== null)?.waits ?? null;
}

export class FlowsSection implements Section {
  readonly node: HTMLElement;
  private readonly _list: List<FlowLine>;
  private readonly _empty: HTMLElement;
  private readonly _none: HTMLElement;
  private readonly _choose: HTMLSelectElement;
  private _choice: Choice = 'all';
  private _flows: readonly FlowLine[] | null = null;

  constructor(private readonly desk: Desk) {
    const { say } = desk;
    this._list = new List<FlowLine>(
      {
        key: (flow) => flow.id,
        mood: flowMood,
        line: (flow) => this._line(flow),
        detail: (flow) => this._detail(flow),
      },
      { say, label: say('Flows') },
    );
    this._choose = choice(
      say('Which flows'),
      [
        ['all', say('All flows')],
        ['open', say('Open')],
        ['failed', say('Failed or undone')],
      ],
      (value) => {
        this._choose_(value as Choice);
      },
    );
    this._empty = room(
      say('No flows yet'),
      paragraph(say('When an event sets off the ports of a model, their steps are followed here.')),
    );
    this._none = room(say('No such flows'));
    this.node = make(
      'div',
      { class: 'aegis-Section' },
      make('div', { class: 'aegis-Bar' }, this._choose),
      this._empty,
      this._none,
      this._list.node,
    );
  }

  update(state: State): void {
    if (state.flows === this._flows && state.status !== null) return;
    this._flows = state.flows;
    const flows = state.flows.filter(
      (flow) => this._choice === 'all' || (this._choice === 'open' ? isOpen(flow) : isFailed(flow)),
    );
    show(this._empty, state.status !== null && state.flows.length === 0);
    show(this._none, state.flows.length > 0 && flows.length === 0);
    this._list.update(flows);
  }

  show(target: Target): void {
    if (target.kind !== 'flow') return;
    this._choose.value = 'all';
    this._choose_('all');
    if (this.desk.state().flows.some(({ id }) => id === target.id)) this._list.reveal(target.id);
    else
      this.desk.tell(this.desk.say('That flow is not among the newest, which are listed.'), false);
  }

  dispose(): void {
    this._list.dispose();
  }

  private _choose_(value: Choice): void {
    this._choice = value;
    this._flows = null;
    this.desk.refresh();
  }

  private _line(flow: FlowLine): readonly Node[] {
    const { say } = this.desk;
    const done = flow.steps.filter((step) => step.state === 'done').length;
    const steps = say('%1 of %2 steps', done, flow.steps.length);
    const reason = waitsFor(flow);
    const waits = reason === null ? '' : ` · ${say('waits for %1', reason)}`;
    const model = flow.model.slice(flow.model.lastIndexOf('.') + 1);
    return [
      make(
        'span',
        { class: 'aegis-Line-row' },
        make('span', { class: 'aegis-Name', title: flow.model }, model),
        make('span', { class: 'aegis-Quiet aegis-Cut', title: flow.record }, short(flow.record)),
        make('span', { class: 'aegis-Space' }),
        clock(flow.updated),
      ),
      make(
        'span',
        { class: 'aegis-Line-row' },
        badge(standing(flow, say), flowMood(flow)),
        make('span', { class: 'aegis-Quiet aegis-Cut' }, steps + waits),
      ),
      ...(flow.error === null ? [] : [make('span', { class: 'aegis-Problem' }, flow.error)]),
    ];
  }

  private _detail(first: FlowLine): Detail<FlowLine> {
    const { desk } = this;
    const { say, ask, show: go } = desk;
    const view = new FlowView({ say, ask, show: go, flow: first.id });
    const undo = make('div');
    const more = make('div');
    const fill = (flow: FlowLine): void => {
      view.set(flow);
      const told = stopped(flow, desk);
      if (undo.textContent !== (told?.textContent ?? '')) {
        undo.replaceChildren(...(told === null ? [] : [told]));
      }
    };
    fill(first);
    const look = word(say('Record and events'), () => {
      void ask({ verb: 'flow', id: first.id }).then(
        (found) => {
          more.replaceChildren(...this._more(found, go));
        },
        (error: unknown) => {
          more.replaceChildren(paragraph(error instanceof Error ? error.message : String(error)));
        },
      );
    });
    const node = make(
      'div',
      {},
      undo,
      view.node,
      facts([
        [say('Record'), first.record],
        [say('Component'), `${first.component} ${first.version}`],
        [say('Began'), clock(first.created)],
        [say('Flow'), first.id],
      ]),
      make('div', { class: 'aegis-Actions' }, look, ...past(first.id, desk)),
      more,
    );
    return {
      node,
      update: fill,
      dispose: () => {
        view.dispose();
      },
    };
  }

  private _more(found: FlowDetail, go: Desk['show']): readonly HTMLElement[] {
    const { say } = this.desk;
    const events = make('ol', { class: 'aegis-Steps', 'aria-label': say('Events of the flow') });
    for (const event of found.events) {
      const open = link(event.type, () => {
        go({ kind: 'event', seq: event.seq });
      });
      const row = make('span', { class: 'aegis-Line-row' }, clock(event.time), open);
      events.append(make('li', {}, row));
    }
    const record = found.record;
    return [
      events,
      record === null ? paragraph(say('The record is deleted.')) : json(record, say('Record')),
    ];
  }
}
