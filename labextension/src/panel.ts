/** The panel: which host, how it is, and one section of it at a time. */

import { copyIcon } from '@jupyterlab/ui-components';
import { SplitLayout, Widget } from '@lumino/widgets';

import { button, make, mark, show, write } from './element';
import { Lost, Refusal } from './session';
import { ComponentsSection } from './sections/components';
import { EventsSection } from './sections/events';
import { FailedSection } from './sections/failed';
import { FlowsSection } from './sections/flows';
import { GraphSection } from './sections/graph';
import { HistorySection } from './sections/history';
import { LogSection } from './sections/log';
import { paragraph, reason, room, sample, word } from './sections/parts';
import type { Deed, Desk, Question, Section } from './sections/section';
import type { State } from './state';
import type { Say, Target } from './views/view';
import type { Change, Watch } from './watch';
import type { Done } from './protocol';

export const SECTIONS = [
  'components',
  'graph',
  'events',
  'flows',
  'failed',
  'log',
  'history',
] as const;
export type SectionName = (typeof SECTIONS)[number];

export interface PanelOptions {
  readonly watch: Watch;
  readonly say: Say;
  readonly confirm: (question: Question) => Promise<boolean>;
  /** Tells the person something while the panel is out of sight. */
  readonly notify: (text: string, good: boolean) => void;
  readonly copy: (text: string) => void;
  /** Starts a notebook with a host; null where no kernel of ours is installed. */
  readonly begin: () => (() => void) | null;
  /** Shows the graph or the past in the main area; not there where that has one document only. */
  readonly enlarge?: ((target?: Target) => void) | undefined;
  /** Shows the description of the API. */
  readonly describe: () => Promise<void>;
  /** Whether the notebook at hand has a Python kernel that could load a host. */
  readonly couldLoad: () => boolean;
}

/** How long an outcome is told, in milliseconds. */
const TOLD = 8000;

/** How wide it begins, in pixels, where a side bar has this or less. */
const WIDTH = 360;
const NARROW = 320;

interface Tab {
  readonly name: SectionName;
  readonly head: HTMLButtonElement;
  readonly count: HTMLElement;
  readonly page: HTMLElement;
  section: Section | null;
}

export class Panel extends Widget {
  readonly say: Say;
  /** What sections, and commands, can do. */
  readonly desk: Desk;
  /** How often it renders at most, in milliseconds. */
  pause = 100;
  private readonly _hosts: HTMLSelectElement;
  private readonly _bar: HTMLElement;
  private readonly _pulse: HTMLElement;
  private readonly _banner: HTMLElement;
  private readonly _problems: HTMLElement;
  private readonly _body: HTMLElement;
  private readonly _nobody: HTMLElement;
  private readonly _told: HTMLElement;
  private readonly _tabs: readonly Tab[];
  private _now: Tab;
  private _frame = 0;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _rendered = 0;
  private _clear: ReturnType<typeof setTimeout> | undefined;
  private _shown: { readonly problems: unknown; readonly hosts: unknown } | null = null;
  private _wide = false;

  constructor(private readonly options: PanelOptions) {
    super({ node: make('div', { class: 'aegis-Panel' }) });
    const { say, watch } = options;
    this.say = say;
    this.desk = {
      say,
      ask: (verb) =>
        watch.session?.ask(verb) ?? Promise.reject(new Lost(say('No host is looked at.'))),
      act: (deed) => this._act(deed),
      confirm: options.confirm,
      show: (target) => {
        this.reveal(target);
      },
      follow: (pattern) => watch.session?.follow(pattern),
      refresh: () => {
        this._render();
      },
      copy: (text) => {
        options.copy(text);
        this.tell(say('Copied: %1', text.split('\n', 1)[0] ?? ''), true);
      },
      enlarge: options.enlarge,
      tell: (text, good) => {
        this.tell(text, good);
      },
      state: () => watch.state,
    };
    this._hosts = make('select', { class: 'aegis-Select aegis-Hosts', 'aria-label': say('Host') });
    this._hosts.addEventListener('change', () => {
      watch.choose(this._hosts.value);
    });
    this._pulse = make('p', { class: 'aegis-Pulse' });
    this._banner = make('div', {
      class: 'aegis-Notice',
      'data-mood': 'bad',
      role: 'status',
      hidden: true,
    });
    this._problems = make('ul', {
      class: 'aegis-Problems',
      'aria-label': say('Problems'),
      hidden: true,
    });
    this._nobody = make('div', { class: 'aegis-Nobody', hidden: true });
    this._told = make('div', { class: 'aegis-Told', role: 'status', 'aria-live': 'polite' });
    const titles: Readonly<Record<SectionName, string>> = {
      components: say('Components'),

      graph: say('Graph'),
      events: say('Events'),
      flows: say('Flows'),
      failed: say('Failed'),
      log: say('Log'),
      history: say('History'),
    };
    this._now = this._tab('components', titles.components);
    this._tabs = SECTIONS.map((name) =>
      name === 'components' ? this._now : this._tab(name, titles[name]),
    );
    const list = make('div', {
      class: 'aegis-Tabs',
      role: 'tablist',
      'aria-label': say('Sections'),
    });
    list.append(...this._tabs.map(({ head }) => head));
    list.addEventListener('keydown', (event) => {
      this._walk(event);
    });
    this._body = make('div', { class: 'aegis-Body' }, list, ...this._tabs.map(({ page }) => page));
    const address = button(
      {
        class: 'aegis-Button aegis-mod-icon',
        title: say('Copy the address of the API'),
        'aria-label': say('Copy the address of the API'),
      },
      () => {
        const at = watch.state.status?.address;
        if (at) this.desk.copy(at);
      },
      copyIcon.element({ tag: 'span', height: '14px', width: '14px' }),
    );
    const description = button(
      { class: 'aegis-Button', title: say('Open the OpenAPI description of this host') },
      () => {
        void options.describe();
      },
      say('API'),
    );
    this._bar = make('div', { class: 'aegis-Bar' }, this._hosts, address, description);
    this.node.append(
      make('header', { class: 'aegis-Head' }, this._bar, this._pulse, this._banner, this._problems),
      this._nobody,
      this._body,
      this._told,
    );
    this.open('components');
    watch.changed.connect(this._news, this);
  }

  /** Show one thing of the host where it belongs. */
  reveal(target: Target): void {
    const places = {
      node: 'graph',
      event: 'events',
      flow: 'flows',
      component: 'components',
      why: 'history',
      replay: 'history',
    } as const;
    this.open(places[target.kind]);
    this._section(this._now).show?.(target);
  }

  /** Tell the person how something went. */
  tell(text: string, good: boolean): void {
    if (!this.isVisible) this.options.notify(text, good);
    clearTimeout(this._clear);
    mark(this._told, 'data-mood', good ? 'ok' : 'bad');
    write(this._told, text);
    this._clear = setTimeout(() => {
      write(this._told, '');
    }, TOLD);
  }

  // --- sections ---------------------------------------------------------------------------------

  /** Show this section. */
  open(name: SectionName): void {
    for (const tab of this._tabs) {
      const chosen = tab.name === name;
      if (chosen) show(tab.head, true);
      mark(tab.head, 'aria-selected', chosen ? 'true' : 'false');
      tab.head.tabIndex = chosen ? 0 : -1;
      show(tab.page, chosen);
      if (chosen) this._now = tab;
    }
    this._render();
  }

  private _tab(name: SectionName, title: string): Tab {
    const count = make('span', { class: 'aegis-Count', hidden: true });
    const head = button(
      {
        class: 'aegis-Tab',
        role: 'tab',
        id: `aegis-tab-${name}`,
        'aria-controls': `aegis-page-${name}`,
        'data-section': name,
      },
      () => {
        this.open(name);
      },
      title,
      ' ',
      count,
    );
    const page = make('div', {
      class: 'aegis-Page',
      role: 'tabpanel',
      id: `aegis-page-${name}`,
      'aria-labelledby': `aegis-tab-${name}`,
      hidden: true,
    });
    // It is there as soon as somebody asks for the past of something: most of the time, no.
    show(head, name !== 'history');
    return { name, head, count, page, section: null };
  }

  private _section(tab: Tab): Section {
    if (tab.section !== null) return tab.section;
    const makers: Readonly<Record<SectionName, new (desk: Desk) => Section>> = {
      components: ComponentsSection,
      graph: GraphSection,
      events: EventsSection,
      flows: FlowsSection,
      failed: FailedSection,
      log: LogSection,
      history: HistorySection,
    };
    tab.section = new makers[tab.name](this.desk);
    tab.page.append(tab.section.node);
    return tab.section;
  }

  private _walk(event: KeyboardEvent): void {
    const tabs = this._tabs.filter(({ head }) => !head.hidden);
    const at = tabs.indexOf(this._now);
    const last = tabs.length - 1;
    const steps: Readonly<Record<string, number>> = {
      ArrowRight: at === last ? 0 : at + 1,
      ArrowLeft: at === 0 ? last : at - 1,
      Home: 0,
      End: last,
    };
    const tab = tabs[steps[event.key] ?? -1];
    if (tab === undefined) return;
    event.preventDefault();
    this.open(tab.name);
    tab.head.focus();
  }

  private async _act(deed: Deed): Promise<Done | null> {
    try {
      const done: Done = await this.desk.ask(deed);
      this.tell(done.text, true);
      return done;
    } catch (error) {
      if (!(error instanceof Refusal) && !(error instanceof Lost)) throw error;
      this.tell(reason(error), false);
      return null;
    }
  }

  // --- rendering --------------------------------------------------------------------------------

  protected override onAfterShow(): void {
    this._widen();
    this._render();
  }

  protected override onAfterAttach(): void {
    this._widen();
  }

  /** The first time it is seen as narrow as a side bar lets it: take what reads well. */
  private _widen(): void {
    if (this._wide || !this.isVisible) return;
    this._wide = true;
    requestAnimationFrame(() => {
      const area = sideBar(this);
      if (area === null || this.node.offsetWidth > NARROW) return;
      area.node.style.minWidth = `${WIDTH}px`;
      area.parent?.fit();
      // From then on it is the person's: a side bar keeps the width that it has.
      setTimeout(() => {
        area.node.style.minWidth = '';
        area.parent?.fit();
      }, 100);
    });
  }

  protected override onActivateRequest(): void {
    this._now.head.focus();
  }

  override dispose(): void {
    if (this.isDisposed) return;
    cancelAnimationFrame(this._frame);
    clearTimeout(this._timer);
    clearTimeout(this._clear);
    for (const { section } of this._tabs) section?.dispose();
    super.dispose();
  }

  private _news(_: unknown, change: Change): void {
    if (change === 'host') this._begin();
    if (change === 'note') this.tell(this.options.watch.note, false);
    this._render();
  }

  /** Another host: what sections held of the last one goes. */
  private _begin(): void {
    for (const tab of this._tabs) {
      tab.section?.dispose();
      tab.section = null;
      tab.page.replaceChildren();
    }
    this._shown = null;
  }

  /** Have it rendered in an animation frame, if it is in sight, and not too often. */
  private _render(): void {
    if (this._frame !== 0 || this._timer !== undefined || !this.isVisible) return;
    const wait = this._rendered + this.pause - performance.now();
    if (wait > 0) {
      this._timer = setTimeout(() => {
        this._timer = undefined;
        this._request();
      }, wait);
    } else this._request();
  }

  private _request(): void {
    this._frame = requestAnimationFrame(() => {
      this._frame = 0;
      if (!this.isVisible) return;
      this._rendered = performance.now();
      this._draw();
    });
  }

  private _draw(): void {
    const { watch } = this.options;
    const { state, host } = watch;
    this._drawHosts();
    this._drawBanner(state);
    const there = host !== null && state.status !== null;
    show(this._body, there);
    show(this._nobody, !there);
    show(this._pulse, there);
    if (!there) {
      this._drawNobody(host !== null, state);
      return;
    }
    mark(this._body, 'data-link', state.link);
    this._drawPulse(state);
    this._drawProblems(state);
    const counts: Readonly<Record<SectionName, number>> = {
      components: state.status.components.filter(({ health }) => health !== 'ok').length,

      graph: 0,
      events: 0,
      flows: state.status.flows_open,
      failed: state.status.failed,
      log: 0,
      history: 0,
    };
    for (const { name, count } of this._tabs) {
      show(count, counts[name] > 0);
      write(count, String(counts[name]));
      mark(count, 'data-mood', name === 'flows' ? 'busy' : 'bad');
    }
    this._section(this._now).update(state);
  }

  private _drawHosts(): void {
    const { hosts, host } = this.options.watch;
    if (this._shown?.hosts !== hosts.all) {
      this._shown = { problems: this._shown?.problems, hosts: hosts.all };
      this._hosts.replaceChildren(
        ...hosts.all.map(({ id, label, path }) =>
          make(
            'option',
            { value: id, title: path },
            path && path !== label ? `${label} · ${path}` : label,
          ),
        ),
      );
    }
    show(this._bar, hosts.all.length > 0);
    if (host && this._hosts.value !== host.id) this._hosts.value = host.id;
  }

  private _drawPulse(state: State): void {
    const { say } = this;
    const { status, rate } = state;
    if (status === null) return;
    const pace = rate >= 10 ? Math.round(rate) : Math.round(rate * 10) / 10;
    write(
      this._pulse,
      [
        ...(status.address ? [status.address.replace(/^https?:\/\//, '')] : []),
        say('%1 events/s', pace),
        status.flows_open === 1 ? say('1 open flow') : say('%1 open flows', status.flows_open),
      ].join(' · '),
    );
  }

  private _drawBanner(state: State): void {
    const { say } = this;
    const { watch } = this.options;
    const text =
      state.link === 'lost'
        ? say('Not connected: %1. What is shown may be old.', state.note.replace(/\.$/, ''))
        : state.link === 'skewed'
          ? state.note
          : '';
    if (this._banner.dataset['text'] === text) return;
    this._banner.dataset['text'] = text;
    show(this._banner, text !== '');
    this._banner.replaceChildren(
      paragraph(text),
      ...(state.link === 'lost' ? [word(say('Try now'), () => watch.session?.redial())] : []),
    );
  }

  private _drawProblems(state: State): void {
    const problems = state.status?.problems ?? [];
    if (this._shown?.problems === problems) return;
    this._shown = { hosts: this._shown?.hosts, problems };
    show(this._problems, problems.length > 0);
    this._problems.replaceChildren(
      ...problems.map(({ source, text, time }) =>
        make('li', { title: time }, make('strong', {}, source), ' ', text),
      ),
    );
  }

  /** There is no host, or nothing was heard of it yet: say what to do. */
  private _drawNobody(waits: boolean, state: State): void {
    const { say, options } = this;
    const begin = options.begin();
    const load = !waits && options.couldLoad();
    const shape = `${waits} ${state.link} ${state.note} ${begin !== null} ${load}`;
    if (this._nobody.dataset['shape'] === shape) return;
    this._nobody.dataset['shape'] = shape;
    if (waits) {
      const text = state.link === 'skewed' ? say('Host and panel do not fit') : say('Connecting…');
      this._nobody.replaceChildren(room(text, paragraph(state.note)));
      return;
    }
    this._nobody.replaceChildren(
      room(
        say('No host is running'),
        paragraph(
          say(
            'A notebook on the Aegis kernel has a host: it serves the components that cells define.',
          ),
        ),
        begin === null
          ? paragraph(say('The Aegis kernel is not installed here.'))
          : button({ class: 'aegis-Button aegis-mod-primary' }, begin, say('New Aegis notebook')),
        ...(load
          ? [
              paragraph(say('Or give the notebook at hand a host:')),
              sample('%load_ext aegis_kernel', say, this.desk.copy),
            ]
          : []),
      ),
    );
  }
}

/** What a person makes wider or narrower to have more or less of a widget. */
function sideBar(widget: Widget): Widget | null {
  const { parent } = widget;
  if (parent === null) return null;
  return parent.layout instanceof SplitLayout ? widget : sideBar(parent);
}
