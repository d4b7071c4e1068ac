/** The time that is left until something, kept right while it can be seen. */

import { make, write } from '../element';
import type { Say } from './view';

const SECOND = 1000;
const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How long it is from `now` (milliseconds) to `due`: 0:07, 12:03, 3:20:00, 2 d 4 h. Null when past. */
export function left(due: string, now: number): string | null {
  const seconds = Math.ceil((Date.parse(due) - now) / SECOND);
  if (!(seconds > 0)) return null;
  if (seconds >= DAY)
    return `${Math.floor(seconds / DAY)} d ${Math.floor((seconds % DAY) / HOUR)} h`;
  const two = (value: number): string => String(value).padStart(2, '0');
  const minutes = Math.floor(seconds / MINUTE);
  const rest = two(seconds % MINUTE);
  if (seconds < HOUR) return `${minutes}:${rest}`;
  return `${Math.floor(seconds / HOUR)}:${two(minutes % MINUTE)}:${rest}`;
}

/** An element that counts down to `due`, once a `Countdowns` has it under it. */
export function countdown(due: string): HTMLElement {
  return make('time', { class: 'aegis-Left', datetime: due, title: due });
}

/** Writes what is left into the countdowns under `root`, each second as long as there are any. */
export class Countdowns {
  private _timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly root: HTMLElement,
    private readonly say: Say,
  ) {}

  /** Look what there is to count; to be called when what is under `root` was drawn. */
  look(): void {
    clearTimeout(this._timer);
    this._timer = undefined;
    const found = this.root.querySelectorAll<HTMLTimeElement>('.aegis-Left');
    if (found.length === 0) return;
    const now = Date.now();
    if (this.root.closest('[hidden]') === null) {
      for (const element of found) {
        const time = left(element.dateTime, now);
        write(element, time === null ? this.say('due now') : this.say('%1 left', time));
      }
    }
    this._timer = setTimeout(() => {
      // Whoever took it off the page looks again when it is back.
      if (this.root.isConnected) this.look();
    }, SECOND);
  }

  dispose(): void {
    clearTimeout(this._timer);
  }
}
