/** A component from an address: what its deploy would make different, and then to deploy or split. */

import { make, mark, show, write } from '../element';
import type { Plan, PlanLine } from '../protocol';
import type { State } from '../state';
import { unpacked } from '../views/graph-picture';
import { PictureView } from '../views/picture';
import { Gate } from './gate';
import type { Mood } from './list';
import { badge, deed, hinder, paragraph, reason, word } from './parts';
import type { Deed, Desk } from './section';
import { percent, share } from './share';

/** Signs of lines that one has to know before anything else. */
const GRAVE: ReadonlySet<string> = new Set(['x', '!']);

export class PlanForm {
  readonly node: HTMLElement;
  private readonly _source: HTMLInputElement;
  private readonly _found: HTMLElement;
  private _view: PictureView | null = null;
  private _plan: Plan | null = null;
  /** What keeps the plan from being carried out just now, asked anew whenever news come. */
  private _hinder: ((state: State) => void) | null = null;
  /** Counts what was asked for: an answer to an earlier question is late. */
  private _asked = 0;

  constructor(private readonly desk: Desk) {
    const { say } = desk;
    this._source = make('input', {
      class: 'aegis-Input',
      spellcheck: 'false',
      autocomplete: 'off',
      placeholder: say('a path, https://…, github:owner/repo@1.2'),
      'aria-label': say('Source of a component'),
    });
    // It does not wait for an answer to an earlier question: that may be slow, and is not wanted.
    const plan = word(
      say('Plan'),
      () => void this.look(this._source.value),
      say('See what a deploy from there would make different; nothing changes'),
    );
    this._source.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') plan.click();
    });
    this._found = make('div', {
      class: 'aegis-Plan',
      role: 'region',
      'aria-label': say('Plan'),
      'aria-live': 'polite',
      hidden: true,
    });
    this.node = make(
      'div',
      { class: 'aegis-Planning' },
      make('div', { class: 'aegis-Bar' }, this._source, plan),
      this._found,
    );
  }

  /** Work out what a deploy of what is at an address would make different. */
  async look(address: string): Promise<void> {
    const { say, ask } = this.desk;
    const source = address.trim();
    mark(this._source, 'aria-invalid', source === '' ? 'true' : null);
    if (source === '') {
      this._source.focus();
      return;
    }
    this.close();
    const asked = this._asked;
    show(this._found, true);
    mark(this._found, 'aria-busy', 'true');
    this._found.replaceChildren(paragraph(say('Working out what it would make different…')));
    let told: readonly HTMLElement[];
    try {
      const plan = await ask({ verb: 'plan', source });
      told = await this._told(plan, asked);
    } catch (error) {
      told = [
        make('p', { class: 'aegis-Problem', role: 'alert' }, reason(error)),
        make('div', { class: 'aegis-Actions' }, this._closing()),
      ];
    }
    if (asked !== this._asked) return;
    mark(this._found, 'aria-busy', null);
    this._found.replaceChildren(...told);
    this.update(this.desk.state());
  }

  update(state: State): void {
    this._hinder?.(state);
  }

  /** Show no plan any more. */
  close(): void {
    this._asked++;
    this._view?.dispose();
    this._view = this._plan = this._hinder = null;
    show(this._found, false);
    mark(this._found, 'aria-busy', null);
    this._found.replaceChildren();
  }

  dispose(): void {
    this.close();
  }

  private async _told(plan: Plan, asked: number): Promise<readonly HTMLElement[]> {
    const { say } = this.desk;
    const picture = plan.data === null ? null : await unpacked(plan.data);
    if (asked !== this._asked) return [];
    this._plan = plan;
    const grave = plan.lines.filter(({ sign }) => GRAVE.has(sign));
    const others = plan.lines.filter(({ sign }) => !GRAVE.has(sign));
    const parts: HTMLElement[] = [this._title(plan)];
    if (grave.length > 0) parts.push(lines(grave, say('What it breaks, and what refuses it'), say));
    if (picture !== null) {
      this._view = new PictureView({ say, label: say('The graph before and after') });
      this._view.draw(picture);
      parts.push(
        this._view.node,
        make('p', { class: 'aegis-Note' }, say('+ added, ~ changed, − removed')),
      );
    }
    if (others.length > 0) parts.push(lines(others, say('What it makes different'), say));
    parts.push(...this._actions(plan));
    return parts;
  }

  private _title(plan: Plan): HTMLElement {
    const { say } = this.desk;
    const { component, version, digest, before, fits, nothing } = plan;
    const breaks = plan.lines.filter(({ sign }) => sign === '!').length;
    const [text, mood]: [string, Mood] = !fits
      ? [say('would be refused'), 'bad']
      : nothing
        ? [say('serves already'), 'plain']
        : breaks > 0
          ? [say('fits, and breaks others'), 'undone']
          : [say('fits'), 'ok'];
    return make(
      'p',
      { class: 'aegis-Line-row' },
      make('span', { class: 'aegis-Name', title: component }, component),
      make(
        'span',
        { class: 'aegis-Cut', title: digest },
        before === null ? version : `${before} → ${version}`,
      ),
      make('span', { class: 'aegis-Space' }),
      badge(text, mood),
    );
  }

  private _actions(plan: Plan): readonly HTMLElement[] {
    const { say } = this.desk;
    const { source, digest, component } = plan;
    const result = new Gate(this.desk);
    const gate = deed(say('Gate'), () => this.desk.act({ verb: 'gate', source, digest }), {
      title: say('Try it on the last recorded flows and requests; nothing real is touched'),
    });
    const only = make('input', { type: 'checkbox' });
    const deploy = deed(
      say('Deploy'),
      () =>
        only.checked
          ? this.desk.act({ verb: 'gate', source, digest, deploy: true })
          : this._do({ verb: 'deploy', source, digest }, component),
      { primary: true, label: say('Deploy %1 %2', component, plan.version) },
    );
    const part = share(10, say('Share of the candidate in percent'));
    const split = deed(
      say('Split'),
      async () => {
        const weight = percent(part);
        if (weight === null) return;
        await this._do({ verb: 'split', source, digest, weight }, component);
      },
      { label: say('Split: %1 %2 gets this share', component, plan.version) },
    );
    part.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') split.click();
    });
    const why = make('p', { class: 'aegis-Note' });
    let busy = false;
    this._hinder = ({ status, splits, rights, gates }) => {
      const live = status?.components.some(({ name }) => name === component) ?? false;
      const tried = splits.find((one) => one.component === component);
      const run = gates[component]?.digest === digest ? (gates[component] ?? null) : null;
      result.update(run);
      if (busy && run?.deployed) {
        this.close();
        this.desk.show({ kind: 'component', name: component });
        return;
      }
      busy = Object.values(gates).some(({ state }) => state === 'running');
      const never = !rights.includes('steer')
        ? say('This view may only read.')
        : plan.nothing
          ? say('This very code serves already.')
          : tried !== undefined
            ? say('%1 is tried: promote it or drop it first.', tried.candidate.version)
            : busy
              ? say('A gate is under way.')
              : null;
      const deploys = never ?? (plan.fits ? null : say('It would be refused, as said above.'));
      const splitting =
        never ?? (live ? null : say('Nothing of this name serves that it could share with.'));
      hinder(deploy, deploys);
      hinder(split, splitting);
      hinder(
        gate,
        never ??
          (live ? null : say('Nothing of this name was recorded that it could be tried on.')),
      );
      write(why, [...new Set([deploys, splitting])].filter((one) => one !== null).join(' '));
      show(why, deploys !== null || splitting !== null);
    };
    return [
      make(
        'div',
        { class: 'aegis-Actions' },
        gate,
        deploy,
        make('label', { class: 'aegis-Check' }, only, say('only through the gate')),
        make('span', { class: 'aegis-Share' }, split, part, '%'),
        this._closing(),
      ),
      why,
      result.node,
    ];
  }

  private _closing(): HTMLButtonElement {
    const { say } = this.desk;
    return deed(
      say('Close'),
      () => {
        this.close();
        this._source.focus();
        return Promise.resolve();
      },
      { label: say('Close the plan') },
    );
  }

  private async _do(what: Deed, name: string): Promise<void> {
    const plan = this._plan;
    const done = await this.desk.act(what);
    if (done === null || plan !== this._plan) return;
    this.close();
    this.desk.show({ kind: 'component', name });
  }
}

function lines(found: readonly PlanLine[], label: string, say: Desk['say']): HTMLElement {
  const words: Readonly<Record<string, string>> = {
    '!': say('breaking'),
    x: say('refused'),
    '+': say('added'),
    '~': say('changed'),
    '-': say('removed'),
    '=': say('the same'),
  };
  return make(
    'ul',
    { class: 'aegis-Plan-lines', role: 'list', 'aria-label': label },
    ...found.map(({ sign, text }) => {
      const word = words[sign];
      const drawn = sign === '-' ? '−' : sign === 'x' ? '✕' : sign;
      return make(
        'li',
        { 'data-sign': sign },
        word === undefined
          ? make('span', { class: 'aegis-Sign' })
          : make('span', { class: 'aegis-Sign', role: 'img', 'aria-label': word }, drawn),
        make('span', {}, text),
      );
    }),
  );
}
