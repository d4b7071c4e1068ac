/** Tries failures again, once the person knows what that means for a flow that was canceled. */

import type { FailedLine, FlowLine } from '../protocol';
import type { Desk } from './section';

type Asked = Pick<Desk, 'act' | 'ask' | 'confirm' | 'say' | 'state' | 'tell'>;

/** Whether to go on: somebody canceled the flow of one of these lines, and the person is asked. */
export async function sure(lines: readonly FailedLine[], desk: Asked): Promise<boolean> {
  const canceled = (await Promise.all(lines.map((line) => flowOf(line, desk)))).filter(
    // Where the undo has stopped, a retry only goes on with it.
    (flow) => flow?.canceled === true && flow.state === 'compensated',
  );
  if (canceled.length === 0) return true;
  const { say, confirm } = desk;
  return confirm({
    title: say('Try again what was canceled?'),
    body:
      canceled.length === 1
        ? say('Somebody canceled the flow of %1. It begins anew.', canceled[0]?.record ?? '')
        : say('Somebody canceled %1 of these flows. They begin anew.', canceled.length),
    accept: say('Retry'),
    danger: true,
  });
}

export async function retry(line: FailedLine, desk: Asked): Promise<void> {
  if (await sure([line], desk)) await desk.act({ verb: 'retry', id: line.id });
}

/** Try everything on the list again, in its order; tell how many went, and why the first did not. */
export async function retryAll(desk: Asked): Promise<void> {
  const { ask, say, tell } = desk;
  const { failed } = desk.state();
  if (!(await sure(failed, desk))) return;
  let done = 0;
  let why = '';
  for (const { id } of failed) {
    try {
      await ask({ verb: 'retry', id });
      done++;
    } catch (error) {
      why ||= error instanceof Error ? error.message : String(error);
    }
  }
  const text = say('%1 of %2 are tried again.', done, failed.length);
  tell(why === '' ? text : `${text} ${why}`, why === '');
}

/** The flow that a line is about, as far as it is known here. */
async function flowOf(line: FailedLine, desk: Asked): Promise<FlowLine | null> {
  const id = flowIdOf(line);
  if (id === null) return null;
  const known = desk.state().flows.find((flow) => flow.id === id);
  if (known) return known;
  try {
    return (await desk.ask({ verb: 'flow', id })).flow;
  } catch {
    return null; // the retry itself will say what is wrong
  }
}

/** The id of the flow that a line is about; null for a listener's. */
export function flowIdOf(line: FailedLine): string | null {
  return line.kind === 'flow' ? line.id.slice('flow:'.length) : null;
}
