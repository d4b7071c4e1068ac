/** The host's log, the newest line first. */

import { make, show } from '../element';
import type { Level, LogLine } from '../protocol';
import type { State } from '../state';
import { List, type Mood } from './list';
import { choice, clock, paragraph, room } from './parts';
import type { Desk, Section } from './section';

const RANK: Readonly<Record<Level, number>> = { debug: 0, info: 1, warning: 2, error: 3 };
const MOODS: Readonly<Record<Level, Mood>> = {
  debug: 'plain',
  info: 'plain',
  warning: 'busy',
  error: 'bad',
};

export class LogSection implements Section {
  readonly node: HTMLElement;
  private readonly _list: List<LogLine>;
  private readonly _empty: HTMLElement;
  private _least: Level = 'debug';
  private _log: readonly LogLine[] | null = null;

  constructor(private readonly desk: Desk) {
    const { say } = desk;
    this._list = new List<LogLine>(
      {
        key: (line) => String(line.n),
        mood: (line) => MOODS[line.level],
        line: (line) => [
          make(
            'span',
            { class: 'aegis-Line-text' },
            clock(line.time),
            make('span', { class: 'aegis-Level', 'data-mood': MOODS[line.level] }, line.level),
            make('span', { class: 'aegis-Quiet' }, line.source),
          ),
          make('span', { class: 'aegis-Wrap' }, line.text),
        ],
        opens: ({ more }) => more,
        detail: ({ n }) => ({ node: this._traceback(n) }),
      },
      { say, label: say('Log') },
    );
    this._empty = room(
      say('The log is empty'),
      paragraph(say('What the host does on its own account is told here, and never in a cell.')),
    );
    const levels = choice(
      say('Least level'),
      [
        ['debug', say('All lines')],
        ['info', say('Info and worse')],
        ['warning', say('Warnings and errors')],
        ['error', say('Errors')],
      ],
      (value) => {
        this._least = value as Level;
        this._log = null;
        desk.refresh();
      },
    );
    this.node = make(
      'div',
      { class: 'aegis-Section' },
      make('div', { class: 'aegis-Bar' }, levels),
      this._empty,
      this._list.node,
    );
  }

  update(state: State): void {
    show(this._empty, state.status !== null && state.log.length === 0);
    if (state.log === this._log) return;
    this._log = state.log;
    const least = RANK[this._least];
    this._list.update(state.log.filter((line) => RANK[line.level] >= least).reverse());
  }

  /** Where in its own lines component code went wrong. */
  private _traceback(n: number): HTMLElement {
    const { say, ask } = this.desk;
    const node = make('div', {}, say('Loading…'));
    void ask({ verb: 'log', n }).then(
      ({ text }) => {
        const label = say('Traceback');
        node.replaceChildren(
          make(
            'pre',
            { class: 'aegis-Json', tabindex: 0, role: 'group', 'aria-label': label },
            text,
          ),
        );
      },
      (error: unknown) => {
        node.replaceChildren(paragraph(error instanceof Error ? error.message : String(error)));
      },
    );
    return node;
  }

  dispose(): void {
    this._list.dispose();
  }
}
