/** What the panel gives its sections, and asks of them. */

import type { Done, Verb } from '../protocol';
import type { Session } from '../session';
import type { State } from '../state';
import type { Say, Target, View } from '../views/view';

/** A section of the panel: a view behind a tab. */
export interface Section extends View {
  /** Show one thing of it, opened and in sight. */
  show?(target: Target): void;
  /** It is seen from now on, or no longer. */
  seen?(seen: boolean): void;
}

/** The verbs whose answer is one line for a person. */
export type Deed = Extract<
  Verb,
  {
    readonly verb:
      | 'continue'
      | 'skip'
      | 'retry'
      | 'discard'
      | 'retry_group'
      | 'discard_group'
      | 'resume'
      | 'deploy'
      | 'gate'
      | 'cancel_gate'
      | 'split'
      | 'weigh'
      | 'promote'
      | 'drop'
      | 'rollback'
      | 'undeploy'
      | 'invoke';
  }
>;

/** What sections can do, each for the host that is shown. */
export interface Desk {
  readonly say: Say;
  readonly ask: Session['ask'];
  /** Do something and tell the person how it went; never rejects. Null where it went wrong. */
  readonly act: (deed: Deed) => Promise<Done | null>;
  /** Ask the person first, unless the settings say not to. */
  readonly confirm: (question: Question) => Promise<boolean>;
  /** Go to where this is shown. */
  readonly show: (target: Target) => void;
  /** See only events that match. */
  readonly follow: (pattern: string) => void;
  /** Have the next frame rendered although no news came. */
  readonly refresh: () => void;
  readonly copy: (text: string) => void;
  /**
   * Show the graph, or the past of something, in a place of its own; not there where there is none,
   * or it is there already.
   */
  readonly enlarge?: ((target?: Target) => void) | undefined;
  /** Tell the person something, once. */
  readonly tell: (text: string, good: boolean) => void;
  readonly state: () => State;
}

export interface Question {
  readonly title: string;
  readonly body: string;
  readonly accept: string;
  readonly danger?: boolean;
}
