// The walk of vtdkit.vtd over a record made by record.py, for any address. What each table entry says was judged there, by the walk itself
// (cells.py): here shapes are followed and their rights combined, and no rule is known. No DOM here.
//
// walk(record, address, kind) is the answer of the tables; walk(record, address, kind, true) the answer the device gets, from what the caches
// still hold. Addresses are BigInts. The answer is { ok: true, address, size, readable, writable, path } or { ok: false, label, code,
// recorded }, or
// { unknown: true } where the record leaves a table out. `steps` are the entries of the page tables on the way, `hit` the IOTLB entry used.

const READ = 1;
const WRITE = 2;

class Refused {
  constructor(label) {
    this.label = label;
  }
}

class LeftOut {}

const refuse = (label) => {
  throw new Refused(label);
};

// A page of the record as 512 words, unfolded when first asked for; nothing where no memory is, or where the record leaves it out.
export function words(record, page) {
  if (!unfolded.has(record)) unfolded.set(record, new Map());
  const pages = unfolded.get(record);
  if (!pages.has(page)) pages.set(page, unfold(record, page));
  return pages.get(page);
}

const unfolded = new WeakMap();

function unfold(record, page) {
  const kept = record.pages[nameOf(page)];
  if (!kept) return null;
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

const nameOf = (page) => `0x${page.toString(16)}`;
const isLeftOut = (record, page) => record.left_out > 0 && !record.pages[nameOf(page)] && !record.absent.includes(nameOf(page));

export const shiftOf = (level) => BigInt(3 + 9 * level);

// What a leaf maps, as a power of two: its level's size, or what its shape says (other makers' tables).
export const leafShift = (step) => step.shape?.shift ?? 3 + 9 * step.level;

// The shape of an entry of a page that is used as a table.
export function shapeAt(record, stage, level, page, index) {
  const runs = record.pages[nameOf(page)].cells[`${stage} ${level}`];
  const run = runs.find(([first, count]) => index < first + count);
  return record.shapes[run[2]];
}

function load(record, step, ask, root) {
  const page = step.at & ~0xfffn;
  const found = words(record, page);
  if (isLeftOut(record, page)) throw new LeftOut();
  const index = Number((step.at >> 3n) & 511n);
  if (!found || record.pages[nameOf(page)].broken?.includes(index)) {
    step.gone = true;
    refuse(record.unreadable[step.stage][ask][root ? 0 : 1]);
  }
  step.raw = found[index];
  step.shape = shapeAt(record, step.stage, step.level, page, index);
  step.leaf = step.shape.leaf;
}

export function walk(record, address, kind, remembered = false) {
  const job = { record, address, kind, remembered, steps: [], hit: null };
  job.way = remembered ? record.then : record.now;
  job.ask = `${job.way.name} ${kind}`;
  job.length = BigInt(Math.min(4, 4096 - Number(address & 0xfffn)));
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
const plain = (address, path) => ({ ok: true, address, size: 4096n, readable: true, writable: true, path });
const touches = ([low, high], from, to) => from < BigInt(high) && to > BigInt(low);

function grant(job) {
  const { record, address } = job;
  const window = touches(record.ranges_out.interrupt, address, address + job.length) ? record.window : null;
  if (window) {
    if (job.kind === "write" && job.length === 4n && (address & 3n) === 0n) return plain(address, "interrupt window");
    if (window.refused === "") return plain(address, "interrupt window");
    if (window.refused) refuse(window.refused);
  }
  if (job.way.off) return within(job, plain(address, "off"));
  if (job.way.refused.startsWith("RTA.")) refuse(job.way.refused);
  const found = job.remembered ? lookup(record, address, job.kind) : null;
  if (found) {
    job.hit = found;
    if (found.refuse[job.kind]) refuse(found.refuse[job.kind]);
    return finish(job, found.space, { base: BigInt(found.base), shift: found.shift, rights: found.rights });
  }
  const space = job.way.space;
  if (!space) refuse(job.way.refused);
  const [low, high, label] = space.outside;
  if (address >= BigInt(low) && address < BigInt(high)) refuse(label);
  return finish(job, space, pages(job, space));
}

// The IOTLB entry that answers a request: smallest pages first; a remembered refusal only for its own kind of access.
export function lookup(record, address, kind) {
  const covers = (entry) => address >> BigInt(entry.shift) === BigInt(entry.low) >> BigInt(entry.shift);
  const hits = record.held.iotlb.filter(covers);
  const granted = hits.filter((entry) => !entry.refusal).sort((a, b) => a.shift - b.shift)[0];
  const found = granted ?? hits.find((entry) => entry.refusal && entry.kind === kind) ?? null;
  return found && kind === "write" && found.marks ? null : found;
}

function pages(job, space) {
  const { address } = job;
  if (space.path === "PT") return { base: address & ~0xfffn, shift: 12, rights: READ | WRITE };
  if (space.path === "SS") return follow(job, space, "second", address, job.ask, job.steps);
  const inner = follow(job, space, "first", address, job.ask, job.steps);
  return space.path === "FS" ? inner : nested(job, space, inner);
}

// One of the unit's remembered upper entries of a stage, nearest the leaf, that is on the way to `address`.
function structure(job, space, stage, address) {
  if (!job.remembered) return null;
  const mine = (entry) => entry.stage === stage && entry.did === space.did && (stage === "second" || entry.tag === space.tag);
  const fits = (entry) => mine(entry) && BigInt(entry.prefix) === address >> shiftOf(entry.level);
  return job.record.held.structures.filter(fits).sort((a, b) => a.level - b.level)[0] ?? null;
}

// One stage, table by table: each entry goes on or refuses, and what is granted is what all entries grant.
function follow(job, space, stage, address, ask, steps) {
  const { record } = job;
  const top = space[`${stage}_levels`];
  let level = top;
  let table = BigInt(space[`${stage}_root`]);
  let rights = READ | WRITE;
  const known = structure(job, space, stage, address);
  if (known) {
    steps.push({ stage, level: known.level, raw: BigInt(known.raw), leaf: false, source: "cache", stale: known.stale });
    if (known.refuse[ask]) refuse(known.refuse[ask]);
    steps.at(-1).done = true;
    level = known.level - 1;
    table = BigInt(known.table);
    rights = known.rights;
  }
  for (; ; level--) {
    const index = Number((address >> shiftOf(level)) & 511n);
    const step = { stage, level, page: table & ~0xfffn, index, at: table + BigInt(8 * index), raw: 0n, leaf: level === 1, source: "memory" };
    steps.push(step);
    const updatable = stage === "second" || locate(job, space, step, level === top);
    const how = updatable ? ask : `${ask} fixed`;
    load(record, step, how, level === top);
    const [label, nothing, granted] = step.shape.says[how];
    if (!(rights & granted)) refuse(nothing || label);
    if (label) refuse(label);
    rights &= granted;
    step.next = step.raw & BigInt(step.shape.to);
    step.done = true;
    if (step.leaf) return { base: step.next, shift: leafShift(step), rights };
    table = step.next;
  }
}

// Under nesting the address of a first-stage entry is a guest's; the second stage says where it is. Returns whether it may be written.
function locate(job, space, step, root) {
  if (space.path !== "NEST") return true;
  step.guest = step.at;
  step.inner = [];
  const leaf = follow(job, space, "second", step.at, `${job.way.name} ${root ? "root" : "table"}`, step.inner);
  step.at = leaf.base | (step.guest & ((1n << BigInt(leaf.shift)) - 1n));
  step.page = step.at & ~0xfffn;
  return (leaf.rights & WRITE) !== 0;
}

function nested(job, space, inner) {
  const guest = inner.base | (job.address & ((1n << BigInt(inner.shift)) - 1n));
  job.guest = guest;
  const outer = follow(job, space, "second", guest, job.ask, job.steps);
  const shift = Math.min(inner.shift, outer.shift);
  const host = outer.base | (guest & ((1n << BigInt(outer.shift)) - 1n));
  return { base: host & -(1n << BigInt(shift)), shift, rights: inner.rights & outer.rights };
}

function finish(job, space, leaf) {
  const size = 1n << BigInt(leaf.shift);
  const address = leaf.base | (job.address & (size - 1n));
  const { interrupt, whole_page: whole } = job.record.ranges_out;
  if (touches(interrupt, whole ? leaf.base : address, whole ? leaf.base + size : address + job.length)) refuse(space.interrupt);
  const { rights } = leaf;
  return within(job, { ok: true, address, size, readable: (rights & READ) !== 0, writable: (rights & WRITE) !== 0, path: space.path });
}

// An answer, unless it leads into a protected memory region.
function within(job, answer) {
  const hit = job.record.ranges_out.protected.some((range) => touches(range, answer.address, answer.address + job.length));
  return hit ? refuse("PMR") : answer;
}
