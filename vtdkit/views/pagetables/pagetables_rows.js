// What the explorer shows for one address, as plain data: a row for each table on the way, the answer, what the device gets instead. No DOM.

import { leafShift, shapeAt, shiftOf, walk, words } from "./pagewalk.js";
import { bytes, grouped, there } from "../shared/common.js";

export const address = (value) => grouped(value, 4);
const STAGES = { first: "First stage", second: "Second stage" };

// { rows, answer, device, note }: see rowsOf, told and remembered below.
export function look(record, iova, kind) {
  const found = walk(record, iova, kind);
  const device = walk(record, iova, kind, true);
  return { rows: rowsOf(record, iova, found), answer: told(record, iova, kind, found), note: remembered(record, iova, kind, found, device) };
}

// One row a table: { key, name, purpose, state, index, entries, raw, says, layout, strip, level, stage, shift, at }.
// `state` is "passed", "stopped", "away" (the walk did not get here) or "skipped" (an entry above maps a larger page).
function rowsOf(record, iova, found) {
  const { way } = found;
  const front = way.steps.map((step, number) => frontRow(step, way.refused !== "" && number === way.steps.length - 1));
  return [...front, ...levelsOf(way.space).map(([stage, level]) => levelRow(record, iova, found, stage, level)), pageRow(found)];
}

// The levels of a space from the top, as [stage, level].
export function levelsOf(space) {
  if (!space) return [];
  const down = (stage, levels) => Array.from({ length: levels }, (_, number) => [stage, levels - number]);
  const first = space.path === "FS" || space.path === "NEST" ? down("first", space.first_levels) : [];
  const second = space.path === "SS" || space.path === "NEST" ? down("second", space.second_levels) : [];
  return [...first, ...second];
}

function frontRow(step, stopped) {
  return {
    key: step.kind,
    name: step.name,
    purpose: step.purpose,
    state: stopped ? "stopped" : "passed",
    index: step.index,
    entries: step.entries ?? 0,
    raw: BigInt(step.raw),
    says: stopped ? "the way ends here" : step.why.replace(/0x[0-9a-f]{5,}/g, (number) => address(BigInt(number))),
    layout: step.kind,
    strip: { kind: "front", first: step.first ?? 0, size: step.entries ?? 0, present: step.present ?? [] },
    fill: step.present?.includes(step.index - step.first) ? "table" : null,
    at: BigInt(step.address),
  };
}

function levelRow(record, iova, found, stage, level) {
  const nest = found.way.space.path === "NEST";
  const high = Number(shiftOf(level)) + 8;
  const row = {
    key: `${stage} ${level}`,
    name: nest ? `${STAGES[stage]}, level ${level}` : `Level ${level}`,
    purpose: nest && stage === "second" ? `guest address bits ${high}–${high - 8}` : `address bits ${high}–${high - 8}`,
    stage,
    level,
    shift: shiftOf(level),
    base: iova & ~((512n << shiftOf(level)) - 1n),
    entries: 512,
    moves: !(nest && stage === "second"),
  };
  const step = found.steps.find((each) => each.stage === stage && each.level === level && each.source === "memory");
  if (!there(step?.page)) return { ...row, ...unreached(found, stage, level) };
  const stopped = !step.done;
  return {
    ...row,
    state: stopped ? "stopped" : "passed",
    index: step.index,
    raw: step.raw,
    leaf: step.leaf,
    layout: `${stage} ${level} ${step.leaf ? "leaf" : "table"}`,
    strip: { kind: "table", stage, level, page: step.page },
    fill: step.shape ? step.shape.look || null : null,
    at: step.at,
    guest: step.guest,
    says: stopped ? stop(step) : step.leaf ? `maps ${bytes(1n << BigInt(leafShift(step)))} at ${address(step.next)}` : `next table at ${address(step.next)}`,
    freed: record.pages[`0x${step.page.toString(16)}`]?.freed ?? false,
  };
}

const stop = (step) => (step.gone ? "there is no memory here" : step.raw === 0n ? "empty: the way ends here" : "the way ends here");

function unreached(found, stage, level) {
  const leaf = found.steps.find((step) => step.stage === stage && step.leaf && step.level > level && step.done);
  if (leaf) return { state: "skipped", says: `not used: the entry above maps ${bytes(1n << BigInt(leafShift(leaf)))} at once` };
  return { state: "away", says: "the walk does not get here" };
}

function pageRow({ answer }) {
  const row = { key: "page", name: "Memory", purpose: "where the bytes are", moves: true, entries: 0 };
  if (!answer.ok) return { ...row, state: "away", says: answer.unknown ? "not known from this record" : "not reached" };
  return { ...row, state: "passed", says: address(answer.address), page: answer };
}

const allows = ({ readable, writable }) => (readable && writable ? "read and write" : readable ? "read only" : writable ? "write only" : "no access");
const PATHS = {
  off: "remapping is off: the address is used as it is",
  PT: "pass-through: the address is used as it is",
  "interrupt window": "an interrupt message: it goes through the interrupt table, not through these tables",
};

// The answer of the tables: { good, head, detail }.
function told(record, iova, kind, { answer }) {
  const verb = kind === "write" ? "writes to" : "reads";
  const who = `${record.device} ${verb} ${address(iova)}`;
  if (answer.unknown) {
    return { good: null, head: `${who}: not in this record`, detail: `${record.left_out} tables were left out; make the explorer with iova= near this address.` };
  }
  if (answer.ok) {
    const detail = PATHS[answer.path] ?? `${bytes(answer.size)} page, ${allows(answer)}`;
    return { good: true, head: answer.path === "interrupt window" ? who : `${who} → memory ${address(answer.address)}`, detail };
  }
  const fault = record.faults[answer.label];
  const code = answer.code ? `fault code ${answer.code}` : "no fault code";
  const log = answer.recorded ? "" : ", not recorded";
  return { good: false, head: `${who}: refused, ${code}${log}`, detail: fault.says, label: answer.label, name: fault.name };
}

// What the caches make of it: { state, text }: "none", "agrees", "stale", or "" when there are no caches to speak of.
function remembered(record, iova, kind, found, device) {
  if (found.answer.unknown || found.way.off) return { state: "", text: "" };
  const same = outcome(found.answer) === outcome(device.answer);
  const hit = device.hit;
  if (!same) {
    const gets = device.answer.ok ? `the device still reaches memory ${address(device.answer.address)}` : "the device is still refused";
    const what = hit ? "the IOTLB remembers an older answer" : "the unit remembers an older entry above this page";
    return { state: "stale", text: `Stale: ${what}: ${gets}, until it is invalidated.` };
  }
  if (hit) return { state: "agrees", text: "The IOTLB remembers this page and agrees with the tables." };
  return { state: "none", text: "Not in the IOTLB: the next DMA here walks the tables." };
}

const outcome = (answer) => (answer.ok ? `${answer.address} ${answer.readable} ${answer.writable}` : answer.unknown ? "unknown" : answer.label);

// Every IOTLB entry as [low, high, stale], for marks below the strips; each row of each step asks for them.
export function marks(record) {
  if (!marked.has(record)) {
    marked.set(record, record.held.iotlb.map(({ low, shift, stale }) => [BigInt(low), BigInt(low) + (1n << BigInt(shift)), stale]));
  }
  return marked.get(record);
}

const marked = new WeakMap();

// One table as 512 cells in runs: [index, count, kind, weight]. Kinds: "table" (weight: how full, 0 to 1), "both", "read", "write", "wrong", "out".
export function cells(record, { stage, level, page }) {
  const found = words(record, page);
  if (!found) return [];
  const under = record.pages[`0x${page.toString(16)}`].under;
  const runs = [];
  for (let index = 0; index < 512; index++) {
    const [kind, weight] = cell(record, stage, level, page, index, under[index]);
    const last = runs.at(-1);
    if (!kind) continue;
    if (last && last[2] === kind && last[3] === weight && last[0] + last[1] === index) last[1]++;
    else runs.push([index, 1, kind, weight]);
  }
  return runs;
}

function cell(record, stage, level, page, index, under) {
  const { look } = shapeAt(record, stage, level, page, index);
  if (look !== "table") return [look || null, look ? 1 : 0];
  return there(under) ? ["table", fullness(under, level)] : ["out", 0];
}

// How much of what a table entry covers is mapped, on a scale on which one page can still be seen.
export function fullness(pages, level) {
  return pages === 0 ? 0 : (1 + Math.log2(pages)) / (1 + 9 * (level - 1));
}

// The eight entries (64 bytes) that the one in use belongs to and one on each side, for a close look: [{ index, raw, lit, says }]. The list
// stays the same while the mark goes through it.
export function neighbours(record, row) {
  if (row?.strip?.kind !== "table") return [];
  const found = words(record, row.strip.page);
  if (!found) return [];
  const first = Math.max(0, Math.min(502, (row.index & ~7) - 1));
  return Array.from({ length: 10 }, (_, number) => near(record, row, first + number, found[first + number]));
}

function near(record, row, index, raw) {
  const { stage, level, page } = row.strip;
  const under = record.pages[`0x${page.toString(16)}`].under[index];
  const [kind] = cell(record, stage, level, page, index, under);
  const to = address(raw & BigInt(shapeAt(record, stage, level, page, index).to));
  const says = { wrong: "reserved bit set", out: `table at ${to}, left out`, table: `table at ${to}, ${under} pages below` };
  const maps = { both: "read, write", read: "read only", write: "write only" };
  return { index, raw, lit: index === row.index, says: kind ? (says[kind] ?? `→ ${to}  ${maps[kind]}`) : raw === 0n ? "empty" : "not present" };
}

// The start of the mapped range after or before an address; null where there is none.
export function mappedAfter(record, iova) {
  const next = record.ranges.find(([low]) => BigInt(low) > iova);
  return next ? BigInt(next[0]) : null;
}

export function mappedBefore(record, iova) {
  const before = record.ranges.filter(([low]) => BigInt(low) < iova).at(-1);
  return before ? BigInt(before[0]) : null;
}

// The next stale IOTLB entry after an address, round to the first.
export function staleAfter(record, iova) {
  const stale = marks(record).filter(([, , is]) => is);
  const next = stale.find(([low]) => low > iova) ?? stale[0];
  return next ? next[0] : null;
}
