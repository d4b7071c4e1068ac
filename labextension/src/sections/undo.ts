/** The ways on for an undo that has stopped: go on with its step, or leave that step as it is. */

import { make } from '../element';
import type { FlowLine } from '../protocol';
import { stoppedAt } from '../views/step';
import { deed, paragraph } from './parts';
import type { Desk } from './section';

/** What is told of an undo that has stopped, with the ways on; null where none has. */
export function stopped(flow: FlowLine, desk: Desk): HTMLElement | null {
  const step = stoppedAt(flow);
  if (step === null) return null;
  const { say, act, confirm } = desk;
  const { port } = step;
  const why = step.error ?? flow.error ?? '';
  // Undo goes back, so what is left are the steps before it.
  const before = flow.steps.filter(
    ({ n, state }) => n < step.n && (state === 'done' || state === 'unknown'),
  );
  const rest = before.map((one) => one.port).reverse();
  const goOn = deed(say('Continue'), () => act({ verb: 'continue', id: flow.id }), {
    title: say('Try the undo of %1 again, and go on', port),
    label: say('Continue the undo at %1', port),
  });
  const skip = deed(
    say('Skip…'),
    async () => {
      const sure = await confirm({
        title: say('Skip the undo of %1?', port),
        body: [
          say(
            'What %1 did at its partner stays as it is, and nothing tries to undo it again.',
            port,
          ),
          rest.length > 0
            ? say('The undo goes on with: %1.', rest.join(', '))
            : say('Nothing else is left to undo.'),
        ].join(' '),
        accept: say('Skip'),
        danger: true,
      });
      if (sure) await act({ verb: 'skip', id: flow.id });
    },
    { danger: true, label: say('Skip the undo of %1', port) },
  );
  return make(
    'div',
    { class: 'aegis-Stopped', role: 'group', 'aria-label': say('The undo has stopped') },
    paragraph(say('The undo stopped at %1: %2', port, why.replace(`undo of ${port}: `, ''))),
    rest.length > 0 ? paragraph(say('Not undone yet: %1.', rest.join(', '))) : null,
    make('div', { class: 'aegis-Actions' }, goOn, skip),
  );
}
