// The patch view in the browser: functions on the left, their text before and after, the locks they took.

import { button, el, frame, keys, legend, move, watch } from "../shared/common.js";
import { linked, oneOf } from "../shared/link.js";
import { duration } from "../shared/time.js";

const SHOWN = ["before", "both", "after"];
const HINTS = [
  ["↑ ↓", "the function above, below"],
  ["← →", "before, both, after"],
  ["Home End", "the first, the last function"],
];

function render({ model, el: host, signal }) {
  const record = model.get("record");
  const view = frame(host, { title: record.title, hints: HINTS, words: record.words });
  view.root.classList.add("vtd-pv");
  view.status.classList.add("vtd-hidden");
  const index = () => Math.max(0, record.functions.findIndex((each) => each.name === model.get("function")));

  const buttons = SHOWN.map((name) => button(name, () => move(model, { shown: name }), { hint: `the source ${name === "both" ? "before and after" : name} the patch` }));
  view.controls.append(...buttons);

  const options = record.functions.map((each) => option(each, record.measured, () => move(model, { function: each.name })));
  const list = el("div", { class: "vtd-pv-list", role: "listbox", tabindex: "0", "aria-label": "functions the patch touches" }, options);
  const to = (number) => {
    const there = record.functions[Math.max(0, Math.min(record.functions.length - 1, number))];
    if (there.name !== model.get("function")) move(model, { function: there.name });
  };
  const show = (by) => {
    const next = SHOWN[SHOWN.indexOf(model.get("shown")) + by];
    if (next) move(model, { shown: next });
  };
  keys(list, {
    ArrowDown: () => to(index() + 1),
    ArrowUp: () => to(index() - 1),
    Home: () => to(0),
    End: () => to(record.functions.length - 1),
    ArrowLeft: () => show(-1),
    ArrowRight: () => show(1),
  }, true);

  const code = el("div", { class: "vtd-pv-code", role: "group" });
  const locks = el("div", { class: "vtd-pv-locks" });
  view.body.append(
    el("p", { class: "vtd-pv-claim", text: record.claim }),
    facts(record),
    el("div", { class: "vtd-pv-main" }, list, el("div", { class: "vtd-pv-panel" }, code, locks)),
    legend([["vtd-pv-s-gone", "only before"], ["vtd-pv-s-new", "only after"], ["vtd-pv-s-words", "words only: docstring, comment"]]),
  );

  watch(
    model,
    ["function", "shown"],
    () => {
      const at = index();
      const here = record.functions[at];
      const shown = model.get("shown");
      options.forEach((node, number) => node.setAttribute("aria-selected", String(number === at)));
      list.setAttribute("aria-activedescendant", options[at].id);
      buttons.forEach((node, number) => node.setAttribute("aria-pressed", String(SHOWN[number] === shown)));
      code.setAttribute("aria-label", `source of ${here.name}, ${shown === "both" ? "before and after" : shown}`);
      code.className = `vtd-pv-code vtd-pv-${shown}`;
      code.replaceChildren(...source(here, shown));
      locks.replaceChildren(...lockTables(record, here, shown));
      view.say(spoken(record, here, at, shown));
    },
    signal,
  );
  linked(view, model, "patch", { function: oneOf(record.functions.map(({ name }) => name)), shown: oneOf(SHOWN) }, signal);
}

let made = 0;

function option(each, measured, choose) {
  made += 1;
  const count = (side) => new Set(each.locks[side].map((lock) => lock.lock)).size;
  const locks = [0, 1].filter((side) => measured[side]).map(count);
  return el(
    "div",
    { id: `vtd-pv-${made}`, class: "vtd-pv-option", role: "option", onclick: choose },
    el("code", { class: "vtd-pv-name", text: each.name }),
    el("span", { class: "vtd-pv-stat" }, each.kind === "changed" ? "" : `${each.kind} `, `+${each.added}`, el("span", { class: "vtd-hidden", text: " lines added" }), ` −${each.gone}`, el("span", { class: "vtd-hidden", text: " removed" })),
    locks.some(Boolean) ? el("span", { class: "vtd-pv-stat", text: `locks ${locks.join(" → ")}`, title: "different locks taken in it in the runs measured" }) : null,
  );
}

function facts(record) {
  return el("dl", { class: "vtd-pv-facts" }, record.facts.map(([name, text]) => el("div", {}, el("dt", { text: name }), el("dd", { text }))));
}

// The lines, with those of the other side where both are shown.
function source(here, shown) {
  if (shown !== "both") {
    const side = shown === "before" ? 0 : 1;
    const rows = here.rows.filter((row) => row[side] >= 0);
    if (!rows.length) return [el("p", { class: "vtd-soft vtd-pv-none", text: `There is no ${here.name} ${shown} the patch.` })];
    return rows.map((row) => el("div", { class: "vtd-pv-row" }, line(here, side, row[side], row[2] ? "" : "−+"[side])));
  }
  const heads = el("div", { class: "vtd-pv-row vtd-pv-heads", "aria-hidden": "true" }, el("div", { text: "before" }), el("div", { text: "after" }));
  // What changed together is one block: beside each other on a wide page, one after the other on a narrow one.
  const nodes = [heads];
  let block = null;
  for (const [before, after, same] of here.rows) {
    const row = el("div", { class: `vtd-pv-row ${same ? "vtd-pv-same" : ""}` }, cell(here, 0, before, same ? "" : "−"), cell(here, 1, after, same ? "" : "+"));
    if (same) {
      nodes.push(row);
      block = null;
    } else if (block) block.append(row);
    else nodes.push((block = el("div", { class: "vtd-pv-block" }, row)));
  }
  return nodes;
}

const cell = (here, side, number, sign) => (number < 0 ? el("div", { class: "vtd-pv-line vtd-pv-empty" }) : line(here, side, number, sign));

// A line of source, the sign of its side if it is on that one alone; it is broken after a sign or space, never in a name.
function line(here, side, number, sign) {
  const pieces = here[SHOWN[2 * side]][number], text = pieces.map((piece) => piece[1]).join("");
  const indent = text.length - text.trimStart().length, kind = sign && (side ? "vtd-pv-new" : "vtd-pv-gone");
  const parts = (part) => part.split(/(?<=[.,([_])/).flatMap((each, place) => (place ? [el("wbr"), each] : each));
  return el(
    "div",
    { class: `vtd-pv-line ${kind} ${sign && here.words[side].includes(number) ? "vtd-pv-words" : ""}`.trim() },
    el("span", { class: "vtd-pv-number", text: `${number + 1}`, "aria-hidden": "true" }),
    el("span", { class: "vtd-pv-sign", text: sign }),
    el("code", { style: `padding-left: ${indent + 4}ch; text-indent: -4ch` }, pieces.length
      ? pieces.map(([hue, part], place) => el("span", { class: hue ? `vtd-pv-${hue}` : null }, parts(place ? part : part.trimStart()))) : "\u00a0"),
  );
}

function lockTables(record, here, shown) {
  const sides = [["before", 0], ["after", 1]].filter(([name, side]) => record.measured[side] && (shown === "both" || shown === name));
  const longest = Math.max(1, ...here.locks.flat().map((each) => each.longest));
  return sides.map(([name, side]) => {
    const rows = here.locks[side].map((each) => lockRow(each, longest));
    const head = el("div", { class: "vtd-pv-lockhead", text: `Locks taken in it, ${name} the patch` });
    const heads = ["Lock", "How", "Times", "Longest hold"].map((text) => el("th", { scope: "col", text }));
    const table = el("table", { class: "vtd-fields", "aria-label": head.textContent }, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows));
    return el("div", { class: "vtd-pv-side" }, head, rows.length ? table : el("div", { class: "vtd-soft", text: "none in the run that was measured" }));
  });
}

function lockRow(each, longest) {
  const off = each.how.startsWith("interrupts off");
  return el(
    "tr",
    {},
    el("td", {}, el("code", { class: "vtd-pv-whole", text: each.lock })),
    el("td", { class: off ? "vtd-pv-off" : "", text: each.how }),
    el("td", { text: `${each.times} ×` }),
    el("td", { class: "vtd-pv-held" }, each.longest ? el("span", { class: "vtd-pv-bar", style: `width: ${(100 * each.longest) / longest}%`, "aria-hidden": "true" }) : null, el("span", { class: "vtd-pv-time", text: duration(each.longest) })),
  );
}

function spoken(record, here, at, shown) {
  const parts = [`${here.name}, ${at + 1} of ${record.functions.length}: ${here.kind}, ${here.added} lines added, ${here.gone} removed; ${shown === "both" ? "before and after" : shown} shown.`];
  ["before", "after"].forEach((name, side) => {
    if (!record.measured[side]) return;
    const locks = here.locks[side].map((each) => `${each.lock} for at most ${duration(each.longest)}`);
    parts.push(`Locks ${name}: ${locks.join(", ") || "none"}.`);
  });
  return parts.join(" ");
}

export default { render };
