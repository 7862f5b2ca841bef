// The walk of vtdkit.vtd over a record made by record.py, for any address. Order of the checks, labels and answers are those of
// engine.py, second.py and first.py there; all masks, limits and labels come with the record. No DOM here.
//
// walk(record, address, kind) is the answer of the tables; walk(record, address, kind, true) the answer the device gets, from what the caches
// still hold. Addresses are BigInts. The answer is { ok: true, address, size, readable, writable, path } or { ok: false, label, code,
// recorded }, or
// { unknown: true } where the record leaves a table out. `steps` are the entries of the page tables on the way, `hit` the IOTLB entry used.

import { there } from "../shared/common.js";

const READ = 1;
const WRITE = 2;
const A2 = 1n << 8n; // second stage: accessed, dirty
const D2 = 1n << 9n;
const FS = { P: 1n, RW: 2n, US: 4n, A: 1n << 5n, D: 1n << 6n, EA: 1n << 10n };
const LARGE = 0x80n;
const WINDOW = [0xfee00000n, 0xfef00000n];

class Refused {
  constructor(label) {
    this.label = label;
  }
}

class LeftOut {}

const refuse = (label) => {
  throw new Refused(label);
};

// A page of the record as 512 words, unfolded when first asked for; null where no memory is, undefined where the record leaves it out.
export function words(record, page) {
  if (!unfolded.has(record)) unfolded.set(record, new Map());
  const pages = unfolded.get(record);
  if (!pages.has(page)) pages.set(page, unfold(record, page));
  return pages.get(page);
}

const unfolded = new WeakMap();

function unfold(record, page) {
  const name = `0x${page.toString(16)}`;
  const kept = record.pages[name];
  if (!kept) return record.absent.includes(name) || record.left_out === 0 ? null : undefined;
  const made = new BigUint64Array(512);
  for (const run of kept.runs) {
    if (run.length === 2) made[run[0]] = BigInt(run[1]);
    else {
      let value = BigInt(run[2]);
      for (let i = 0; i < run[1]; i++, value = BigInt.asUintN(64, value + BigInt(run[3]))) made[run[0] + i] = value;
    }
  }
  return made;
}

function load(record, at, label, step) {
  const page = at & ~0xfffn;
  const found = words(record, page);
  if (found === undefined) throw new LeftOut();
  const index = Number((at >> 3n) & 511n);
  if (found === null || record.pages[`0x${page.toString(16)}`].broken?.includes(index)) {
    step.gone = true;
    refuse(label);
  }
  return found[index];
}

export const shiftOf = (level) => BigInt(3 + 9 * level);
export const isLeaf = (level, raw) => level === 1 || (level <= 3 && (raw & LARGE) !== 0n);
const mask = (record, name, level) => BigInt(record.rules[name][level]);

export function walk(record, address, kind, remembered = false) {
  const job = { record, address, kind, remembered, write: kind === "write", need: kind === "write" ? WRITE : READ, steps: [], hit: null };
  job.way = remembered ? record.then : record.now;
  job.length = Math.min(4, 4096 - Number(address & 0xfffn));
  try {
    return result(job, grant(job));
  } catch (end) {
    if (end instanceof Refused) {
      const last = job.steps.at(-1);
      if (last && !last.done) last.label = end.label;
      const fault = record.faults[end.label];
      const fpd = (job.hit?.space ?? job.way).fpd;
      return result(job, { ok: false, label: end.label, code: fault[kind], recorded: fault[kind] !== "" && !(fpd && fault.silenced) });
    }
    if (end instanceof LeftOut) return result(job, { unknown: true });
    throw end;
  }
}

const result = (job, answer) => ({ answer, steps: job.steps, hit: job.hit, way: job.way });

function grant(job) {
  const { record, address } = job;
  const window = touches(address, address + BigInt(job.length)) ? record.window : null;
  if (window) {
    if (job.write && job.length === 4 && (address & 3n) === 0n) return plain(address, "interrupt window");
    if (window.refused === "") return plain(address, "interrupt window");
    if (window.refused) refuse(window.refused);
  }
  if (job.way.off) return isProtected(job, address) ? refuse("PMR") : plain(address, "off");
  if (job.way.refused.startsWith("RTA.")) refuse(job.way.refused);
  const found = job.remembered ? lookup(record, address, job) : null;
  if (found) return fromIotlb(job, found);
  const space = job.way.space;
  if (!space) refuse(job.way.refused);
  job.supervisor = !there(record.pasid) && space.rid_priv;
  return finish(job, space, pages(job, space));
}

const plain = (address, path) => ({ ok: true, address, size: 4096n, readable: true, writable: true, path });
const touches = (low, high) => low < WINDOW[1] && high > WINDOW[0];

// The IOTLB entry that answers a request: smallest pages first; a remembered refusal only for its own kind of access.
export function lookup(record, address, job) {
  const covers = (entry) => address >> BigInt(entry.shift) === BigInt(entry.low) >> BigInt(entry.shift);
  const hits = record.held.iotlb.filter(covers);
  const granted = hits.filter((entry) => !entry.refusal).sort((a, b) => a.shift - b.shift)[0];
  const found = granted ?? hits.find((entry) => entry.refusal && entry.kind === job.kind) ?? null;
  if (!found || found.refusal) return found;
  // A write whose dirty flag is not set yet goes by the tables.
  job.supervisor = !there(record.pasid) && found.space.rid_priv;
  return job.write && !found.leaf.dirty && grantedBits(job, found.space, found.leaf) & WRITE ? null : found;
}

function fromIotlb(job, found) {
  job.hit = found;
  job.supervisor = !there(job.record.pasid) && found.space.rid_priv;
  if (found.refusal) refuse(found.refusal);
  if (job.supervisor && !found.space.sre) refuse("SPT.6");
  return finish(job, found.space, found.leaf);
}

function pages(job, space) {
  const { record, address } = job;
  if (space.path === "PT") {
    const wide = address >= BigInt(record.rules.host_limit) && !record.rules.pass_through_unchecked;
    if (wide) refuse(space.legacy ? "LGN.1.3" : "SGN.4.2");
    return { base: address & ~0xfffn, shift: 12, user: true, first_writable: true, readable: true, writable: true };
  }
  if (space.path === "SS") {
    if (address >= BigInt(space.second_limit)) refuse(space.legacy ? "LGN.1.1" : "SGN.5");
    const ask = { need: job.need, sites: record.rules.sites[space.legacy ? "legacy" : "scalable"], dirties: job.write };
    return second(job, space, address, ask, job.steps);
  }
  const inner = first(job, space);
  return space.path === "FS" ? inner : nested(job, space, inner);
}

// One of the unit's remembered upper entries of a stage, nearest the leaf, that is on the way to `address`.
function structure(job, space, stage, address) {
  if (!job.remembered) return null;
  const mine = (entry) => entry.stage === stage && entry.did === space.did && (stage === "second" || entry.tag === space.tag);
  const fits = (entry) => mine(entry) && BigInt(entry.prefix) === address >> shiftOf(entry.level);
  return job.record.held.structures.filter(fits).sort((a, b) => a.level - b.level)[0] ?? null;
}

function second(job, space, address, ask, steps) {
  const { record } = job;
  const { rules } = record;
  let level = space.second_levels;
  let table = BigInt(space.second_root);
  let allowed = READ | WRITE;
  const known = structure(job, space, "second", address);
  if (known) {
    steps.push({ stage: "second", level: known.level, raw: BigInt(known.raw), leaf: false, source: "cache", stale: known.stale });
    level = known.level - 1;
    table = BigInt(known.table);
    allowed = known.allowed;
    permission(allowed, ask);
    steps.at(-1).done = true;
  }
  for (; ; level--) {
    const step = open(steps, "second", level, table, address);
    const raw = (step.raw = load(record, step.at, level === space.second_levels ? ask.sites.root : ask.sites.lower, step));
    const leaf = (step.leaf = isLeaf(level, raw));
    const here = Number((raw >> BigInt(rules.permission_shift)) & 3n);
    if (!here || !(allowed & here)) refuse(ask.sites.absent || (job.write ? ask.sites.write : ask.sites.read));
    const wrong = (raw & mask(record, leaf ? "second_leaf" : "second_table", level)) !== 0n;
    if (wrong && rules.reserved_first) refuse(ask.sites.reserved);
    permission(allowed & here, ask);
    if (wrong) refuse(ask.sites.reserved);
    allowed &= here;
    let dirty = !space.ssade;
    if (space.ssade) {
      const wanted = raw | A2 | (leaf && ask.dirties && allowed & WRITE ? D2 : 0n);
      if (wanted !== raw && !space.snooped && !rules.flags_without_snoop) refuse(ask.sites.unsnooped);
      dirty = (wanted & D2) !== 0n;
    }
    close(record, step);
    if (leaf) {
      const base = step.next & -(1n << shiftOf(level));
      return { base, shift: 3 + 9 * level, level, user: true, first_writable: true, readable: !!(allowed & READ), writable: !!(allowed & WRITE), dirty };
    }
    table = step.next;
  }
}

function open(steps, stage, level, table, address) {
  const index = Number((address >> shiftOf(level)) & 511n);
  const step = { stage, level, page: table & ~0xfffn, index, at: table + BigInt(8 * index), raw: 0n, leaf: level === 1, source: "memory" };
  steps.push(step);
  return step;
}

function close(record, step) {
  step.next = step.raw & BigInt(record.rules.address);
  if (step.leaf) step.next &= -(1n << shiftOf(step.level));
  step.done = true;
}

function permission(allowed, ask) {
  const missing = ask.need & ~allowed;
  if (missing) refuse(missing & WRITE ? ask.sites.write : ask.sites.read);
}

function first(job, space) {
  const { record, address } = job;
  let level = space.first_levels;
  const top = BigInt(11 + 9 * level);
  const sign = address >> top;
  if (sign !== 0n && sign !== (1n << (64n - top)) - 1n) refuse("SGN.1");
  let table = BigInt(space.first_root);
  let user = true;
  let writable = true;
  const known = structure(job, space, "first", address);
  if (known) {
    job.steps.push({ stage: "first", level: known.level, raw: BigInt(known.raw), leaf: false, source: "cache", stale: known.stale });
    level = known.level - 1;
    table = BigInt(known.table);
    user = (known.allowed & 4) !== 0;
    writable = (known.allowed & 2) !== 0;
    rights(job, space, user, writable);
    job.steps.at(-1).done = true;
  }
  for (; ; level--) {
    const root = level === space.first_levels;
    const step = open(job.steps, "first", level, table, address);
    const updatable = locate(job, space, step, root);
    const raw = (step.raw = load(record, step.at, root ? "SFS.4" : "SFS.1", step));
    const leaf = (step.leaf = isLeaf(level, raw));
    user &&= (raw & FS.US) !== 0n;
    writable &&= (raw & FS.RW) !== 0n;
    check(job, space, step, user, writable);
    const dirty = flags(job, space, step, updatable, writable);
    close(record, step);
    if (space.path === "NEST" && (raw & BigInt(record.rules.address)) >= BigInt(space.second_limit)) {
      step.done = false;
      refuse("SFS.5");
    }
    if (leaf) return { base: step.next, shift: 3 + 9 * level, level, user, first_writable: writable, readable: true, writable: true, dirty };
    table = step.next;
  }
}

// Under nesting the address of a first-stage entry is a guest's; the second stage says where it is. Returns whether it may be written.
function locate(job, space, step, root) {
  if (space.path !== "NEST") return true;
  const sites = job.record.rules.sites[root ? "first_root" : "first_table"];
  step.guest = step.at;
  step.inner = [];
  const leaf = second(job, space, step.at, { need: space.ssade ? READ | WRITE : READ, sites, dirties: space.ssade }, step.inner);
  step.at = leaf.base | (step.guest & ((1n << BigInt(leaf.shift)) - 1n));
  step.page = step.at & ~0xfffn;
  return leaf.writable;
}

function check(job, space, step, user, writable) {
  const { record } = job;
  if (!(step.raw & FS.P)) refuse("SFS.2");
  const wrong = (step.raw & mask(record, step.leaf ? "first_leaf" : "first_table", step.level)) !== 0n;
  if (wrong && record.rules.reserved_first) refuse("SFS.3");
  rights(job, space, user, writable);
  if (wrong) refuse("SFS.3");
}

const mayWrite = (job, space, writable) => writable || (job.supervisor && !space.wpe);

function rights(job, space, user, writable) {
  if (!user && !job.supervisor) refuse("SGN.2");
  if (job.write && !mayWrite(job, space, writable)) refuse("SGN.6");
}

// Accessed and dirty flags that are not set yet have to be, which takes a snooped walk and a writable entry.
function flags(job, space, step, updatable, writable) {
  const dirties = step.leaf && job.write && mayWrite(job, space, writable);
  const wanted = step.raw | FS.A | (space.eafe ? FS.EA : 0n) | (dirties ? FS.D : 0n);
  if (wanted !== step.raw) {
    if (!space.snooped && !job.record.rules.flags_without_snoop) refuse("SFS.9");
    if (!updatable) refuse("SFS.8");
  }
  return (wanted & FS.D) !== 0n;
}

function nested(job, space, inner) {
  const guest = inner.base | (job.address & ((1n << BigInt(inner.shift)) - 1n));
  job.guest = guest;
  const dirties = job.write && mayWrite(job, space, inner.first_writable);
  const outer = second(job, space, guest, { need: job.need, sites: job.record.rules.sites.scalable, dirties }, job.steps);
  const shift = Math.min(inner.shift, outer.shift);
  const host = outer.base | (guest & ((1n << BigInt(outer.shift)) - 1n));
  return { ...outer, base: host & -(1n << BigInt(shift)), shift, user: inner.user, first_writable: inner.first_writable };
}

function grantedBits(job, space, leaf) {
  const staged = space.path === "FS" || space.path === "NEST";
  if (staged && !(leaf.user || job.supervisor)) return 0;
  return (leaf.readable ? READ : 0) | (leaf.writable && mayWrite(job, space, leaf.first_writable) ? WRITE : 0);
}

function isProtected(job, address) {
  const high = address + BigInt(job.length);
  return job.record.rules.protected.some(([low, last]) => address <= BigInt(last) && high > BigInt(low));
}

function finish(job, space, leaf) {
  const granted = grantedBits(job, space, leaf);
  const staged = space.path === "FS" || space.path === "NEST";
  if (staged && !(leaf.user || job.supervisor)) refuse("SGN.2");
  if (job.need & ~granted) {
    const names = space.legacy ? ["LGN.3", "LGN.2"] : ["SGN.7", "SGN.6"];
    refuse(names[job.write ? 1 : 0]);
  }
  const size = 1n << BigInt(leaf.shift);
  const base = BigInt(leaf.base);
  const address = base | (job.address & (size - 1n));
  const whole = job.record.rules.interrupt_page;
  if (touches(whole ? base : address, whole ? base + size : address + BigInt(job.length))) refuse(space.legacy ? "LGN.4" : "SGN.8.1");
  if (isProtected(job, address)) refuse("PMR");
  return { ok: true, address, size, readable: !!(granted & READ), writable: !!(granted & WRITE), path: space.path };
}
