/** What a failure was given, for reading, editing and trying again; or the ways on for its undo. */

import { make, mark, show, write } from '../element';
import type { FailedDetail, FailedLine } from '../protocol';
import { deed, paragraph, reason } from './parts';
import { sure } from './retry';
import type { Desk } from './section';
import { stopped } from './undo';

type Values = Readonly<Record<string, unknown>>;

/** Lines of an input that are shown without scrolling. */
const ROWS = { least: 3, most: 14 };

/** The input of a failure, as soon as the host has told it. */
export function input(line: FailedLine, desk: Desk): HTMLElement {
  const { say, ask } = desk;
  const node = make('div', { class: 'aegis-Given' }, say('Loading…'));
  void ask({ verb: 'failed', id: line.id }).then(
    (found) => {
      node.replaceChildren(...given(found, desk));
    },
    (error: unknown) => {
      node.replaceChildren(paragraph(error instanceof Error ? error.message : String(error)));
    },
  );
  return node;
}

function given(found: FailedDetail, desk: Desk): readonly HTMLElement[] {
  const { say } = desk;
  const undo = found.flow === null ? null : stopped(found.flow, desk);
  if (undo !== null) return [undo];
  if (found.input !== null) return [form(found.line, found.input, desk)];
  const gone =
    found.line.kind === 'flow'
      ? say('The record is gone, so there is no input to edit.')
      : say('The event has left the journal, so there is no input to edit.');
  return [paragraph(gone)];
}

function form(line: FailedLine, before: Values, desk: Desk): HTMLElement {
  const { say, ask, tell } = desk;
  const saved = JSON.stringify(before, null, 2);
  const lines = saved.split('\n').length;
  const label =
    line.kind === 'flow' ? say('Record of the flow, as JSON') : say('Data of the event, as JSON');
  const text = make('textarea', {
    class: 'aegis-Input',
    rows: Math.min(Math.max(lines, ROWS.least), ROWS.most),
    spellcheck: 'false',
    autocomplete: 'off',
    'aria-label': label,
  });
  text.value = saved;
  const wrong = make('p', { class: 'aegis-Problem', role: 'alert', hidden: true });
  const complain = (why: string): void => {
    mark(text, 'aria-invalid', why === '' ? null : 'true');
    show(wrong, why !== '');
    write(wrong, why);
  };
  const run = deed(say('Retry with this input'), async () => {
    const data = parsed(text.value, say);
    if (typeof data === 'string') {
      complain(data);
      return;
    }
    complain('');
    // Of a record only what was edited: the rest stays as it is by then.
    const change = line.kind === 'flow' ? edited(before, data) : data;
    const plain = same(before, data);
    if (!(await sure([line], desk))) return;
    try {
      const done = await ask({ verb: 'retry', id: line.id, ...(plain ? {} : { data: change }) });
      tell(done.text, true);
    } catch (error) {
      complain(reason(error));
    }
  });
  const reset = deed(say('Reset'), () => {
    text.value = saved;
    complain('');
    text.focus();
    return Promise.resolve();
  });
  const node = make(
    'form',
    { class: 'aegis-Form', 'aria-label': say('Edit the input and try again') },
    make('p', { class: 'aegis-Quiet' }, label),
    text,
    wrong,
    make('div', { class: 'aegis-Actions' }, run, reset),
  );
  node.addEventListener('submit', (event) => {
    event.preventDefault();
    run.click();
  });
  return node;
}

/** What a person typed, as an object; or what is wrong with it, in words. */
function parsed(text: string, say: Desk['say']): Values | string {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return value as Values;
    }
    return say('The input has to be a JSON object: {"name": "value"}');
  } catch (error) {
    return say('This is no JSON: %1', error instanceof Error ? error.message : String(error));
  }
}

/** The fields of `after` that are others than in `before`. A field that was left out stays as it is. */
function edited(before: Values, after: Values): Values {
  return Object.fromEntries(
    Object.entries(after).filter(([name, value]) => !same(before[name], value)),
  );
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
