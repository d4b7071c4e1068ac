/** A view in a cell's output or in a widget: first as it was saved, then live. */

import { make, mark, show, write } from './element';
import type { Arm, Component, EventLine, Figure, FlowLine, Split } from './protocol';
import type { State } from './state';
import { ComponentsView } from './views/components';
import { EventsView } from './views/events';
import { FlowView } from './views/flow';
import { GraphView } from './views/graph';
import { IDLE } from './views/graph-figures';
import { PictureView } from './views/picture';
import { type PortLine, PortsView } from './views/ports';
import type { View, ViewOptions } from './views/view';

export const MIME = 'application/vnd.aegis.view+json';
/** Flows that one output shows. */
const FLOWS = 20;

/** What the kernel saved: which view, and what was known then. All of it may be missing or wrong. */
interface Saved {
  readonly view?: unknown;
  readonly pattern?: unknown;
  readonly graph?: unknown;
  readonly figures?: unknown;
  readonly ports?: unknown;
  readonly events?: unknown;
  readonly flows?: unknown;
  readonly components?: unknown;
  readonly splits?: unknown;
}

export class Output {
  readonly node: HTMLElement;
  /** Which events the session should tell about. */
  readonly pattern: string;
  /** Whether there is anything to follow. */
  readonly live: boolean;
  private readonly _views: readonly View[];
  private readonly _link: HTMLElement;
  private _state: State | null = null;
  private _due = 0;

  constructor(data: unknown, svg: string, options: ViewOptions) {
    const saved: Saved = typeof data === 'object' && data !== null ? data : {};
    this.pattern = typeof saved.pattern === 'string' ? saved.pattern : '*';
    this._link = make('p', { class: 'aegis-View-link', role: 'status', hidden: true });
    const name = typeof saved.view === 'string' ? saved.view : '';
    this._views = views(name, saved, svg, { ...options, pattern: this.pattern });
    this.live = this._views.length > 0 && name !== 'trace';
    this.node = make(
      'div',
      { class: 'aegis-Output', 'data-view': name },
      this._link,
      ...this._views.map((view) => view.node),
    );
    if (this._views.length === 0) {
      const { say } = options;
      show(this._link, true);
      write(this._link, say('This view (%1) is newer than the Aegis extension: update it.', name));
    }
  }

  /** The host is there no more, or not yet; `why` is for a person. Empty says that it is. */
  tell(why: string): void {
    show(this._link, why !== '');
    write(this._link, why);
  }

  /** Show this state in the next animation frame. */
  update(state: State): void {
    this._state = state;
    this._due ||= requestAnimationFrame(() => {
      this._due = 0;
      this._show();
    });
  }

  dispose(): void {
    if (this._due) cancelAnimationFrame(this._due);
    for (const view of this._views) view.dispose();
  }

  private _show(): void {
    const state = this._state;
    if (state === null) return;
    const away = state.link === 'lost' || state.link === 'skewed';
    mark(this.node, 'data-link', state.link);
    this.tell(away ? state.note : '');
    // Until there is a frame, what was saved says more.
    if (state.status === null) return;
    for (const view of this._views) view.update(state);
  }
}

function views(name: string, saved: Saved, svg: string, options: ViewOptions): readonly View[] {
  switch (name) {
    case 'graph': {
      const view = new GraphView(options);
      if (svg !== '') view.draw(svg, typeof saved.graph === 'string' ? saved.graph : '');
      view.patch(figures(saved.figures));
      return [view];
    }
    case 'ports': {
      const view = new PortsView(options);
      const rows = list<PortLine & { figure?: unknown }>(saved.ports, 'id', 'name', 'component');
      view.set(rows);
      view.patch(Object.fromEntries(rows.map(({ id, figure }) => [id, figureOf(figure)])));
      return [view];
    }
    case 'components': {
      const view = new ComponentsView(options);
      view.set(components(saved.components), splits(saved.splits));
      return [view];
    }
    case 'events': {
      const view = new EventsView(options);
      view.set(events(saved.events));
      return [view];
    }
    case 'flow':
      return list<FlowLine>(saved.flows, 'id', 'model', 'state')
        .slice(0, FLOWS)
        .map((flow) => {
          const view = new FlowView({ ...options, flow: flow.id });
          view.set({ ...flow, steps: list(flow.steps, 'port', 'state') });
          return view;
        });
    case 'trace': {
      const { say } = options;
      const view = new PictureView({ say, label: say('Sequence') });
      if (svg !== '') view.draw(svg);
      return [view];
    }
    default:
      return [];
  }
}

function figures(found: unknown): Readonly<Record<string, Figure>> {
  if (typeof found !== 'object' || found === null) return {};
  return Object.fromEntries(Object.entries(found).map(([id, figure]) => [id, figureOf(figure)]));
}

function figureOf(found: unknown): Figure {
  return typeof found === 'object' && found !== null ? { ...IDLE, ...found } : IDLE;
}

/** Events as they were saved: without their number, as that is the host's own. */
function events(found: unknown): readonly EventLine[] {
  return list<EventLine>(found, 'id', 'type', 'time').map((event) => ({
    ...event,
    seq: typeof event.seq === 'number' ? event.seq : 0,
  }));
}

/** Components as they were saved; what an earlier version did not know is not known. */
function components(found: unknown): readonly Component[] {
  return list<Component>(found, 'name', 'version', 'digest', 'origin').map((one) => ({
    ...one,
    health: one.health === 'failing' || one.health === 'broken' ? one.health : 'ok',
    previous: text(one.previous),
    problem: text(one.problem),
    since: text(one.since) ?? '',
    who: text(one.who) ?? '',
    older: list(one.older, 'revision'),
    followed: typeof one.followed === 'object' ? one.followed : null,
  }));
}

function splits(found: unknown): readonly Split[] {
  return list<Split>(found, 'component', 'by').flatMap((one) => {
    const [live, candidate] = list<Arm>([one.live, one.candidate], 'version', 'origin');
    return live === undefined || candidate === undefined
      ? []
      : [{ ...one, live: arm(live), candidate: arm(candidate) }];
  });
}

function arm(found: Arm): Arm {
  const number = (value: unknown): number => (typeof value === 'number' ? value : 0);
  const { weight, calls, errors, p50, p99 } = found;
  return {
    ...found,
    weight: number(weight),
    calls: number(calls),
    errors: number(errors),
    p50: typeof p50 === 'number' ? p50 : null,
    p99: typeof p99 === 'number' ? p99 : null,
  };
}

function text(found: unknown): string | null {
  return typeof found === 'string' ? found : null;
}

/** Of a list that somebody saved the items that are objects and have these texts. */
function list<T extends object>(found: unknown, ...texts: readonly (keyof T)[]): readonly T[] {
  if (!Array.isArray(found)) return [];
  return found.filter(
    (item): item is T =>
      typeof item === 'object' &&
      item !== null &&
      texts.every((name) => typeof (item as T)[name] === 'string'),
  );
}
