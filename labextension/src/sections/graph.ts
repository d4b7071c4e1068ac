/** The graph of the host, live; what is chosen in it is told below, and can be run. */

import { make, mark, show, write } from '../element';
import type { Figure } from '../protocol';
import type { State } from '../state';
import { countdown, Countdowns } from '../views/countdown';
import { GraphView } from '../views/graph';
import { timeOfDay } from '../views/graph-figures';
import { PortsView } from '../views/ports';
import type { Target, View } from '../views/view';
import { badge, deed, facts, paragraph, room, word } from './parts';
import type { Desk, Section } from './section';

/** The kinds of nodes that a person can run on a record. */
const RUNS: ReadonlySet<string> = new Set(['port', 'command']);

export class GraphSection implements Section {
  readonly node: HTMLElement;
  private readonly _room: HTMLElement;
  private readonly _empty: HTMLElement;
  private readonly _node: HTMLElement;
  private readonly _figures = make('div');
  private readonly _countdowns: Countdowns;
  private readonly _asTable: HTMLInputElement;
  private _view: View | null = null;
  private _chosen: string | null = null;

  constructor(private readonly desk: Desk) {
    const { say } = desk;
    this._countdowns = new Countdowns(this._figures, say);
    this._asTable = make('input', { type: 'checkbox' });
    this._asTable.addEventListener('change', () => {
      this._swap();
      desk.refresh();
    });
    this._empty = room(
      say('The graph is empty'),
      paragraph(say('It shows models, ports, events and adapters as soon as one is deployed.')),
    );
    this._room = make('div', { class: 'aegis-Canvas' });
    this._node = make('section', {
      class: 'aegis-Chosen',
      'aria-label': say('What is chosen in the graph'),
      hidden: true,
    });
    this._node.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return;
      event.stopPropagation();
      this._choose(null);
      this._room.querySelector<HTMLElement>('[tabindex="0"]')?.focus();
    });
    this.node = make(
      'div',
      { class: 'aegis-Section aegis-mod-graph' },
      make(
        'div',
        { class: 'aegis-Bar' },
        make('label', { class: 'aegis-Check' }, this._asTable, say('As a table')),
        make('span', { class: 'aegis-Space' }),
        desk.enlarge ? word(say('Open in a tab'), () => desk.enlarge?.()) : null,
      ),
      this._empty,
      this._room,
      this._node,
    );
  }

  update(state: State): void {
    const empty = state.status !== null && state.status.components.length === 0;
    show(this._empty, empty);
    show(this._room, !empty);
    if (!this._view) this._swap();
    this._view?.update(state);
    this._figure(state);
  }

  show(target: Target): void {
    if (target.kind === 'node') this._choose(target.id);
  }

  dispose(): void {
    this._countdowns.dispose();
    this._view?.dispose();
    this._view = null;
  }

  private _swap(): void {
    this._view?.dispose();
    const { say, ask } = this.desk;
    const options = {
      say,
      ask,
      show: (target: Target): void => {
        if (target.kind === 'node') this._choose(target.id);
        else this.desk.show(target);
      },
    };
    const view: View = this._asTable.checked ? new PortsView(options) : new GraphView(options);
    this._view = view;
    this._room.replaceChildren(view.node);
  }

  private _choose(id: string | null): void {
    this._chosen = id;
    show(this._node, id !== null);
    if (id === null) return;
    const { say } = this.desk;
    const [kind, name] = named(id);
    const close = make(
      'button',
      { type: 'button', class: 'aegis-Button', 'aria-label': say('Close') },
      '×',
    );
    close.addEventListener('click', () => {
      this._choose(null);
    });
    this._node.replaceChildren(
      make(
        'div',
        { class: 'aegis-Line-row' },
        badge(kind, 'plain'),
        make('strong', { class: 'aegis-Name', title: name }, name),
        make('span', { class: 'aegis-Space' }),
        close,
      ),
      this._figures,
      ...(RUNS.has(kind) ? [this._form(id)] : []),
    );
    this._figure(this.desk.state());
  }

  private _figure(state: State): void {
    if (this._chosen === null) return;
    const { say } = this.desk;
    const figure = state.figures[this._chosen];
    if (figure === undefined) {
      this._figures.replaceChildren(paragraph(say('Nothing has been measured of it yet.')));
      return;
    }
    const milliseconds = (value: number | null): string | null =>
      value === null ? null : say('%1 ms', value < 10 ? value.toFixed(1) : Math.round(value));
    this._figures.replaceChildren(
      facts([
        [say('Calls'), String(figure.calls)],
        [say('Errors'), String(figure.errors)],
        [say('Under way'), figure.running === 0 ? null : String(figure.running)],
        [say('Half within'), milliseconds(figure.p50)],
        [say('99 % within'), milliseconds(figure.p99)],
        [
          say('Now'),
          badge(
            figure.state,
            figure.state === 'idle' ? 'plain' : figure.state === 'ok' ? 'ok' : 'bad',
          ),
        ],
        [say('Breaker'), this._breaker(figure)],
        [say('Last error'), figure.error],
      ]),
    );
    this._countdowns.look();
  }

  /** The breaker that is not closed: since when, and how long its partner is left alone. */
  private _breaker({ breaker }: Figure): HTMLElement | null {
    const { say } = this.desk;
    if (!breaker) return null;
    return make(
      'span',
      {},
      say('since %1', timeOfDay(breaker.since)),
      ...(breaker.until ? [`, ${say('asks again:')} `, countdown(breaker.until)] : []),
    );
  }

  /** Runs a port or a command of a record. */
  private _form(target: string): HTMLElement {
    const { say, act } = this.desk;
    const record = make('input', {
      class: 'aegis-Input',
      required: true,
      spellcheck: 'false',
      autocomplete: 'off',
      placeholder: say('id of the record'),
      'aria-label': say('Record'),
    });
    const values = make('textarea', {
      class: 'aegis-Input',
      rows: 2,
      spellcheck: 'false',
      placeholder: '{"argument": "value"}',
      'aria-label': say('Arguments as JSON'),
    });
    const wrong = make('p', { class: 'aegis-Problem', role: 'alert', hidden: true });
    const run = deed(say('Run'), async () => {
      const given = argumentsOf(values.value);
      const missing = record.value.trim() === '';
      const text = missing
        ? say('Which record? Give its id.')
        : say('The arguments have to be a JSON object: {"argument": "value"}');
      mark(record, 'aria-invalid', missing ? 'true' : null);
      show(wrong, missing || given === null);
      write(wrong, text);
      if (missing || given === null) return;
      await act({ verb: 'invoke', target, record: record.value.trim(), arguments: given });
    });
    const form = make(
      'form',
      { class: 'aegis-Form', 'aria-label': say('Run it on a record') },
      record,
      values,
      wrong,
      make('div', { class: 'aegis-Actions' }, run),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      run.click();
    });
    return form;
  }
}

/** The kind and the name of `port:orders.Order.authorize`. */
function named(id: string): readonly [string, string] {
  const at = id.indexOf(':');
  return at < 0 ? [id, id] : [id.slice(0, at), id.slice(at + 1)];
}

/** What a person typed as arguments; null where that is no JSON object. */
function argumentsOf(text: string): Readonly<Record<string, unknown>> | null {
  if (text.trim() === '') return {};
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Readonly<Record<string, unknown>>)
      : null;
  } catch {
    return null;
  }
}
