/** Makes elements. What is given as a child is text, never markup. */

export type Child = Node | string | null;

export interface Given {
  readonly class?: string | undefined;
  readonly title?: string | undefined;
  readonly [attribute: string]: string | number | boolean | null | undefined;
}

/** An element with attributes (`true` is there, `false` and null are not) and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  given: Given = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) mark(element, name, value);
  for (const child of children) if (child !== null) element.append(child);
  return element;
}

/** A button that does something. */
export function button(
  given: Given,
  act: () => void,
  ...children: readonly Child[]
): HTMLButtonElement {
  const element = make('button', { type: 'button', ...given }, ...children);
  element.addEventListener('click', act);
  return element;
}

/** Sets an attribute, where it is not so already. */
export function mark(
  element: Element,
  name: string,
  value: string | number | boolean | null | undefined,
): void {
  const text = value === true ? '' : String(value);
  if (value === false || value === null || value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== text) {
    element.setAttribute(name, text);
  }
}

/** Sets the text of an element, where it is not so already. */
export function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows an element or hides it. */
export function show(element: HTMLElement, shown: boolean): void {
  if (element.hidden === shown) element.hidden = !shown;
}
