// What a lock timeline shows, without any element: the same as layout.py, from the record that record.py made.
// Times are virtual nanoseconds after the start of the run.

import { UNITS, thousands } from "../shared/time.js";

export const IDLE = 0, RUNNING = 1, HOLDING = 2, SPINNING = 3, HARDWARE = 4, INTERRUPT = 5;
const ORDER = [HOLDING, SPINNING, HARDWARE, INTERRUPT, RUNNING, IDLE];
const NAMED_AT_MOST = 8;

// Packed columns: base64 of deflated bytes: of each column its length and its numbers, in groups of seven bits, lowest first.
export async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  let place = 0;
  const next = () => {
    let number = 0, scale = 1, byte;
    do {
      byte = bytes[place++];
      number += (byte & 127) * scale;
      scale *= 128;
    } while (byte & 128);
    return number;
  };
  const columns = [];
  while (place < bytes.length) columns.push(Float64Array.from({ length: next() }, next));
  return columns;
}

function sums(numbers, first = 0) {
  let sum = first;
  return numbers.map((number) => (sum += number));
}

function add(one, other) {
  return one.map((number, i) => number + other[i]);
}

// The runs of a record with their columns unpacked.
export function decode(record) {
  return Promise.all(record.runs.map(async (run) => {
    const [later, wait, hold, object, context, cpu, place, ...lanes] = await unpack(run.columns);
    const asked = sums(later, run.first), got = add(asked, wait);
    return {
      ...run,
      looks: run.looks.map(([state, object, held, context, off, inside, place, below]) =>
        ({ state, object, held, context, off: !!off, inside: !!inside, place, below })),
      lanes: Array.from({ length: lanes.length / 2 }, (_, i) => ({ starts: sums(lanes[2 * i]), looks: lanes[2 * i + 1] })),
      episodes: { asked, got, freed: add(got, hold), object, context, cpu, place },
    };
  }));
}

// -- words -------------------------------------------------------------------------------------------------------------

export function ticks(start, end, most) {
  let step = 1;
  while (Math.floor((end - start) / step) > most) step = String(step)[0] === "2" ? (step * 5) / 2 : step * 2;
  const [name, unit] = [...UNITS].reverse().find(([, size]) => end >= 10 * size || size === 1);
  let decimals = 0;
  while ((step * 10 ** decimals) % unit) decimals++;
  const found = [];
  for (let at = Math.ceil(start / step) * step; at <= end; at += step) {
    const [whole, part] = (at / unit).toFixed(decimals).split(".");
    found.push([at, `${thousands(whole)}${part ? `.${part}` : ""} ${name}`]);
  }
  return found;
}

function list(words) {
  if (words.length > NAMED_AT_MOST) return `${words.slice(0, NAMED_AT_MOST).join(", ")} and ${words.length - NAMED_AT_MOST} more`;
  return words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words.at(-1)}` : words.join("");
}

export function label(run, object) {
  const [name, , number] = run.objects[object];
  return number ? `${name} #${number}` : name;
}

const labels = (run, objects) => list(objects.map((object) => label(run, object)));

export function doing(run, look) {
  const held = labels(run, look.held);
  const what = look.object >= 0 ? label(run, look.object) : "";
  let words = ["idle", "running", `holding ${held}`, `spinning for ${what}`, `waiting for hardware (${what})`, "in an interrupt"][look.state];
  if (held && (look.state === SPINNING || look.state === HARDWARE)) words += ` while holding ${held}`;
  if (look.inside && look.state !== INTERRUPT) words += ", in an interrupt";
  if (look.below.length) words += `, on top of a thread that holds ${labels(run, look.below)}`;
  return words + (look.off ? ", interrupts off" : "");
}

export function sentence(run, time) {
  const groups = new Map();
  run.lanes.forEach((lane, cpu) => {
    const { look } = spanAt(run, cpu, time);
    const words = doing(run, look);
    const key = `${ORDER.indexOf(look.state)} ${words}`;
    if (!groups.has(key)) groups.set(key, { rank: ORDER.indexOf(look.state), words, who: [] });
    groups.get(key).who.push(look.context < 0 ? `CPU${cpu}` : `CPU${cpu} (${run.contexts[look.context]})`);
  });
  const parts = [...groups.values()].sort((a, b) => a.rank - b.rank).map(({ who, words }) => `${list(who)} ${words}`);
  const asleep = asleepAt(run, time).map((i) => {
    const { context, object } = run.episodes;
    return `${run.contexts[context[i]]} sleeps until it gets ${label(run, object[i])}`;
  });
  return `${[...parts, ...asleep].join(". ")}.`;
}

// -- one instant -------------------------------------------------------------------------------------------------------

// How many of the ascending `numbers` are at most `value`.
export function rank(numbers, value) {
  let low = 0, high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function spanAt(run, cpu, time) {
  const { starts, looks } = run.lanes[cpu];
  const index = Math.max(rank(starts, time) - 1, 0);
  return { look: run.looks[looks[index]], since: starts[index], until: index + 1 < starts.length ? starts[index + 1] : run.length };
}

// For each lock class, the numbers of the episodes of those who have it and of those who wait.
export function locksAt(run, time) {
  const now = run.locks.map(() => ({ holders: [], waiters: [] }));
  const { asked, got, freed, object } = run.episodes;
  for (let i = 0; i < asked.length && asked[i] <= time; i++) {
    if (time < freed[i]) now[run.objects[object[i]][1]][got[i] <= time ? "holders" : "waiters"].push(i);
  }
  return now;
}

// The episodes of those who wait for a lock and are on no CPU.
export function asleepAt(run, time) {
  const onCpu = new Set(run.lanes.map((lane, cpu) => spanAt(run, cpu, time).look.context));
  return locksAt(run, time).flatMap(({ waiters }) => waiters.filter((i) => !onCpu.has(run.episodes.context[i])));
}

// -- where to go -------------------------------------------------------------------------------------------------------

// When somebody began to wait for a lock, ascending; of one name if given.
export function contentions(run, name = "") {
  const { asked, got, object } = run.episodes;
  const found = [];
  for (let i = 0; i < asked.length; i++) {
    if (got[i] > asked[i] && asked[i] >= 0 && (!name || run.objects[object[i]][0] === name)) found.push(asked[i]);
  }
  return found;
}

// The first of the ascending `stops` after `time`, or the last before it; undefined if there is none.
export function after(stops, time) {
  return stops[rank(stops, time)];
}

export function before(stops, time) {
  let index = rank(stops, time) - 1;
  while (index >= 0 && stops[index] >= time) index--;
  return stops[index];
}

// The nearest change on any CPU that is at least `least` away in the given direction; the end if there is none.
export function nextChange(runs, time, direction, least) {
  const longest = Math.max(...runs.map((run) => run.length));
  let found = direction > 0 ? longest : 0;
  for (const { starts } of runs.flatMap((run) => run.lanes)) {
    if (direction > 0) {
      const start = starts[rank(starts, time + least - 1)];
      if (start < found) found = start; // never, where there is none
    } else {
      const start = starts[rank(starts, time - least) - 1];
      if (start > found) found = start;
    }
  }
  return found;
}

// -- pictures ----------------------------------------------------------------------------------------------------------

// A lane between two instants as bars over `width`: { left, right, look } or, where spans are too short to tell apart,
// { left, right, look: -1, shares, off }: the part of the time that each state had.
export function bars(run, cpu, start, end, width, thinnest = 2) {
  const scale = width / (end - start), found = [];
  const { starts, looks } = run.lanes[cpu], { state, off } = plain(run);
  let parts = [0, 0, 0, 0, 0, 0], dark = 0, crowd = 0, left = 0;
  const flush = (right) => {
    const whole = parts.reduce((sum, part) => sum + part) || 1;
    found.push({ left, right, look: -1, shares: parts.map((part) => part / whole), off: dark / whole });
    parts = [0, 0, 0, 0, 0, 0];
    dark = crowd = 0;
  };
  for (let i = Math.max(rank(starts, start) - 1, 0); i < starts.length; i++) {
    const begin = Math.max(starts[i], start), stop = Math.min(i + 1 < starts.length ? starts[i + 1] : run.length, end);
    if (begin >= end) break;
    const right = (stop - start) * scale, ns = stop - begin;
    if (ns * scale >= thinnest) {
      if (crowd) flush((begin - start) * scale);
      found.push({ left: (begin - start) * scale, right, look: looks[i] });
      left = right;
    } else {
      parts[state[looks[i]]] += ns;
      if (off[looks[i]]) dark += ns;
      crowd++;
      if (right - left >= thinnest) {
        flush(right);
        left = right;
      }
    }
  }
  if (crowd) flush(Math.min(width, (run.length - start) * scale));
  return found;
}

// What bars() asks of every look, a hundred thousand times in a row.
const plains = new WeakMap();

function plain(run) {
  if (!plains.has(run)) plains.set(run, { state: Uint8Array.from(run.looks, (look) => look.state), off: Uint8Array.from(run.looks, (look) => look.off) });
  return plains.get(run);
}
