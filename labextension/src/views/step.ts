/** How a step of a flow stands, in signs and words: the same wherever it is shown. */

import type { FlowLine, StepLine } from '../protocol';
import { countdown } from './countdown';
import type { Say } from './view';

export const SIGNS: Readonly<Record<string, string>> = {
  waiting: '\u2026',
  ready: '\u25b6',
  asked: '\u25d4',
  done: '\u2713',
  refused: '\u2717',
  failed: '\u2717',
  unknown: '?',
  dropped: '\u2013',
  undone: '\u21b6',
  'undo failed': '\u21b6\u2717',
  'undo skipped': '\u21b6\u2013',
};
/** Of flows and of steps. */
export const MOODS: Readonly<Record<string, string>> = {
  running: 'busy',
  compensating: 'busy',
  ready: 'busy',
  asked: 'busy',
  completed: 'ok',
  done: 'ok',
  'compensation failed': 'bad',
  refused: 'bad',
  failed: 'bad',
  unknown: 'bad',
  'undo failed': 'bad',
  'undo skipped': 'bad',
};

/** What a step waits for, and how long it still does; empty when it does not wait. */
export function waiting(step: StepLine, say: Say): readonly (Node | string)[] {
  if (!step.waits) return [];
  const text = say('waits for %1', step.waits);
  return step.due ? [`${text} \u00b7 `, countdown(step.due)] : [text];
}

/** The step at which the undo of a flow has stopped. */
export function stoppedAt(flow: FlowLine): StepLine | null {
  if (flow.state !== 'compensation failed') return null;
  return flow.steps.find(({ state }) => state === 'undo failed') ?? null;
}

/** The state of a flow, with the step where its undo stopped, and whether a person asked for it. */
export function standing(flow: FlowLine, say: Say): string {
  const stopped = stoppedAt(flow);
  if (stopped !== null) return say('%1 at %2', flow.state, stopped.port);
  return flow.canceled ? say('%1, canceled', flow.state) : flow.state;
}

/** How a step is marked whose undo is on its way back through it. */
export type Way = 'turn' | 'way' | 'end' | null;

/** The way back of an undo: from the step that ended badly up to the first that was undone. */
export function wayBack(flow: FlowLine): readonly Way[] {
  const undone = flow.steps.map(({ state }) => state === 'undone' || state.startsWith('undo '));
  if (!flow.state.startsWith('compensat') && !undone.includes(true)) {
    return flow.steps.map(() => null);
  }
  const bad = flow.steps.findIndex(({ state }) => ['refused', 'failed', 'unknown'].includes(state));
  const turn = Math.max(bad, undone.lastIndexOf(true));
  const end = Math.max(undone.indexOf(true), 0);
  return flow.steps.map((_, place) => {
    if (turn < 0 || place < end || place > turn) return null;
    return place === turn ? 'turn' : place === end ? 'end' : 'way';
  });
}
