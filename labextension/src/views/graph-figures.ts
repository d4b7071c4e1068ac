/** The live figures of a node or an edge in a few characters: the same as in the host's own pictures. */

import type { Figure } from '../protocol';
import type { Say } from './view';

export const RUNNING = '\u25b6';
export const FAILING = '\u26a0';
/** The sign of every state; the last three say that something is wrong. */
export const SIGNS: Readonly<Record<Figure['state'], string>> = {
  idle: '\u00b7',
  ok: '\u2713',
  failing: FAILING,
  open: '\u2298',
  'half-open': '\u25d0',
};

/** Whether the state says that something is wrong. */
export function bad(state: Figure['state']): boolean {
  return state !== 'idle' && state !== 'ok';
}
export const UNDO = '\u21b6';

export const IDLE: Figure = {
  calls: 0,
  errors: 0,
  running: 0,
  p50: null,
  p99: null,
  state: 'idle',
  error: null,
  breaker: null,
};

const SIZES: readonly (readonly [number, string])[] = [
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
];

/** A count in four characters: 999, 1.2k, 12k, 3.4M. */
export function compact(count: number): string {
  for (const [size, letter] of SIZES) {
    if (count < size) continue;
    // Cut, not rounded: 9,999 is not yet 10k.
    const tenths = Math.floor((count * 10) / size);
    return `${tenths >= 100 ? Math.floor(tenths / 10) : tenths / 10}${letter}`;
  }
  return String(count);
}

/** Milliseconds for people: 6 µs, 0.4 ms, 12 ms, 1.2 s. */
export function latency(ms: number): string {
  if (ms >= 9999.5) return `${(ms / 1000).toFixed(0)} s`;
  if (ms >= 999.5) return `${(ms / 1000).toFixed(1)} s`;
  if (ms >= 9.95) return `${ms.toFixed(0)} ms`;
  return ms >= 0.095 || ms <= 0 ? `${ms.toFixed(1)} ms` : `${(ms * 1000).toFixed(0)} µs`;
}

/** What stands at a node or an edge of `kind`: signs, calls, p50. Nothing while it is idle. */
export function told(figure: Figure, kind = ''): string {
  if (figure.calls === 0 && figure.running === 0) return '';
  const signs = `${kind === 'undo' ? UNDO : ''}${bad(figure.state) ? SIGNS[figure.state] : ''}`;
  const parts = signs ? [signs] : [];
  if (figure.running > 0) parts.push(`${RUNNING}${compact(figure.running)}`);
  if (figure.calls > 0) parts.push(compact(figure.calls));
  if (figure.p50 !== null) parts.push(`\u00b7 ${latency(figure.p50)}`);
  return parts.join(' ');
}

/** The same in words, for a tooltip and who cannot see it. */
export function explained(figure: Figure, say: Say): string {
  if (figure.calls === 0 && figure.running === 0) return '';
  const parts = [say('%1 so far', figure.calls)];
  if (figure.running > 0) parts.push(say('%1 running', figure.running));
  if (figure.errors > 0) parts.push(say('%1 failed', figure.errors));
  if (figure.p50 !== null && figure.p99 !== null) {
    parts.push(say('p50 %1, p99 %2', latency(figure.p50), latency(figure.p99)));
  }
  if (figure.state === 'open' || figure.state === 'half-open') parts.push(guarded(figure, say));
  if (figure.error !== null) {
    const failing = figure.state === 'failing';
    parts.push(say(failing ? 'failing: %1' : 'last error: %1', figure.error));
  }
  return parts.join('; ');
}

/** The breaker that keeps callers waiting: how it is, since when, and when its partner is asked. */
export function guarded({ state, breaker }: Figure, say: Say): string {
  const parts = [state === 'open' ? say('breaker open') : say('breaker half-open')];
  // One that was saved by an earlier version says no more.
  if (breaker?.since) parts.push(say('since %1', timeOfDay(breaker.since)));
  if (breaker?.until) parts.push(say('asks again at %1', timeOfDay(breaker.until)));
  return parts.join(', ');
}

/** The time of day of a stamp, as the person's clock shows it. */
export function timeOfDay(stamp: string): string {
  const at = new Date(stamp);
  if (Number.isNaN(at.getTime())) return stamp;
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** Whether two figures look the same. */
export function same(a: Figure | undefined, b: Figure | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  return (
    a.calls === b.calls &&
    a.errors === b.errors &&
    a.running === b.running &&
    a.p50 === b.p50 &&
    a.p99 === b.p99 &&
    a.state === b.state &&
    a.breaker?.until === b.breaker?.until &&
    a.error === b.error
  );
}
