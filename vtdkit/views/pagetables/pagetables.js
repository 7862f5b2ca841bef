// The page-table explorer in the browser. The record has one or two sides (before and after), shown with one cursor.

import { bytes, button, el, frame, keys, legend, move, put, renew, slider, steady, svg, there, watch } from "../shared/common.js";
import { linked, number64, oneOf, whole } from "../shared/link.js";
import { explained, fieldTable } from "../bits/fields.js";
import { address, cells, levelsOf, look, mappedAfter, mappedBefore, marks, neighbours, staleAfter } from "./pagetables_rows.js";

const TOP = 1n << 64n;
const HEIGHT = 24;
const HINTS = [
  ["← →", "the next page, or the next entry of the table that is chosen"],
  ["↑ ↓", "choose a table (or click its name)"],
  ["Shift ← →", "the mapped range before, after"],
  ["Home End", "the first, the last mapped range"],
];

function render({ model, el: host, signal }) {
  const record = model.get("record");
  const merged = record.more.map(({ device, title, sides }) => ({ device, title, sides: sides.map((side, i) => ({ ...record.sides[i], ...side })) }));
  const choices = [{ device: record.device, title: record.title, sides: record.sides }, ...merged];
  for (const choice of choices) choice.sides = choice.sides.map((side, i) => ({ ...side, name: record.names[i] }));
  const view = frame(host, { title: record.title, hints: HINTS, words: record.words });
  view.root.classList.add("vtd-pt");
  view.status.classList.add("vtd-hidden");
  const chosen = () => choices.find(({ device }) => device === model.get("device")) ?? choices[0];
  const stale = choices.map(({ sides }) => Math.max(...sides.map(staleIn))).reduce((sum, count) => sum + count, 0);
  const controls = el("span", { class: "vtd-controls" });
  const chooser = choices.length > 1 ? deviceField(choices, (choice) => {
    const [side] = choice.sides, first = side.ranges.length ? { iova: side.ranges[0][0] } : {};
    move(model, { device: choice.device, row: -1, ...first });
  }, (text) => view.say(text)) : null;
  view.controls.append(...[chooser?.node, controls].filter(there));
  let shown = null, now = null;
  const draw = () => {
    if (now !== chosen()) {
      now = chosen();
      chooser?.show(now.device);
      view.title.textContent = now.title;
      shown = explorer(model, view, controls, now.sides, stale);
    }
    shown();
  };
  watch(model, ["device", "iova", "kind", "row"], draw, signal);
  const devices = oneOf(choices.map(({ device }) => device));
  linked(view, model, "explorer", { device: devices, iova: number64, kind: oneOf(["read", "write"]), row: whole(-1, 15) }, signal);
}

const staleIn = (side) => marks(side).filter(([, , stale]) => stale).length;

// What is shown of one device; returns what draws it at the present position.
function explorer(model, view, controls, sides, staleOfAll) {
  const [lead] = sides;
  const iova = () => BigInt(model.get("iova"));
  const go = (to) => move(model, { iova: `0x${clamp(to).toString(16)}` });
  const clamp = (to) => (to < 0n ? 0n : to >= TOP ? TOP - 1n : to);
  const front = lead.now.steps.length;
  const tables = front + levelsOf(lead.now.space).length;
  // -1: the last table that the walk reached, whichever it is; the arrows then move by pages.
  const chosen = () => (model.get("row") >= tables ? -1 : model.get("row"));

  controls.replaceChildren();
  const entry = addressField(controls, go, (text) => view.say(text));
  const kinds = ["read", "write"].map((kind) => button(kind, () => move(model, { kind }), { hint: `a DMA that ${kind}s 4 bytes` }));
  controls.append(el("span", { class: "vtd-pair", role: "group", "aria-label": "kind of access" }, kinds));
  controls.append(...jumps(sides, iova, go, staleOfAll));

  const bar = addressBar(lead);
  const set = slider(bar.node, { label: "DMA address", max: Number((TOP >> 12n) - 1n), go: (where) => steps[where]?.(), more: { ArrowUp: () => choose(-1), ArrowDown: () => choose(1) } });
  let lit = tables - 1; // the table that is shown as chosen
  const choose = (by) => {
    const to = lit + by;
    move(model, { row: to >= tables ? -1 : Math.max(0, to) });
  };
  const jump = (to) => there(to) && go(to);
  const steps = {
    next: () => go(iova() + stride()),
    back: () => go(iova() - stride()),
    more: () => jump(mappedAfter(lead, iova())),
    less: () => jump(mappedBefore(lead, iova())),
    first: () => go(lead.ranges.length ? BigInt(lead.ranges[0][0]) : 0n),
    last: () => jump(lead.ranges.length ? BigInt(lead.ranges.at(-1)[0]) : null),
  };
  const stride = () => {
    const level = levelsOf(lead.now.space)[chosen() - front];
    const moves = level && !(lead.now.space.path === "NEST" && level[0] === "second");
    return moves ? 1n << BigInt(3 + 9 * level[1]) : 4096n;
  };

  const shown = sides.map((side) => sideView(side, { many: sides.length > 1, go, iova, select: (row) => move(model, { row: row >= tables ? -1 : row }) }));
  const both = el("div", { class: `vtd-pt-sides ${sides.length > 1 ? "vtd-pt-two" : "vtd-pt-one"}` }, shown.map((side) => side.node));
  steady(both);
  view.body.replaceChildren(bar.node, both, signs(sides));

  return () => {
    const at = iova();
    const kind = model.get("kind");
    const row = chosen();
    entry.show(at);
    kinds.forEach((node, number) => node.setAttribute("aria-pressed", String(["read", "write"][number] === kind)));
    bar.draw(at, row < 0 ? tables - front - 1 : row - front);
    const looks = sides.map((side) => look(side, at, kind));
    lit = row < 0 ? looks[0].rows.indexOf(deepest(looks[0].rows)) : row;
    shown.forEach((side, number) => side.draw(looks[number], row, looks[1 - number]));
    const said = looks.map(({ answer, note }, number) => `${sides.length > 1 ? `${sides[number].name}: ` : ""}${answer.head}. ${answer.detail} ${note.text}`);
    view.say(said.join(" "));
    set(Number(at >> 12n), `${address(at)}, ${looks.map(({ answer }) => answer.head.replace(/^.*?(→|:) ?/, "")).join(", ")}`);
  };
}

let made = 0;

// Which device, to be searched for by what one types: its number, its driver or its PASID.
function deviceField(choices, choose, say) {
  made += 1;
  const list = el("datalist", { id: `vtd-pt-${made}` }, choices.map(({ device }) => el("option", { value: device })));
  const input = el("input", { type: "text", size: 22, spellcheck: "false", autocomplete: "off", list: list.id, "aria-label": "device" });
  let now = "";
  const take = () => {
    const text = input.value.trim(), found = choices.filter(({ device }) => device.includes(text));
    const choice = choices.find(({ device }) => device === text) ?? (text && found.length === 1 ? found[0] : undefined);
    if (choice && choice.device !== now) choose(choice);
    return choice;
  };
  input.addEventListener("focus", () => { // else the list has only what is like the present one
    input.placeholder = now;
    input.value = "";
  });
  input.addEventListener("blur", () => (input.value = now));
  input.addEventListener("input", take);
  keys(input, { Enter: () => take() ?? say(`“${input.value}” is none of the ${choices.length} devices in this record, or several of them.`) });
  return {
    node: el("label", { class: "vtd-field" }, el("span", { text: "device" }), input, list),
    show: (device) => {
      now = input.placeholder = device;
      if (document.activeElement !== input) input.value = device;
    },
  };
}

function addressField(controls, go, say) {
  const input = el("input", { type: "text", size: 20, spellcheck: "false", autocomplete: "off", "aria-label": "DMA address, hexadecimal" });
  const read = () => {
    const text = input.value.replaceAll("_", "").trim();
    const good = /^(0x)?[0-9a-f]{1,16}$/i.test(text);
    input.setAttribute("aria-invalid", String(!good));
    if (good) go(BigInt(text.toLowerCase().startsWith("0x") ? text : `0x${text}`));
    else say(`“${input.value}” is no address: write up to 16 hexadecimal digits.`);
  };
  input.addEventListener("input", read);
  keys(input, { Enter: read });
  controls.append(el("label", { class: "vtd-field" }, el("span", { text: "DMA address" }), input));
  return {
    show: (at) => {
      if (document.activeElement === input && input.value) return;
      input.value = address(at);
      input.setAttribute("aria-invalid", "false");
    },
  };
}

function jumps(sides, iova, go, staleOfAll) {
  const made = [];
  if (sides.some((side) => side.ranges.length)) {
    const nearest = (found, sign) => found.filter(there).sort((a, b) => (a < b ? -sign : sign))[0];
    const jump = (find, sign) => () => {
      const to = nearest(sides.map((side) => find(side, iova())), sign);
      if (there(to)) go(to);
    };
    made.push(button("◂ mapped", jump(mappedBefore, -1), { hint: "to the mapped range before" }));
    made.push(button("mapped ▸", jump(mappedAfter, 1), { hint: "to the next mapped range" }));
  }
  const side = sides.find(staleIn);
  if (side) {
    const count = staleIn(side), all = staleOfAll > count ? ` of ${staleOfAll}` : "";
    const hint = `to the next page that the IOTLB remembers wrongly; this device has ${count}${all && `, all devices here have ${staleOfAll}`}`;
    made.push(button(`stale ▸ (${count}${all})`, () => go(staleAfter(side, iova())), { hint }));
  }
  return made;
}

// The address as the unit reads it: groups of bits, each the number of an entry. Returns { node, draw }.
function addressBar(side) {
  const levels = levelsOf(side.now.space).filter(([stage], _, all) => stage === all[0][0]);
  const groups = levels.map(([, level]) => ({ name: `level ${level}`, shift: BigInt(3 + 9 * level), bits: 9 }));
  if (groups.length) groups.unshift({ name: "unused", shift: groups[0].shift + 9n, bits: 64 - Number(groups[0].shift) - 9 });
  else groups.push({ name: "page number", shift: 12n, bits: 52 });
  groups.push({ name: "byte in page", shift: 0n, bits: 12 });
  const parts = groups.map(({ name, shift, bits }) => {
    const digits = el("code", {});
    const value = el("span", { class: "vtd-pt-value" });
    const caption = el("span", { class: "vtd-soft", text: `bits ${Number(shift) + bits - 1}–${shift}` });
    const node = el("span", { class: `vtd-pt-group ${name === "unused" ? "vtd-pt-unused" : ""}` }, caption, digits, value);
    return { node, digits, value, name, shift, mask: (1n << BigInt(bits)) - 1n, bits };
  });
  const node = el("div", { class: "vtd-pt-bar" }, parts.map((part) => part.node));
  const draw = (at, row) => {
    parts.forEach((part, number) => {
      const value = (at >> part.shift) & part.mask;
      part.digits.textContent = part.bits === 9 ? value.toString(2).padStart(9, "0") : `0x${value.toString(16)}`;
      part.value.textContent = part.bits === 9 ? `${part.name}: entry ${value}` : part.name === "unused" ? "above the tables" : part.name;
      part.node.classList.toggle("vtd-on", part.bits === 9 && number - 1 === row);
    });
  };
  return { node, draw };
}

function signs(sides) {
  const kinds = [
    ["vtd-pt-s-table", "leads to a table; higher: more is mapped below it"],
    ["vtd-pt-s-both", "maps a page: read and write"],
    ["vtd-pt-s-read", "read only (lower half) or write only (upper half)"],
    ["vtd-pt-s-wrong", "has a reserved bit set"],
  ];
  if (sides.some((side) => side.left_out)) kinds.push(["vtd-pt-s-out", "table left out of this record"]);
  if (sides.some((side) => side.held.iotlb.length)) kinds.push(["vtd-pt-s-held", "in the IOTLB"], ["vtd-pt-s-stale", "in the IOTLB, stale"]);
  return legend(kinds);
}

// One side: a row for each table, the answer, the bits of the chosen entry. Returns { node, draw }.
function sideView(side, { many, go, iova, select }) {
  const rows = [];
  const list = el("div", { class: "vtd-pt-rows", role: "group", "aria-label": `tables${many ? `, ${side.name}` : ""}` });
  const answer = el("div", { class: "vtd-pt-answer" });
  const bits = el("div", { class: "vtd-pt-bits" });
  const close = el("div", { class: "vtd-pt-close" });
  const heading = el("div", { class: "vtd-pt-name", text: many ? side.name : "" });
  const node = el("div", { class: "vtd-pt-side" }, heading, list, answer, el("div", { class: "vtd-pt-detail" }, bits, close));
  const drag = (shift, index) => go((iova() & ~(511n << shift)) | (BigInt(index) << shift));
  let current = null; // the row whose entries are shown close up
  close.addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    if (line && current.moves) drag(current.shift, Number(line.dataset.index));
  });
  const draw = (found, chosen, other) => {
    while (rows.length < found.rows.length) {
      rows.push(rowView(side, rows.length, { drag, select }));
      list.append(rows.at(-1).node);
    }
    const picked = chosen < 0 ? deepest(found.rows) : found.rows[chosen];
    found.rows.forEach((row, number) => rows[number].draw(row, row === picked, found.rows[number - 1], other && differs(row, other.rows[number])));
    answerView(answer, side, found);
    bitsView(bits, side, picked);
    closeView(close, side, picked);
    current = picked;
  };
  return { node, draw };
}

const deepest = (rows) => rows.filter((row) => there(row.raw)).at(-1);
const differs = (row, other) => !other || row.raw !== other.raw || row.says !== other.says;

function rowView(side, number, { drag, select }) {
  const name = el("button", { type: "button", class: "vtd-pt-pick", onclick: () => select(number) });
  const purpose = el("span", { class: "vtd-pt-purpose" });
  const strip = stripView(side, drag);
  const says = el("div", { class: "vtd-pt-says" });
  const differ = el("span", { class: "vtd-chip", text: "≠ differs", hidden: true });
  const node = el("div", { class: "vtd-pt-row" }, el("div", { class: "vtd-pt-label" }, name, differ, purpose), strip.node, says);
  const draw = (row, chosen, above, changed) => {
    name.textContent = row.name;
    name.setAttribute("aria-pressed", String(chosen));
    purpose.textContent = row.purpose;
    node.className = `vtd-pt-row vtd-pt-${row.state} ${chosen ? "vtd-on" : ""}`;
    strip.draw(row, above);
    const sign = { passed: "", stopped: "✗ ", away: "", skipped: "" }[row.state];
    const place = there(row.index) ? `entry ${row.index}: ` : "";
    const freed = row.freed ? el("span", { class: "vtd-chip vtd-chip-bad", text: "freed page", title: "the driver has given this page back; the unit still reads it" }) : null;
    renew(says, `${sign}${place}${row.says}`, freed);
    differ.hidden = !changed;
  };
  return { node, draw };
}

// A strip of entries with a mark on the one in use, and a wedge from the entry above that opens into it.
function stripView(side, drag) {
  const wedge = svg("polygon", { class: "vtd-pt-wedge" });
  const areas = new Map(["table", "both", "read", "write", "wrong", "out"].map((kind) => [kind, svg("path", { class: `vtd-pt-${kind}` })]));
  const lit = svg("rect", { class: "vtd-pt-lit", y: 0, height: HEIGHT });
  const held = svg("path", { class: "vtd-pt-held" });
  const stale = svg("path", { class: "vtd-pt-stale" });
  const opening = svg("svg", { class: "vtd-pt-opening", viewBox: "0 0 512 12", preserveAspectRatio: "none", "aria-hidden": "true" }, wedge);
  const picture = svg("svg", { class: "vtd-pt-strip", viewBox: `0 0 512 ${HEIGHT + 6}`, preserveAspectRatio: "none", "aria-hidden": "true" }, [...areas.values()], lit, held, stale);
  const page = el("div", { class: "vtd-pt-page" });
  const node = el("div", { class: "vtd-pt-graph" }, opening, picture, page);
  const drawn = new Map();
  let row = null;
  const at = (event) => {
    const box = picture.getBoundingClientRect();
    return Math.max(0, Math.min(511, Math.floor(((event.clientX - box.left) / box.width) * 512)));
  };
  const pull = (event) => {
    if (row?.moves && there(row.shift) && (event.type === "pointerdown" || event.buttons & 1)) {
      if (event.type === "pointerdown") picture.setPointerCapture(event.pointerId);
      drag(row.shift, at(event));
    }
  };
  picture.addEventListener("pointerdown", pull);
  picture.addEventListener("pointermove", pull);
  const draw = (given, above) => {
    row = given;
    node.classList.toggle("vtd-pt-moves", Boolean(row.moves && there(row.shift)));
    page.textContent = row.page ? `${bytes(row.page.size)} page, byte ${address(row.page.address & (row.page.size - 1n))} of it` : "";
    const paths = row.strip ? (drawn.get(stripKey(row)) ?? keep(drawn, stripKey(row), outlines(side, row))) : {};
    for (const [kind, node] of areas) put(node, { d: paths[kind] ?? "" });
    const [from, width] = span(row);
    const left = Math.max(0, Math.min(507, from - Math.max(0, 5 - width) / 2));
    put(lit, { x: left, width: row.strip ? Math.max(width, 5) : 0, class: `vtd-pt-lit ${row.fill ? `vtd-pt-${row.fill}` : ""}`.trim() });
    const ticks = row.strip && row.moves ? tickPaths(side, row) : ["", ""];
    put(held, { d: ticks[0] });
    put(stale, { d: ticks[1] });
    const open = above && above.strip && above.state === "passed" && (row.strip || row.page);
    const [start, wide] = above ? span(above) : [0, 0];
    put(wedge, { points: open ? `${start},0 ${start + wide},0 512,12 0,12` : "" });
  };
  return { node, draw };
}

const keep = (map, key, value) => (map.set(key, value), value);
const stripKey = ({ strip }) => (strip.kind === "front" ? `front ${strip.present}` : `${strip.stage} ${strip.level} ${strip.page}`);

// Where the entry in use stands, in a strip of 512 units: [from, width].
function span(row) {
  if (!row.strip) return [0, 512];
  const width = row.strip.kind === "front" ? 512 / Math.max(1, row.strip.size) : 1;
  return [(row.index - (row.strip.first ?? 0)) * width, width];
}

// One SVG path a kind of entry.
function outlines(side, { strip }) {
  const paths = {};
  const box = (kind, x, y, width, height) => (paths[kind] = `${paths[kind] ?? ""}M${x} ${y}h${width}v${height}h-${width}z`);
  const third = HEIGHT / 3;
  if (strip.kind === "front") {
    const width = 512 / Math.max(1, strip.size);
    for (const index of strip.present) box("table", index * width, HEIGHT / 4, width, HEIGHT * 0.75);
    return paths;
  }
  for (const [index, count, kind, weight] of cells(side, strip)) {
    const height = { table: 3 + (HEIGHT * 0.75 - 3) * weight, out: third, read: HEIGHT / 2, write: HEIGHT / 2, wrong: third }[kind] ?? HEIGHT;
    box(kind, index, kind === "write" ? 0 : HEIGHT - height, count, height);
    if (kind === "wrong") box(kind, index, 0, count, third);
  }
  return paths;
}

// Below the strip: which entries lie on the way to pages that the IOTLB holds.
function tickPaths(side, row) {
  const [good, bad] = [new Set(), new Set()];
  for (const [low, high, stale] of marks(side)) {
    if (!there(row.base) || (low < row.base + (512n << row.shift) && high > row.base)) {
      const into = stale ? bad : good;
      into.add(Number((low >> row.shift) & 511n));
    }
  }
  const path = (set, height) => [...set].map((index) => `M${index - 0.5} ${HEIGHT + 1}h2v${height}h-2z`).join("");
  return [path(good, 2), path(bad, 5)];
}

function answerView(node, side, { answer, note }) {
  const mark = !there(answer.good) ? "?" : answer.good ? "✓" : "✗";
  node.className = `vtd-pt-answer ${!there(answer.good) ? "" : answer.good ? "vtd-good" : "vtd-bad"}`;
  renew(
    node,
    el("div", { class: "vtd-pt-head" }, el("span", { class: "vtd-mark", text: mark, "aria-hidden": "true" }), el("span", { text: answer.head })),
    el("div", {}, explained(answer.detail, side.glossary), answer.label ? el("span", { class: "vtd-soft" }, " (", el("abbr", { text: answer.label, title: "the specification's name of this condition" }), `: ${answer.name})`) : null),
    note.text ? el("div", { class: `vtd-pt-note vtd-${note.state}`, text: note.text }) : null,
  );
}

function bitsView(node, side, row) {
  if (!there(row?.raw)) {
    renew(node, el("div", { class: "vtd-soft", text: row ? `${row.name}: ${row.says}.` : "" }));
    return;
  }
  const layout = side.layouts[row.layout];
  const raw = row.raw.toString(16).padStart(layout.width / 4, "0");
  renew(
    node,
    el("div", { class: "vtd-pt-entry" }, el("strong", { text: `Entry ${row.index}` }), ` at ${address(row.at)}`),
    el("div", {}, el("abbr", { text: layout.name, title: layout.title }), ` = `, el("code", { class: "vtd-pt-raw", text: raw.match(/.{1,16}/g).join(" ") })),
    fieldTable(layout, row.raw, side.glossary),
  );
}

// The entries next to the one in use, each a line.
function closeView(node, side, row) {
  const found = neighbours(side, row ?? {});
  node.hidden = found.length === 0;
  const line = (entry) =>
    el(
      "tr",
      { class: entry.lit ? "vtd-on" : "", data: { index: entry.index } },
      el("td", {}, el("code", { text: `${entry.lit ? "▸" : " "}${entry.index}` })),
      el("td", { text: entry.says, class: entry.says === "empty" ? "vtd-soft" : "" }),
    );
  renew(
    node,
    el("div", {}, el("strong", { text: `${row?.name ?? ""}, close up` })),
    el("table", { class: `vtd-fields ${row?.moves ? "vtd-pt-jumps" : ""}` }, el("tbody", {}, found.map(line))),
  );
}

export default { render };
