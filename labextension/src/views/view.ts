/** What every view is: a piece of the page that shows a part of a host's state. */

import type { Answers, Verb } from '../protocol';
import type { State } from '../state';

/** What a view shows. `update` is called in an animation frame, and cheap where nothing changed. */
export interface View {
  readonly node: HTMLElement;
  update(state: State): void;
  dispose(): void;
}

/** Asks a host for something; rejects with a `Refusal` (a problem of the host) or a `Lost`. */
export type Ask = <V extends Verb>(verb: V) => Promise<Answers[V['verb']]>;

/** Says a string in the person's language: `say('%1 of %2', 3, 5)`. */
export type Say = (text: string, ...values: readonly (string | number)[]) => string;

/** One thing of a host that a person can look at. */
export type Target =
  | { readonly kind: 'node'; readonly id: string }
  | { readonly kind: 'event'; readonly seq: number }
  | { readonly kind: 'flow'; readonly id: string }
  | { readonly kind: 'component'; readonly name: string }
  /** What led to an event or a flow, or how it would go now. */
  | { readonly kind: 'why' | 'replay'; readonly id: string };

/** What a view is given. Views without `show` show details in themselves, or not at all. */
export interface ViewOptions {
  readonly ask: Ask;
  readonly say: Say;
  /** The person chose this in the view: show it where there is room for it. */
  readonly show?: (target: Target) => void;
  /** Which events (`order.*`), or which flow, where a view shows one of many. */
  readonly pattern?: string;
  readonly flow?: string;
}
