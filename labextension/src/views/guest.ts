/** A sandbox in words: what it may use, what it has of the host, what it costs. */

import { make } from '../element';
import type { Component, GuestCost, GuestStatus } from '../protocol';
import { latency } from './graph-figures';
import type { Say } from './view';

/** What a component runs as, in a small badge. */
export function language(of: Component['language'], say: Say): HTMLElement {
  const title =
    of === 'wasm' ? say('It runs in a sandbox, as WebAssembly') : say('It runs in the host');
  return make(
    'span',
    { class: 'aegis-Language', 'data-language': of, title },
    of === 'wasm' ? 'Wasm' : 'Python',
  );
}

const SIZES: readonly (readonly [number, string])[] = [
  [1 << 30, 'GiB'],
  [1 << 20, 'MiB'],
  [1 << 10, 'KiB'],
];

/** Bytes for people: 812 B, 64 KiB, 1.5 MiB. */
export function bytes(count: number): string {
  for (const [size, unit] of SIZES) {
    if (count >= size) return `${Math.round((count * 10) / size) / 10} ${unit}`;
  }
  return `${count} B`;
}

/** What one call may use. */
export function limits({ limits: most }: GuestStatus, say: Say): string {
  return [
    say('%1 s of computing', most.seconds),
    say('%1 of memory', bytes(most.memory)),
    say('%1 of answer', bytes(most.output)),
    ...(most.fuel === null ? [] : [say('%1 of fuel', most.fuel.toLocaleString('en'))]),
  ].join(', ');
}

/** What it imports of the host, and what of that it was given. */
export function grants({ imports, needs, granted }: GuestStatus, say: Say): string {
  const free = imports.filter((name) => !needs.some((need) => need.split('=')[0] === name));
  const lines = [
    ...free.map((name) => say('%1: each has it', name)),
    ...needs.map((need) =>
      granted.includes(need) ? say('%1: granted', need) : say('%1: not granted', need),
    ),
  ];
  return lines.length === 0 ? say('nothing') : lines.join('\n');
}

/** How it runs, where that is not as usual. */
export function manner({ inline, fresh }: GuestStatus, say: Say): string {
  return [
    ...(inline ? [say("on the host's own thread")] : []),
    ...(fresh ? [say('a new instance for every call')] : []),
  ].join(', ');
}

/** Its module. */
export function module({ kind, size, digest, contract }: GuestStatus, say: Say): string {
  return [
    kind === 'component' ? say('component') : say('plain module'),
    bytes(size),
    ...(contract === '' ? [] : [say('contract %1', contract)]),
    digest.slice(0, 8),
  ].join(' · ');
}

/** What its calls computed. */
export function computed({ calls, seconds }: GuestCost, say: Say): string {
  return calls === 1
    ? say('%1 in 1 call', latency(seconds * 1e3))
    : say('%1 in %2 calls', latency(seconds * 1e3), calls.toLocaleString('en'));
}

/** How long calls wait for their turn; nothing before there was one. */
export function waiting({ queued, wait_p50, wait_p99 }: GuestCost, say: Say): string {
  if (wait_p50 === null || wait_p99 === null) return '';
  const times = say('p50 %1, p99 %2', latency(wait_p50), latency(wait_p99));
  return queued === 0 ? times : say('%1; %2 wait now', times, queued);
}

/** What it holds now. */
export function held({ threads, instances, memory }: GuestCost, say: Say): string {
  return [
    threads === 1 ? say('1 thread') : say('%1 threads', threads),
    instances === 1 ? say('1 instance') : say('%1 instances', instances),
    ...(memory === null || instances === 0 ? [] : [say('%1 of memory', bytes(memory))]),
  ].join(', ');
}

/** The calls that were stopped, by what stopped them. */
export function stops({ stopped }: GuestCost, say: Say): string {
  const words: Readonly<Record<string, string>> = {
    time: say('computed for too long'),
    fuel: say('used up its fuel'),
    memory: say('its memory'),
    stack: say('its stack'),
    output: say('too long an answer'),
    unreachable: say('ended itself'),
    index: say('a wrong index'),
    division: say('division by zero'),
    type: say('a wrong type'),
    unheard: say('nobody waited any more'),
    other: say('something else'),
  };
  return Object.entries(stopped)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([kind, count]) => `${words[kind] ?? kind}: ${count}`)
    .join('\n');
}
