/** The graph with its live figures: the host's own picture, patched where something changed. */

import { button, make, mark, show, write } from '../element';
import type { Figure } from '../protocol';
import type { State } from '../state';
import { bad, explained, IDLE, same, told } from './graph-figures';
import { BadPicture, picture, unpacked } from './graph-picture';
import type { View, ViewOptions } from './view';

const SVG = 'http://www.w3.org/2000/svg';
const SCALES = { least: 0.05, most: 4, step: 1.25, far: 0.3, readable: 0.6, near: 0.75 };
/** Milliseconds until a picture that could not be had is asked for again. */
const AGAIN = 3000;
/** How far beyond the visible part a frame is kept drawn, in its pixels. */
const AROUND = 300;
/** About how high a room becomes. */
const ROOM = 620;
/** In a room narrower than this no picture fits in and can be read: it is shown nearer, and panned. */
const NARROW = 600;
/** Pictures smaller than this are drawn whole. */
const MANY = 100;

/** What patching an element takes, found once for each picture. */
interface Place {
  readonly element: Element;
  readonly kind: string;
  readonly title: Element | null;
  readonly base: string;
  readonly at: readonly [string, string] | null;
  figure: Figure;
  text: Element | null;
  /** Whether its text is behind its figure, as nobody can read it just now. */
  stale: boolean;
}

/**
 * A component's part of the picture, taken out of it while it is out of sight: browsers style and
 * lay out what is in an SVG even where it is not displayed. `marker` keeps its place.
 */
interface Piece {
  readonly element: Element;
  readonly marker: Comment;
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
  shown: boolean;
}

export class GraphView implements View {
  readonly node: HTMLElement;
  private readonly _room: HTMLElement;
  private readonly _paper: HTMLElement;
  private readonly _shadow: ShadowRoot;
  private readonly _said: HTMLElement;
  private readonly _empty: HTMLElement;
  private readonly _observer: ResizeObserver | null;
  private _svg: SVGSVGElement | null = null;
  private _digest: string | null = null;
  private _asked: string | null = null;
  private _retry: ReturnType<typeof setTimeout> | undefined;
  private _figures: Readonly<Record<string, Figure>> = {};
  private _places = new Map<string, Place>();
  private _drawn = new Set<string>();
  private _nodes: Element[] = [];
  private _pieces: Piece[] = [];
  private _chosen: string | null = null;
  private _marked: Element | null = null;
  private _tab: Element | null = null;
  private _size: readonly [number, number] = [1, 1];
  private _scale = 1;
  private _far = false;
  private _fitted = false;
  private _culling = 0;
  private _disposed = false;

  constructor(private readonly options: ViewOptions) {
    const { say } = options;
    // A shadow, so that the ids and styles of one picture are not those of another on the page.
    this._paper = make('div', { class: 'aegis-Graph-paper' });
    this._shadow = this._paper.attachShadow({ mode: 'open' });
    this._shadow.append(make('style', {}, STYLE));
    this._room = make(
      'div',
      {
        class: 'aegis-Graph-room',
        tabindex: 0,
        role: 'group',
        'aria-label': say('Graph; plus and minus zoom, 0 fits it in'),
      },
      this._paper,
    );
    this._said = make('p', { class: 'aegis-Graph-said', role: 'status' });
    this._empty = make('p', { class: 'aegis-View-empty' }, say('The graph is on its way.'));
    const tool = (label: string, text: string, act: () => void): HTMLElement =>
      button({ class: 'aegis-Button', title: label, 'aria-label': label }, act, text);
    this.node = make(
      'div',
      { class: 'aegis-View aegis-Graph' },
      make(
        'div',
        { class: 'aegis-View-bar' },
        this._said,
        tool(say('Zoom out'), '\u2212', () => {
          this.zoom(this._scale / SCALES.step);
        }),
        tool(say('Zoom in'), '+', () => {
          this.zoom(this._scale * SCALES.step);
        }),
        tool(say('Fit the whole graph in'), say('Fit'), () => {
          this.fit();
        }),
      ),
      this._empty,
      this._room,
    );
    this._listen();
    this._observer =
      typeof ResizeObserver === 'undefined'
        ? null
        : new ResizeObserver(() => {
            if (!this._fitted) this._begin();
            this._cull();
          });
    this._observer?.observe(this._room);
  }

  update(state: State): void {
    const digest = state.status?.graph ?? null;
    if (digest !== null && digest !== this._digest && digest !== this._asked) this._fetch(digest);
    if (state.figures !== this._figures) this.patch(state.figures);
  }

  /** Show a picture of the graph with this digest. One that is no picture of ours is left out. */
  draw(text: string, digest: string): void {
    let svg: SVGSVGElement;
    try {
      svg = picture(text);
    } catch (error) {
      if (!(error instanceof BadPicture)) throw error;
      show(this._empty, true);
      write(this._empty, this.options.say('The picture is not shown: %1.', error.message));
      return;
    }
    this._svg?.remove();
    this._svg = svg;
    this._digest = digest;
    show(this._empty, false);
    this._size = [Number(svg.getAttribute('width')) || 1, Number(svg.getAttribute('height')) || 1];
    mark(svg, 'role', 'group');
    this._index(svg);
    this.patch(this._figures);
    // Before it is on the page: what is out of sight need not be laid out at all.
    this._leaveOut();
    this._shadow.append(svg);
    // A graph that changed keeps the place one looks at.
    if (this._fitted) this.zoom(this._scale);
    else this._begin();
  }

  /** Show these figures; what has none any more is idle. Touches only what changed. */
  patch(figures: Readonly<Record<string, Figure>>): void {
    this._figures = figures;
    for (const id of this._drawn) {
      if (!(id in figures)) this._put(id, IDLE);
    }
    for (const id in figures) this._put(id, figures[id] ?? IDLE);
  }

  zoom(scale: number, at?: { readonly clientX: number; readonly clientY: number }): void {
    const svg = this._svg;
    if (svg === null) return;
    const [width, height] = this._size;
    const room = this._room;
    const box = room.getBoundingClientRect();
    // What is under the pointer, or in the middle, stays there.
    const x = at === undefined ? room.clientWidth / 2 : at.clientX - box.left;
    const y = at === undefined ? room.clientHeight / 2 : at.clientY - box.top;
    const before = this._scale;
    const left = (room.scrollLeft + x) / before;
    const top = (room.scrollTop + y) / before;
    this._scale = Math.min(Math.max(scale, SCALES.least), SCALES.most);
    svg.style.cssText = `display:block;max-width:none;min-width:0;width:${width * this._scale}px;height:${height * this._scale}px`;
    this._far = this._scale < SCALES.far;
    svg.classList.toggle('far', this._far);
    if (!this._far) {
      for (const place of this._places.values()) if (place.stale) this._write(place);
    }
    room.scrollLeft = left * this._scale - x;
    room.scrollTop = top * this._scale - y;
    this._cull();
  }

  fit(): void {
    const [width, height] = this._size;
    const { clientWidth, clientHeight } = this._room;
    if (clientWidth === 0) return;
    this.zoom(Math.min(clientWidth / width, Math.max(clientHeight, 80) / height, 1));
  }

  dispose(): void {
    this._disposed = true;
    clearTimeout(this._retry);
    this._observer?.disconnect();
    if (this._culling) cancelAnimationFrame(this._culling);
  }

  // --- the picture -------------------------------------------------------------------------------

  private _fetch(digest: string): void {
    this._asked = digest;
    clearTimeout(this._retry);
    const failed = (error: unknown): void => {
      if (this._disposed) return;
      if (this._svg === null) {
        write(this._empty, error instanceof Error ? error.message : String(error));
      }
      this._retry = setTimeout(() => {
        this._asked = null;
      }, AGAIN);
    };
    this.options
      .ask({ verb: 'picture' })
      .then(async (found) => {
        const text = await unpacked(found.data);
        if (this._disposed) return;
        // It may be newer than what was asked for; the next state says so then.
        this._asked = null;
        this.draw(text, found.digest);
      })
      .catch(failed);
  }

  private _index(svg: SVGSVGElement): void {
    this._places = new Map();
    this._drawn = new Set();
    this._nodes = [...svg.querySelectorAll('g.node')];
    for (const element of this._nodes) {
      const place = this._place(element);
      this._places.set(element.getAttribute('data-id') ?? '', place);
      mark(element, 'role', 'button');
      mark(element, 'tabindex', -1);
      mark(element, 'aria-label', place.base);
    }
    this._tab = this._nodes[0] ?? null;
    if (this._tab !== null) mark(this._tab, 'tabindex', 0);
    for (const element of svg.querySelectorAll('g.edge[id]')) {
      const [kind, from, to] = ['data-kind', 'data-source', 'data-target'].map((name) =>
        element.getAttribute(name),
      );
      this._places.set(`${kind ?? ''}:${from ?? ''}>${to ?? ''}`, this._place(element));
    }
    this._pieces = this._nodes.length < MANY ? [] : pieces(svg);
  }

  private _place(element: Element): Place {
    const title = [...element.children].find((child) => child.localName === 'title') ?? null;
    const text = [...element.children].find((child) => child.classList.contains('figure')) ?? null;
    const [x, y] = (element.getAttribute('data-at') ?? '').split(' ');
    const whole = title?.textContent ?? '';
    // A picture that was saved has the figures of then in it.
    const then = element.hasAttribute('data-live');
    element.removeAttribute('data-live');
    text?.remove();
    element.classList.remove('failing', 'running');
    return {
      element,
      kind: element.getAttribute('data-kind') ?? '',
      title,
      base: then ? whole.slice(0, Math.max(whole.lastIndexOf('\n'), 0)) : whole,
      at: x !== undefined && y !== undefined ? [x, y] : null,
      figure: IDLE,
      text: null,
      stale: false,
    };
  }

  private _put(id: string, figure: Figure): void {
    const place = this._places.get(id);
    if (place === undefined || same(place.figure, figure)) return;
    const { element, title, base } = place;
    place.figure = figure;
    this._drawn.add(id);
    element.classList.toggle('failing', bad(figure.state));
    element.classList.toggle('running', figure.running > 0);
    const words = explained(figure, this.options.say);
    const whole = words ? `${base}\n${words}` : base;
    if (title !== null) write(title, whole);
    if (element.hasAttribute('role')) mark(element, 'aria-label', whole);
    if (id === this._chosen) write(this._said, whole);
    // From afar only what fails can be told apart.
    place.stale = this._far && !bad(figure.state);
    if (!place.stale) this._write(place);
  }

  private _write(place: Place): void {
    const { element, at, kind, figure } = place;
    place.stale = false;
    if (at === null) return;
    const said = told(figure, kind);
    if (place.text === null) {
      if (!said) return;
      place.text = document.createElementNS(SVG, 'text');
      mark(place.text, 'class', 'figure');
      mark(place.text, 'x', at[0]);
      mark(place.text, 'y', at[1]);
      place.text.append(said);
      element.append(place.text);
      return;
    }
    const text = place.text.firstChild;
    if (text instanceof Text) {
      if (text.data !== said) text.data = said;
    } else write(place.text, said);
  }

  // --- the person --------------------------------------------------------------------------------

  private _listen(): void {
    const room = this._room;
    room.addEventListener(
      'wheel',
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        this.zoom(this._scale * Math.exp(-event.deltaY / 300), event);
      },
      { passive: false },
    );
    room.addEventListener('scroll', () => {
      this._cull();
    });
    room.addEventListener('keydown', (event) => {
      this._key(event);
    });
    this._shadow.addEventListener('click', (event) => {
      const node = event.target instanceof Element ? event.target.closest('g.node') : null;
      if (node !== null && !this._dragged) this._choose(node);
    });
    this._shadow.addEventListener('focusin', (event) => {
      const node = event.target instanceof Element ? event.target.closest('g.node') : null;
      if (node !== null) this._near(node);
    });
    this._drag(room);
  }

  private _dragged = false;

  private _drag(room: HTMLElement): void {
    let from: { x: number; y: number; left: number; top: number } | null = null;
    room.addEventListener('pointerdown', (event) => {
      this._dragged = false;
      if (event.button !== 0 || event.pointerType === 'touch') return;
      from = {
        x: event.clientX,
        y: event.clientY,
        left: room.scrollLeft,
        top: room.scrollTop,
      };
    });
    room.addEventListener('pointermove', (event) => {
      if (from === null) return;
      const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
      if (!this._dragged && Math.hypot(dx, dy) < 5) return;
      if (!this._dragged) room.setPointerCapture(event.pointerId);
      this._dragged = true;
      room.scrollLeft = from.left - dx;
      room.scrollTop = from.top - dy;
    });
    const end = (): void => {
      from = null;
    };
    room.addEventListener('pointerup', end);
    room.addEventListener('pointercancel', end);
  }

  private _key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const focused = this._shadow.activeElement?.closest('g.node') ?? null;
    const here = focused === null ? -1 : this._nodes.indexOf(focused);
    const last = this._nodes.length - 1;
    const go = (place: number): void => {
      const node = this._nodes[Math.min(Math.max(place, 0), last)];
      if (!(node instanceof SVGElement)) return;
      const piece = this._pieces.find(({ element, shown }) => !shown && element.contains(node));
      if (piece !== undefined) put(piece, true);
      node.focus();
    };
    switch (event.key) {
      case '+':
      case '=':
        this.zoom(this._scale * SCALES.step);
        break;
      case '-':
        this.zoom(this._scale / SCALES.step);
        break;
      case '0':
        this.fit();
        break;
      case 'Enter':
      case ' ':
        if (focused === null) return;
        this._choose(focused);
        break;
      case 'ArrowRight':
      case 'ArrowDown':
        if (focused === null) return;
        go(here + 1);
        break;
      case 'ArrowLeft':
      case 'ArrowUp':
        if (focused === null) return;
        go(here - 1);
        break;
      case 'Home':
        if (focused === null) return;
        go(0);
        break;
      case 'End':
        if (focused === null) return;
        go(last);
        break;
      default:
        return;
    }
    event.preventDefault();
    // Lab has keys of its own for the cell around.
    event.stopPropagation();
  }

  private _choose(node: Element): void {
    const id = node.getAttribute('data-id') ?? '';
    this._near(node);
    this._marked?.classList.remove('chosen');
    this._marked = node;
    node.classList.add('chosen');
    this.options.show?.({ kind: 'node', id });
  }

  /** The node one is at: where Tab comes back to, and whose figures stand above the picture. */
  private _near(node: Element): void {
    if (this._tab !== null) mark(this._tab, 'tabindex', -1);
    this._tab = node;
    mark(node, 'tabindex', 0);
    this._chosen = node.getAttribute('data-id');
    write(this._said, node.getAttribute('aria-label') ?? '');
  }

  /** The first time there is room: the whole width if that can be read. */
  private _begin(): void {
    const { clientWidth } = this._room;
    if (this._svg === null || clientWidth === 0) {
      if (this._svg !== null) this.zoom(1);
      return;
    }
    this._fitted = true;
    const least = clientWidth < NARROW ? SCALES.near : SCALES.readable;
    this.zoom(Math.min(Math.max(clientWidth / this._size[0], least), 1));
    this._room.scrollLeft = 0;
    this._room.scrollTop = 0;
  }

  /** Leave out what is far from sight. */
  private _cull(): void {
    if (this._pieces.length === 0 || this._culling !== 0) return;
    this._culling = requestAnimationFrame(() => {
      this._culling = 0;
      this._leaveOut();
    });
  }

  private _leaveOut(): void {
    if (this._pieces.length === 0) return;
    const { scrollLeft, scrollTop, clientWidth, clientHeight } = this._room;
    // A room without content has no height of its own yet.
    const height = Math.max(clientHeight, ROOM);
    const scale = this._scale;
    const [left, top] = [scrollLeft / scale - AROUND, scrollTop / scale - AROUND];
    const right = (scrollLeft + clientWidth) / scale + AROUND;
    const bottom = (scrollTop + height) / scale + AROUND;
    for (const piece of this._pieces) {
      const shown =
        piece.right > left && piece.left < right && piece.bottom > top && piece.top < bottom;
      if (shown === piece.shown) continue;
      put(piece, shown);
    }
  }
}

/** Put a piece into the picture, or take it out. */
function put(piece: Piece, shown: boolean): void {
  piece.shown = shown;
  if (shown) piece.marker.replaceWith(piece.element);
  else piece.element.replaceWith(piece.marker);
}

function pieces(svg: SVGSVGElement): Piece[] {
  return [...svg.querySelectorAll('g.component')].map((element) => {
    const frame = element.querySelector('.frame');
    const [x, y, width, height] = ['x', 'y', 'width', 'height'].map((name) =>
      Number(frame?.getAttribute(name)),
    ) as [number, number, number, number];
    const marker = document.createComment('');
    return { element, marker, left: x, top: y, right: x + width, bottom: y + height, shown: true };
  });
}

const STYLE = `
.node{cursor:pointer}
.node:focus{outline:none}
.node:focus-visible>.shape{stroke:var(--jp-brand-color1,#1976d2);stroke-width:3.5}
.node.chosen>.shape{stroke-width:3}
.far .caption,.far .icon,.far .figure,.far .hook,.far .mark,.far .plug,.far .tip{display:none}
.far .failing>.figure{display:inline}
`;
