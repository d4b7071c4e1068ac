/** What stands in for the panel in tests of sections, and how a person uses a page. */

import type { Done, FailedGroup, FlowLine, Verb } from '../src/protocol';
import type { Deed, Desk, Question, Section } from '../src/sections/section';
import { EMPTY, reduce, type State } from '../src/state';
import type { Target } from '../src/views/view';
import { frame } from './fakes';

export const HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>alert(1)</script>';

/** A desk that remembers what was asked of it. */
export class FakeDesk implements Desk {
  state_: State = EMPTY;
  sure = true;
  readonly asked: Verb[] = [];
  readonly done: Deed[] = [];
  readonly shown: Target[] = [];
  readonly told: string[] = [];
  readonly questions: Question[] = [];
  readonly copied: string[] = [];
  readonly patterns: string[] = [];
  section: Section | null = null;
  enlarge: Desk['enlarge'];
  answer: (verb: Verb) => unknown = () => ({ text: 'done' });
  groups: readonly FailedGroup[] = [];
  /** What a failure was given, and the flow that it is about. */
  input: Readonly<Record<string, unknown>> | null = null;
  flow: FlowLine | null = null;

  readonly say: Desk['say'] = (text, ...values) =>
    text.replace(/%(\d)/g, (_, place: string) => String(values[Number(place) - 1]));
  ask = ((verb: Verb) => {
    this.asked.push(verb);
    if (verb.verb === 'groups') return Promise.resolve({ groups: this.groups });
    if (verb.verb === 'failed') {
      const line = this.state_.failed.find(({ id }) => id === verb.id);
      return Promise.resolve({ line, input: this.input, flow: this.flow });
    }
    return Promise.resolve(verb).then(this.answer);
  }) as Desk['ask'];
  readonly act = (deed: Deed): Promise<Done | null> => {
    this.done.push(deed);
    return Promise.resolve({ text: 'done' });
  };
  readonly confirm = (question: Question): Promise<boolean> => {
    this.questions.push(question);
    return Promise.resolve(this.sure);
  };
  readonly show = (target: Target): void => void this.shown.push(target);
  readonly follow = (pattern: string): void => void this.patterns.push(pattern);
  readonly refresh = (): void => this.section?.update(this.state_);
  readonly copy = (text: string): void => void this.copied.push(text);
  readonly tell = (text: string): void => void this.told.push(text);
  readonly state = (): State => this.state_;

  /** Puts a section on the page. */
  seat<S extends Section>(section: S): S {
    this.section = section;
    document.body.replaceChildren(section.node);
    return section;
  }

  see(change: Parameters<typeof frame>[0]): void {
    const cursor = this.state_.cursor + 1;
    this.state_ = reduce(this.state_, frame({ since: cursor - 1, cursor, ...change }));
    this.refresh();
  }
}

export const all = <E extends HTMLElement>(selector: string): E[] => [
  ...document.body.querySelectorAll<E>(selector),
];
export const heads = (): HTMLElement[] => all('.aegis-Line-head');
export const texts = (selector: string): (string | null)[] =>
  all(selector).map((node) => node.textContent);
export const press = (node: HTMLElement, key: string): void =>
  void node.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));

export function click(text: string): void {
  const found = all<HTMLButtonElement>('button').find((node) => node.textContent === text);
  if (!found) throw new Error(`no button ${text}`);
  found.click();
}

export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}
