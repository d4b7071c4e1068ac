/** The small pieces that several sections are made of: times, facts, states, empty rooms. */

import { button, type Child, make, mark } from '../element';
import { Refusal } from '../session';
import { timeOfDay } from '../views/graph-figures';
import type { Say } from '../views/view';
import type { Mood } from './list';
import type { Desk } from './section';

/** The time of day of a stamp, as the person's clock shows it; the whole stamp on hover. */
export function clock(stamp: string): HTMLElement {
  return make('time', { class: 'aegis-Time', datetime: stamp, title: stamp }, timeOfDay(stamp));
}

/** An id short enough to tell it from its neighbours; ids of one time differ at their end. */
export function short(id: string): string {
  return id.length > 14 ? `…${id.slice(-8)}` : id;
}

/** A state in a word, with a sign before it, so that it does not need its colour. */
export function badge(text: string, mood: Mood): HTMLElement {
  return make('span', { class: 'aegis-Badge', 'data-mood': mood }, text);
}

/** Names and values; what is null or empty is left out. */
export function facts(pairs: readonly (readonly [string, Child | undefined])[]): HTMLElement {
  const list = make('dl', { class: 'aegis-Facts' });
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === '') continue;
    list.append(make('dt', {}, name), make('dd', {}, value));
  }
  return list;
}

/** JSON for reading. */
export function json(value: unknown, label: string): HTMLElement {
  return make(
    'pre',
    { class: 'aegis-Json', tabindex: 0, role: 'group', 'aria-label': label },
    JSON.stringify(value, null, 2),
  );
}

/** What a section says when it has nothing to show: what it is for, and what to do. */
export function room(title: string, ...rest: readonly Child[]): HTMLElement {
  return make(
    'div',
    { class: 'aegis-Room' },
    make('p', { class: 'aegis-Room-title' }, title),
    ...rest,
  );
}

export function paragraph(text: string): HTMLElement {
  return make('p', {}, text);
}

/** Something to type, with a way to copy it. */
export function sample(code: string, say: Say, copy: (text: string) => void): HTMLElement {
  return make(
    'div',
    { class: 'aegis-Sample' },
    make('pre', { tabindex: 0, role: 'group', 'aria-label': say('Sample code') }, code),
    button(
      { class: 'aegis-Button' },
      () => {
        copy(code);
      },
      say('Copy'),
    ),
  );
}

/** A plain button with a word on it. */
export function word(text: string, act: () => void, title?: string): HTMLButtonElement {
  return button({ class: 'aegis-Button', title }, act, text);
}

/** A button that leads somewhere else in the panel. */
export function link(text: string, act: () => void): HTMLButtonElement {
  return button({ class: 'aegis-Link' }, act, text);
}

/** Buttons that lead to the past of an event or a flow: why it happened, how it would go now. */
export function past(
  id: string,
  { say, show }: Pick<Desk, 'say' | 'show'>,
): readonly HTMLElement[] {
  return [
    word(
      say('Why'),
      () => {
        show({ kind: 'why', id });
      },
      say('What led to it, and what came of it'),
    ),
    word(
      say('Replay'),
      () => {
        show({ kind: 'replay', id });
      },
      say('Run it again on a copy with the code of now, and see what is different'),
    ),
  ];
}

/** A button that does something to a host: it waits until that is done. */
export function deed(
  text: string,
  act: () => Promise<unknown>,
  given: {
    readonly danger?: boolean;
    readonly title?: string | undefined;
    readonly label?: string;
    readonly primary?: boolean;
  } = {},
): HTMLButtonElement {
  const node = button(
    {
      class: [
        'aegis-Button',
        ...(given.danger ? ['aegis-mod-danger'] : []),
        ...(given.primary ? ['aegis-mod-primary'] : []),
      ].join(' '),
      title: given.title,
      'aria-label': given.label,
    },
    () => {
      if (node.getAttribute('aria-disabled') === 'true') return;
      // Not `disabled`: that would lose the focus.
      node.setAttribute('aria-disabled', 'true');
      node.setAttribute('aria-busy', 'true');
      void act().finally(() => {
        node.removeAttribute('aria-busy');
        if (!node.hasAttribute('data-hindered')) node.removeAttribute('aria-disabled');
      });
    },
    text,
  );
  return node;
}

/** Have a deed wait while something hinders it, and say what; null lets it go. */
export function hinder(node: HTMLButtonElement, why: string | null): void {
  mark(node, 'data-hindered', why !== null);
  mark(node, 'title', why);
  const busy = node.getAttribute('aria-busy') === 'true';
  mark(node, 'aria-disabled', why !== null || busy ? 'true' : null);
}

/** Why something was refused: with the place in the input where there is one, and what to do. */
export function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { pointer, hint } = error instanceof Refusal ? error.problem : {};
  const place = typeof pointer === 'string' && pointer !== '' ? `${pointer}: ` : '';
  const rest = typeof hint === 'string' && hint !== '' ? ` (${hint})` : '';
  return `${place}${error.message}${rest}`;
}

/** A choice of few. */
export function choice(
  label: string,
  options: readonly (readonly [string, string])[],
  chosen: (value: string) => void,
): HTMLSelectElement {
  const node = make('select', { class: 'aegis-Select', 'aria-label': label });
  for (const [value, text] of options) node.append(make('option', { value }, text));
  node.addEventListener('change', () => {
    chosen(node.value);
  });
  return node;
}
