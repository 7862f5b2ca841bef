// The bit-field card in the browser: boxes for bits, fields by name, what hardware answers.

import { button, el, frame, keys, legend, move, renew, slider, steady, there, watch } from "../shared/common.js";
import { linked, whole } from "../shared/link.js";
import { decode, field } from "./bits.js";
import { explained, fieldTable } from "./fields.js";

const WORD = 32;
const HINTS = [
  ["← →", "the bit to the left, to the right"],
  ["↑ ↓", "the same place in the row above, below"],
  ["Space or Enter", "flip the bit (or click it)"],
  ["Shift ← →", "the next field"],
  ["Home End", "the first, the last bit"],
];
const WAIT = 1200; // milliseconds after which nobody is expected to answer any more

function render({ model, el: host, signal }) {
  const record = model.get("record");
  const view = frame(host, { title: `${record.name}: ${record.title}`, hints: HINTS, words: record.words });
  view.root.classList.add("vtd-bf");
  view.status.classList.add("vtd-hidden");
  const start = BigInt(record.start);
  const value = () => BigInt(model.get("value"));
  const bit = () => Math.max(0, Math.min(record.width - 1, model.get("bit")));
  const to = (next, at = {}) => move(model, { value: `0x${next.toString(16)}`, ...at }, answerOf(record, model, next ^ start, next).waiting);
  const flip = (which) => to(value() ^ (1n << BigInt(which)), { bit: which });

  const input = valueField(view.controls, record.width, to, (text) => view.say(text));
  const reset = button("start again", () => to(start), { hint: `back to ${record.start}` });
  view.controls.append(reset);

  const board = bitBoard(record, flip);
  const set = slider(board.node, {
    label: "bit",
    max: board.last,
    go: (where) => seek(where),
    more: { ArrowUp: () => seek("up"), ArrowDown: () => seek("down"), " ": () => flip(bit()), Enter: () => flip(bit()) },
  });
  const seek = (where) => {
    const next = board.from(bit(), where, decode(layoutOf(record, value()), value()));
    if (there(next)) move(model, { bit: next });
  };

  const fields = el("div", { class: "vtd-bf-fields" });
  const answers = el("div", { class: "vtd-bf-answers" });
  const below = el("div", { class: "vtd-bf-below" }, fields, answers);
  steady(below);
  view.body.append(board.node, below, signs(record));

  let timer = null;
  watch(
    model,
    ["value", "bit", "answered"],
    () => {
      const now = value();
      const at = bit();
      const layout = layoutOf(record, now);
      const rows = decode(layout, now);
      input.show(now);
      reset.disabled = now === start;
      board.draw(rows, now, start, at);
      const here = rows.find((row) => row.high >= at && row.low <= at);
      renew(fields, fieldTable(layout, now, record.glossary, here.bits));
      const said = answerOf(record, model, now ^ start, now);
      clearTimeout(timer);
      if (said.waiting) timer = setTimeout(() => show({ ...said, waiting: false, alone: true }), WAIT);
      const show = (what) => {
        drawAnswers(answers, record, what, now === start);
        view.say([`bit ${at}, ${here.name}, is ${(now >> BigInt(at)) & 1n}.`, ...spoken(what)].join(" "));
      };
      show(said);
      set(board.place(at), `bit ${at}, ${here.name} (${here.state}), is ${(now >> BigInt(at)) & 1n}`);
    },
    signal,
  );
  const fits = (text) => (/^0x[0-9a-f]{1,128}$/.test(text) && BigInt(text) >> BigInt(record.width) === 0n ? text : undefined);
  linked(view, model, "card", { value: fits, bit: whole(0, record.width - 1) }, signal);
}

// Which bits are ignored may depend on a field of the value itself.
function layoutOf(record, raw) {
  const { field: name, types } = record.chooser;
  const row = name ? record.layouts[""].rows.find((each) => each.name === name) : null;
  return record.layouts[(row && types[field(row, raw).toString()]) ?? ""] ?? record.layouts[""];
}

// What is known of a value: from the record for the start and its single flips, from Python for others.
function answerOf(record, model, difference, now) {
  if (!record.asks) return { lines: [] };
  if (difference === 0n) return { lines: record.first };
  if ((difference & (difference - 1n)) === 0n) return { lines: record.distinct[record.flips[difference.toString(2).length - 1]] };
  const told = model.get("answered");
  if (there(told.value) && BigInt(told.value) === now) return { lines: told.answers };
  return { lines: [], waiting: true };
}

const spoken = ({ lines, waiting, alone }) => (alone ? [ALONE] : waiting ? [] : lines.map((line) => `${line.head}.`));
const ALONE = "No kernel answers. This page knows the answers for the starting value and for each single bit of it flipped; this one is further away.";

function drawAnswers(node, record, { lines, waiting, alone }, first) {
  if (!record.asks) return renew(node);
  const text = alone ? ALONE : waiting ? "asking…" : "";
  const box = (title, list) => el("div", {}, el("div", { class: "vtd-soft", text: title }), list.map((line) => answerBox(line, record.glossary)));
  renew(
    node,
    box("What the hardware answers", text ? [] : lines),
    text ? el("div", { class: "vtd-bf-answer", text }) : "",
    first ? "" : box("With the starting value", record.first),
  );
}

function answerBox(line, glossary) {
  return el(
    "div",
    { class: `vtd-bf-answer ${line.good ? "vtd-good" : "vtd-bad"}` },
    el("div", {}, el("span", { class: "vtd-mark", text: line.good ? "✓" : "✗", "aria-hidden": "true" }), explained(line.head, glossary)),
    line.detail ? el("div", { class: "vtd-soft" }, explained(line.detail, glossary)) : null,
  );
}

function valueField(controls, width, to, say) {
  const size = Math.min(34, width / 4 + 4);
  const input = el("input", { type: "text", size, spellcheck: "false", autocomplete: "off", "aria-label": "value, hexadecimal" });
  const read = () => {
    const text = input.value.replaceAll("_", "").trim().replace(/^0x/i, "");
    const good = /^[0-9a-f]+$/i.test(text) && BigInt(`0x${text}`) >> BigInt(width) === 0n;
    input.setAttribute("aria-invalid", String(!good));
    if (good) to(BigInt(`0x${text}`));
    else say(`“${input.value}” is no value of ${width} bits: write up to ${width / 4} hexadecimal digits.`);
  };
  input.addEventListener("input", read);
  keys(input, { Enter: read });
  controls.append(el("label", { class: "vtd-field" }, el("span", { text: "value" }), input));
  return {
    show: (now) => {
      if (document.activeElement === input && input.value) return;
      input.value = `0x${now.toString(16)}`;
      input.setAttribute("aria-invalid", "false");
    },
  };
}

function signs(record) {
  const kinds = [["vtd-bf-s-used", "hardware looks at it"], ["vtd-bf-s-reserved", "reserved: must be 0"]];
  if (Object.values(record.layouts).some((layout) => layout.rows.some((row) => row.state === "ignored"))) {
    kinds.push(["vtd-bf-s-ignored", "ignored: may be anything"]);
  }
  return legend([...kinds, ["vtd-bf-s-changed", "differs from the starting value"]]);
}

// The bits in rows of 32, the highest first, each under the name of its field. Returns { node, draw, from, last, place }:
// `place` is how many boxes a bit is from the left, `last` the largest of these.
function bitBoard(record, flip) {
  const node = el("div", { class: "vtd-bf-board" });
  const boxes = new Map();
  const shown = [];
  let quiet = null;
  for (let top = record.width; top > 0; top -= WORD) {
    const low = top - WORD;
    const rows = record.layouts[""].rows.filter((row) => row.high >= low && row.low < top);
    if (record.width > 128 && rows.every((row) => row.state !== "used") && BigInt(record.start) >> BigInt(low) === BigInt(record.start) >> BigInt(top) << BigInt(WORD)) {
      quiet = quiet ? { ...quiet, low } : { high: top - 1, low };
      continue;
    }
    if (quiet) node.append(silent(quiet));
    quiet = null;
    node.append(word(rows, top, low, boxes, flip));
    for (let bit = top - 1; bit >= low; bit--) shown.push(bit);
  }
  if (quiet) node.append(silent(quiet));

  const draw = (rows, now, start, at) => {
    for (const row of rows) {
      for (let bit = row.high; bit >= row.low; bit--) {
        const box = boxes.get(bit);
        if (!box) continue;
        const is = (now >> BigInt(bit)) & 1n;
        const was = (start >> BigInt(bit)) & 1n;
        const text = is ? "1" : "0";
        if (box.textContent !== text) box.textContent = text;
        const name = `vtd-bf-bit vtd-bf-${row.state}${is ? " vtd-bf-one" : ""}${is !== was ? " vtd-bf-changed" : ""}${row.state === "reserved" && is ? " vtd-bf-wrong" : ""}${bit === at ? " vtd-bf-at" : ""}`;
        if (box.className !== name) box.className = name;
      }
    }
  };

  // Where a step leads from a bit; undefined where there is nothing further.
  const from = (bit, where, rows) => {
    const place = Math.max(0, shown.indexOf(bit));
    const steps = { next: 1, back: -1, up: -WORD, down: WORD };
    if (where in steps) return shown[place + steps[where]];
    if (where === "first") return shown[0];
    if (where === "last") return shown.at(-1);
    const here = rows.findIndex((row) => row.high >= bit && row.low <= bit);
    const next = rows[here + (where === "more" ? 1 : -1)];
    return next && shown.includes(next.high) ? next.high : undefined;
  };
  return { node, draw, from, last: shown.length - 1, place: (bit) => Math.max(0, shown.indexOf(bit)) };
}

const silent = ({ high, low }) => el("div", { class: "vtd-bf-silent vtd-soft", text: `bits ${high}–${low}: reserved or ignored, all 0` });

function word(rows, top, low, boxes, flip) {
  const grid = el("div", { class: "vtd-bf-word" });
  for (const row of rows) {
    const [high, last] = [Math.min(row.high, top - 1), Math.max(row.low, low)];
    const span = high - last + 1;
    const bits = row.high === row.low ? `${row.low}` : `${row.high}:${row.low}`;
    const upright = row.name.length > span * 2.6 || bits.length > span * 3.2;
    const name = row.state === "used" ? row.name : span < 3 ? "" : row.state;
    grid.append(
      el(
        "div",
        { class: `vtd-bf-name vtd-bf-name-${row.state} ${upright ? "vtd-bf-upright" : ""}`, style: `grid-column: ${top - high} / span ${span}`, title: `${row.name} [${bits}] ${row.meaning}` },
        el("span", { text: name }),
        row.state === "used" || span > 2 ? el("span", { class: "vtd-bf-range", text: bits }) : null,
      ),
    );
  }
  for (let bit = top - 1; bit >= low; bit--) {
    const box = el("span", { class: "vtd-bf-bit", title: `bit ${bit}`, style: `grid-column: ${top - bit}`, onclick: () => flip(bit) });
    boxes.set(bit, box);
    grid.append(box);
  }
  return grid;
}

export default { render };
