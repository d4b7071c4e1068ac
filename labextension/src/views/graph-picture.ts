/** The picture of a graph as the host drew it: unpacked, and let in only when it holds nothing but a drawing. */

/** What our pictures are made of; anything else is no picture of ours. */
const ELEMENTS = new Set(['svg', 'g', 'title', 'style', 'rect', 'path', 'text']);
const ATTRIBUTES = new Set([
  ...['xmlns', 'id', 'class', 'role', 'aria-label', 'style', 'viewBox', 'width', 'height'],
  ...['x', 'y', 'rx', 'd', 'transform', 'text-anchor'],
]);
const SVG = 'http://www.w3.org/2000/svg';

/** It is not, or not only, a drawing. */
export class BadPicture extends Error {
  override readonly name = 'BadPicture';
}

/** A node as the picture has it. */
export interface Drawn {
  readonly id: string;
  readonly kind: string;
  readonly component: string;
  readonly label: string;
}

/** What the picture says of what is connected; `from` and `to` are ids of nodes. */
export interface Wired {
  readonly kind: string;
  readonly from: string;
  readonly to: string;
}

/** The SVG text of a picture's data as it comes over the wire. */
export async function unpacked(data: string): Promise<string> {
  const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(plain).text();
}

/** `text` as an element of this page. Throws BadPicture where it holds more than a drawing. */
export function picture(text: string): SVGSVGElement {
  const parsed = new DOMParser().parseFromString(text, 'image/svg+xml');
  const root = parsed.documentElement;
  if (root.namespaceURI !== SVG || root.localName !== 'svg') throw new BadPicture('no SVG');
  inspect(root);
  for (const element of root.getElementsByTagName('*')) inspect(element);
  return document.adoptNode(root) as Element as SVGSVGElement;
}

/** The nodes of a picture, in its order. */
export function nodes(svg: SVGSVGElement): Drawn[] {
  return [...svg.querySelectorAll('g.node')].map((element) => ({
    id: element.getAttribute('data-id') ?? '',
    kind: element.getAttribute('data-kind') ?? '',
    component: element.getAttribute('data-component') ?? '',
    label: (element.querySelector('title')?.textContent ?? '').split('\n', 1)[0] ?? '',
  }));
}

/** The edges of a picture, each once. */
export function wires(svg: SVGSVGElement): Wired[] {
  return [...svg.querySelectorAll('g.edge[id]')].map((element) => ({
    kind: element.getAttribute('data-kind') ?? '',
    from: element.getAttribute('data-source') ?? '',
    to: element.getAttribute('data-target') ?? '',
  }));
}

function inspect(element: Element): void {
  if (element.namespaceURI !== SVG || !ELEMENTS.has(element.localName)) {
    throw new BadPicture(`a <${element.localName}> in it`);
  }
  // Names alone are much cheaper than attributes, and there are many.
  for (const name of element.getAttributeNames()) {
    if (!ATTRIBUTES.has(name) && !name.startsWith('data-')) throw new BadPicture(`${name} in it`);
    if (name === 'style' && fetches(element.getAttribute(name) ?? '')) {
      throw new BadPicture('a style that loads something');
    }
  }
  if (element.localName === 'style' && fetches(element.textContent)) {
    throw new BadPicture('a style that loads something');
  }
}

/** Whether CSS could bring in something from elsewhere, or hide that it does (escapes). */
function fetches(css: string): boolean {
  return /url\s*\(|@import|image-set|src\s*\(|\\/i.test(css);
}
