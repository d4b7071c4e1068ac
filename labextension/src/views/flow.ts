/** One flow: its steps from top to bottom, and the way back where they were undone. */

import { make, mark, show, write } from '../element';
import type { FlowLine, StepLine } from '../protocol';
import type { State } from '../state';
import { Countdowns } from './countdown';
import { latency } from './graph-figures';
import { MOODS, SIGNS, standing, stoppedAt, waiting, wayBack } from './step';
import type { View, ViewOptions } from './view';

interface Row {
  readonly element: HTMLElement;
  readonly sign: HTMLElement;
  readonly state: HTMLElement;
  readonly tries: HTMLElement;
  readonly time: HTMLElement;
  readonly note: HTMLElement;
  readonly waits: HTMLElement;
  readonly error: HTMLElement;
  readonly back: HTMLElement;
  step: StepLine | null;
}

export class FlowView implements View {
  readonly node: HTMLElement;
  private readonly _head: HTMLElement;
  private readonly _state: HTMLElement;
  private readonly _error: HTMLElement;
  private readonly _stopped: HTMLElement;
  private readonly _empty: HTMLElement;
  private readonly _steps: HTMLElement;
  private readonly _countdowns: Countdowns;
  private readonly _rows: Row[] = [];
  private readonly _id: string;
  private _flow: FlowLine | null = null;
  private _asked: string | null = null;

  constructor(private readonly options: ViewOptions) {
    const { say } = options;
    this._id = options.flow ?? '';
    this._state = make('span', { class: 'aegis-Flow-state' });
    this._head = make('p', { class: 'aegis-Flow-head', role: 'status' });
    this._error = make('p', { class: 'aegis-Flow-error', hidden: true });
    this._stopped = make('p', { class: 'aegis-Flow-stopped', hidden: true });
    this._empty = make(
      'p',
      { class: 'aegis-View-empty' },
      say('Nothing is known of this flow yet.'),
    );
    this._steps = make('ol', { class: 'aegis-Flow-steps', 'aria-label': say('Steps') });
    this.node = make(
      'div',
      { class: 'aegis-View aegis-Flow', tabindex: 0, role: 'region', 'aria-label': say('Flow') },
      this._empty,
      this._head,
      this._error,
      this._stopped,
      this._steps,
    );
    this._countdowns = new Countdowns(this.node, say);
  }

  update(state: State): void {
    const flow = state.flows.find(({ id }) => id === this._id);
    if (flow !== undefined) {
      this.set(flow);
      this._countdowns.look();
      return;
    }
    // An old one is not among those that the host tells about by itself.
    if (state.link !== 'live' || state.boot === null || this._asked === state.boot) return;
    this._asked = state.boot;
    this.options.ask({ verb: 'flow', id: this._id }).then(
      (detail) => {
        this.set(detail.flow);
      },
      (error: unknown) => {
        write(this._empty, error instanceof Error ? error.message : String(error));
      },
    );
  }

  set(flow: FlowLine): void {
    if (flow === this._flow) return;
    this._flow = flow;
    const { say } = this.options;
    show(this._empty, false);
    mark(this.node, 'data-mood', MOODS[flow.state] ?? 'quiet');
    const state = standing(flow, say);
    write(this._state, flow.waits === null ? state : say('%1, waits for %2', state, flow.waits));
    if (!this._head.hasChildNodes()) {
      this._head.append(
        make('strong', { title: flow.model }, flow.model),
        ' ',
        make('code', { title: flow.record }, flow.record),
        ' ',
        this._state,
        ' ',
        make('span', { class: 'aegis-Quiet', title: flow.id }, `${flow.component} ${flow.version}`),
      );
    }
    show(this._error, flow.error !== null);
    write(this._error, flow.error ?? '');
    const stopped = stoppedAt(flow);
    // In the panel there are buttons for it.
    show(this._stopped, stopped !== null && this.options.show === undefined);
    write(
      this._stopped,
      say('Its undo can go on, or skip %1: in the Aegis panel under Flows.', stopped?.port ?? ''),
    );
    this._draw(flow);
    this._countdowns.look();
  }

  dispose(): void {
    this._countdowns.dispose();
    this._rows.length = 0;
  }

  private _draw(flow: FlowLine): void {
    while (this._rows.length > flow.steps.length) this._rows.pop()?.element.remove();
    const ways = wayBack(flow);
    flow.steps.forEach((step, place) => {
      const row = (this._rows[place] ??= this._row());
      if (row.step !== step) this._fill(row, step, flow);
      mark(row.element, 'data-back', ways[place]);
    });
  }

  private _row(): Row {
    const parts = {
      sign: make('span', { class: 'aegis-Step-sign', 'aria-hidden': 'true' }),
      state: make('span', { class: 'aegis-Step-state' }),
      tries: make('span', { class: 'aegis-Step-tries' }),
      time: make('span', { class: 'aegis-Step-time' }),
      note: make('span', { class: 'aegis-Step-note' }),
      waits: make('span', { class: 'aegis-Step-waits' }),
      error: make('span', { class: 'aegis-Step-error' }),
      back: make('span', { class: 'aegis-Step-back', 'aria-hidden': 'true' }),
    };
    const element = make('li', { class: 'aegis-Step' });
    this._steps.append(element);
    return { ...parts, element, step: null };
  }

  private _fill(row: Row, step: StepLine, flow: FlowLine): void {
    const { say, show: elsewhere } = this.options;
    if (row.step?.port !== step.port || row.step.n !== step.n) {
      const name = make('strong', {
        class: 'aegis-Step-name',
        title: `${step.model}.${step.port}`,
      });
      if (elsewhere === undefined) name.append(step.port);
      else {
        const link = make('button', { type: 'button', class: 'aegis-Link' }, step.port);
        link.addEventListener('click', () => {
          elsewhere({ kind: 'node', id: `port:${step.model}.${step.port}` });
        });
        name.append(link);
      }
      row.element.replaceChildren(
        row.sign,
        name,
        row.state,
        row.tries,
        row.time,
        row.back,
        row.note,
      );
      row.note.replaceChildren(row.waits, row.error);
    }
    row.step = step;
    mark(row.element, 'data-mood', MOODS[step.state] ?? 'quiet');
    write(row.sign, SIGNS[step.state] ?? '\u00b7');
    write(row.state, step.state);
    write(row.tries, step.attempts ? say('%1 failed attempts', step.attempts) : '');
    write(row.time, since(step.updated, flow.created));
    mark(row.time, 'title', step.updated);
    row.waits.replaceChildren(...waiting(step, say));
    show(row.note, Boolean(step.waits ?? step.error));
    write(row.error, step.error ?? '');
    mark(row.error, 'title', step.error);
  }
}

function since(time: string, begin: string): string {
  const ms = Date.parse(time) - Date.parse(begin);
  return Number.isNaN(ms) ? time : `+${latency(Math.max(ms, 0))}`;
}
