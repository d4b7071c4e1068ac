/** One flow: its steps from top to bottom, and the way back where they were undone. */

import { make, mark, show, write } from '../element';
import type { FlowLine, StepLine } from '../protocol';
import type { State } from '../state';
import { latency } from './graph-figures';
import type { View, ViewOptions } from './view';

const SIGNS: Readonly<Record<string, string>> = {
  waiting: '\u2026',
  ready: '\u25b6',
  done: '\u2713',
  refused: '\u2717',
  failed: '\u2717',
  unknown: '?',
  dropped: '\u2013',
  undone: '\u21b6',
  'undo failed': '\u21b6\u2717',
};
const MOODS: Readonly<Record<string, string>> = {
  running: 'busy',
  compensating: 'busy',
  ready: 'busy',
  completed: 'ok',
  done: 'ok',
  'compensation failed': 'bad',
  refused: 'bad',
  failed: 'bad',
  unknown: 'bad',
  'undo failed': 'bad',
};

interface Row {
  readonly element: HTMLElement;
  readonly sign: HTMLElement;
  readonly state: HTMLElement;
  readonly tries: HTMLElement;
  readonly time: HTMLElement;
  readonly error: HTMLElement;
  readonly back: HTMLElement;
  step: StepLine | null;
}

export class FlowView implements View {
  readonly node: HTMLElement;
  private readonly _head: HTMLElement;
  private readonly _state: HTMLElement;
  private readonly _error: HTMLElement;
  private readonly _empty: HTMLElement;
  private readonly _steps: HTMLElement;
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
      this._steps,
    );
  }

  update(state: State): void {
    const flow = state.flows.find(({ id }) => id === this._id);
    if (flow !== undefined) {
      this.set(flow);
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
    write(
      this._state,
      flow.waits === null ? flow.state : say('%1, waits for %2', flow.state, flow.waits),
    );
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
    this._draw(flow);
  }

  dispose(): void {
    this._rows.length = 0;
  }

  private _draw(flow: FlowLine): void {
    while (this._rows.length > flow.steps.length) this._rows.pop()?.element.remove();
    // The way back begins where a step ended badly and leads up to the first that was undone.
    const undone = flow.steps.map(
      (step) => step.state === 'undone' || step.state === 'undo failed',
    );
    const returns = flow.state.startsWith('compensat') || undone.includes(true);
    const turn = returns
      ? Math.max(
          flow.steps.findIndex(({ state }) => ['refused', 'failed', 'unknown'].includes(state)),
          undone.lastIndexOf(true),
        )
      : -1;
    const top = returns ? Math.max(undone.indexOf(true), 0) : -1;
    flow.steps.forEach((step, place) => {
      const row = (this._rows[place] ??= this._row());
      if (row.step !== step) this._fill(row, step, flow);
      const back =
        turn < 0 || place < top || place > turn
          ? ''
          : place === turn
            ? 'turn'
            : place === top
              ? 'end'
              : 'way';
      mark(row.element, 'data-back', back || null);
    });
  }

  private _row(): Row {
    const parts = {
      sign: make('span', { class: 'aegis-Step-sign', 'aria-hidden': 'true' }),
      state: make('span', { class: 'aegis-Step-state' }),
      tries: make('span', { class: 'aegis-Step-tries' }),
      time: make('span', { class: 'aegis-Step-time' }),
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
        row.error,
      );
    }
    row.step = step;
    mark(row.element, 'data-mood', MOODS[step.state] ?? 'quiet');
    write(row.sign, SIGNS[step.state] ?? '\u00b7');
    write(row.state, step.state);
    write(row.tries, step.attempts ? say('%1 failed attempts', step.attempts) : '');
    write(row.time, since(step.updated, flow.created));
    mark(row.time, 'title', step.updated);
    write(row.error, step.error ?? '');
    mark(row.error, 'title', step.error);
  }
}

function since(time: string, begin: string): string {
  const ms = Date.parse(time) - Date.parse(begin);
  return Number.isNaN(ms) ? time : `+${latency(Math.max(ms, 0))}`;
}
