// The interleaving stepper: threads as columns of source lines, one schedule, forward and back. Trait: step (how many are done).

import { button, el, frame, move, renew, slider, svg, there, watch } from "../shared/common.js";
import { linked, whole } from "../shared/link.js";
import { ahead, changed, freedBy, locksAt, nextSwitch, says, standOf, states, unfold } from "./stepper_model.js";

const HINTS = [
  ["← →", "one step back or forward"], ["Shift ← →", "to where another thread goes on"], ["Home End", "to the start or the end"],
  ["f", "to the next finding (Shift f: back)"], ["i", "to where it must go wrong"],
];
const WORDS = [
  ["step", "one operation that another thread could notice, and everything the thread does up to its next one"],
  ["schedule", "the order in which the threads take their steps; cat*3 unmap means: the thread cat three times, then unmap once"],
  ["from here it must go wrong", "the point of no return: the first step after which every way to go on shows the finding"],
];
const ROW = 24, LEFT = 150, TOP = 18;
const MOST_LINES = { 1: 12, 2: 10, 3: 8, 4: 7 }; // of source, by how many columns there are
const MUST = "from here it must go wrong", ROOM = 165; // pixels that this takes
const HUES = ["blue", "orange", "green", "purple", "sky", "red", "yellow"];

export default {
  render({ model, el: host, signal }) {
    const view = new View(model, host);
    watch(model, ["step"], () => view.show(), signal);
    linked(view.frame, model, "stepper", { step: whole(0, view.run.last) }, signal);
    const sizes = new ResizeObserver(() => view.resize());
    sizes.observe(view.body);
    return () => sizes.disconnect();
  },
};

class View {
  constructor(model, host) {
    this.model = model;
    this.run = unfold(model.get("record"));
    this.frame = frame(host, { title: `Step by step: ${this.run.title}`, hints: HINTS, words: WORDS });
    const { controls, body, say, status } = this.frame;
    this.body = body;
    this.say = say;
    status.classList.add("vtd-stepper-status");
    const { findings, inevitable } = this.run;
    controls.append(
      button("Back", () => this.by(-1), { hint: "one step back (key ←)" }),
      button("Forward", () => this.by(1), { hint: "one step forward (key →)" }),
      button("Next switch", () => this.to(nextSwitch(this.run, this.at(), 1)), { hint: "to where another thread goes on (Shift →)" }),
      button("Next finding", () => this.jump(1), { hint: "to the next finding (key f)", disabled: !findings.length }),
      button("Must go wrong", () => this.to(inevitable), { hint: "the step after which every way to go on shows the finding (key i)", disabled: !there(inevitable) }),
    );
    this.buildRibbon();
    this.columns = this.run.columns.map((thread) => this.buildColumn(thread));
    this.grid = el("div", { class: `vtd-stepper-columns vtd-stepper-of-${this.columns.length}` }, this.columns.map(({ node }) => node));
    const tall = Math.max(...this.run.sources.map(({ lines }) => lines.length), 4);
    this.grid.style.setProperty("--vtd-stepper-tall", Math.min(tall, MOST_LINES[this.columns.length]));
    this.words = this.run.words.map((word) => {
      const value = el("div", { class: "vtd-mono" }), note = el("div", { class: "vtd-soft" });
      return { value, note, node: el("tr", {}, el("th", { scope: "row", text: word }), el("td", {}, value, note)) };
    });
    this.locks = locksAt(this.run, 0).map(({ name }) => {
      const now = el("span");
      return { now, node: el("li", {}, el("strong", { class: "vtd-mono", text: name }), " ", now) };
    });
    this.freed = el("ul", { class: "vtd-stepper-freed" });
    this.found = el("div", { class: "vtd-stepper-found" });
    const listed = (rows, text, name, inner) => (rows.length ? el(name, {}, inner(rows.map(({ node }) => node))) : el("p", { class: "vtd-soft", text }));
    body.append(this.ribbon, status, this.grid, el(
      "div", { class: "vtd-stepper-beside" },
      pane("Locks", listed(this.locks, "none is taken here", "ul", (nodes) => nodes)),
      (this.memory = pane("Shared memory", listed(this.words, "nothing is watched", "table", (nodes) => el("tbody", {}, nodes)))),
      pane("Freed so far", this.freed), pane("Findings", this.found),
    ));
  }

  // Columns without source are narrow; of three and more, the one that moves next is wide.
  widths(at, up) {
    const share = ({ thread }) => (standOf(this.run, at, thread).code < 0 ? 0.6 : this.columns.length > 2 && up[thread] === "moves next" ? 1.7 : 1);
    const across = this.columns.map((column) => `minmax(0, ${share(column)}fr)`).join(" ");
    if (across === this.across) return;
    this.across = across;
    this.grid.style.setProperty("--vtd-stepper-across", across);
    for (const column of this.columns) column.middle = null;
  }

  at() {
    return Math.min(Math.max(this.model.get("step"), 0), this.run.last);
  }

  to(step) {
    if (there(step)) move(this.model, { step: Math.min(Math.max(step, 0), this.run.last) });
  }

  by(steps) {
    this.to(this.at() + steps);
  }

  jump(direction) {
    const steps = this.run.findings.map(({ step }) => step).sort((a, b) => (a - b) * direction);
    const found = steps.find((step) => (step - this.at()) * direction > 0);
    if (there(found)) this.to(found);
  }

  // -- the ribbon: who moves when -----------------------------------------------------------------------------------------

  buildRibbon() {
    this.ribbon = el("div", { class: "vtd-stepper-ribbon" });
    this.tell = slider(this.ribbon, {
      label: "step", max: this.run.last,
      go: (where) => this.to({
        first: 0, last: this.run.last, next: this.at() + 1, back: this.at() - 1,
        more: nextSwitch(this.run, this.at(), 1), less: nextSwitch(this.run, this.at(), -1),
      }[where]),
      more: { f: () => this.jump(1), F: () => this.jump(-1), i: () => this.to(this.run.inevitable) },
    });
    const place = (event) => this.to(Math.round((event.clientX - this.ribbon.getBoundingClientRect().left - LEFT) / this.cell));
    this.ribbon.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.ribbon.focus({ preventScroll: true });
      this.ribbon.setPointerCapture(event.pointerId);
      this.ribbon.addEventListener("pointermove", place);
      place(event);
    });
    for (const end of ["pointerup", "pointercancel"]) this.ribbon.addEventListener(end, () => this.ribbon.removeEventListener("pointermove", place));
  }

  resize() {
    const width = this.body.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    for (const column of this.columns) column.middle = null;
    const { run } = this, tall = TOP + run.threads.length * ROW + 6;
    this.cell = Math.min((width - LEFT - 8) / Math.max(run.last, 1), 34);
    const x = (step) => LEFT + step * this.cell;
    const parts = run.threads.flatMap((name, thread) => [
      svg("text", { x: 22, y: TOP + thread * ROW + 16, class: "vtd-stepper-who", text: name }),
      svg("rect", { x: 0, y: TOP + thread * ROW + 3, width: 17, height: 17, rx: 3, class: `vtd-stepper-cell vtd-stepper-${HUES[thread % 7]}` }),
      svg("text", { x: 8.5, y: TOP + thread * ROW + 16, "text-anchor": "middle", class: `vtd-stepper-on-${HUES[thread % 7]}`, text: String(thread) }),
      svg("path", { d: `M${LEFT} ${TOP + thread * ROW + 12}H${x(run.last)}`, class: "vtd-stepper-rule" }),
    ]);
    run.steps.forEach(({ thread, did }, step) => {
      if (!step) return;
      const gap = this.cell > 4 ? 1 : 0;
      parts.push(svg("rect", {
        x: x(step - 1) + gap, y: TOP + thread * ROW + 3, width: Math.max(this.cell - 2 * gap, 1), height: 18,
        class: `vtd-stepper-cell vtd-stepper-${HUES[thread % 7]}`,
      }, svg("title", { text: `step ${step}, ${run.threads[thread]}: ${did}` })));
    });
    const bottom = TOP + run.threads.length * ROW;
    if (there(run.inevitable)) {
      parts.push(svg("path", { d: `M${x(run.inevitable)} ${TOP - 4}V${bottom}`, class: "vtd-stepper-return" }));
      const crowded = run.findings.some(({ step }) => step >= run.inevitable && x(step) < x(run.inevitable) + ROOM && x(step) >= x(run.inevitable)) || x(run.inevitable) > width - ROOM;
      const [anchor, at] = crowded ? ["end", Math.max(x(run.inevitable) - 10, ROOM)] : ["start", x(run.inevitable) + 4];
      parts.push(svg("text", { x: at, y: 11, "text-anchor": anchor, class: "vtd-stepper-small", text: MUST }));
    }
    for (const { step, title } of run.findings) {
      parts.push(svg("path", { d: `M${x(step)} ${TOP - 12}l6 6l-6 6l-6-6zM${x(step)} ${TOP}V${bottom}`, class: "vtd-stepper-finding" }, svg("title", { text: title })));
    }
    this.needle = svg("g", { class: "vtd-stepper-needle" }, svg("path", { d: `M0 ${TOP - 2}V${bottom + 4}M-5 ${bottom + 5}H5` }));
    this.ribbon.replaceChildren(svg("svg", { width, height: tall, "aria-hidden": "true" }, parts, this.needle));
    this.ribbon.querySelectorAll(".vtd-stepper-who").forEach(shorten);
    this.show();
  }

  // -- a thread's column --------------------------------------------------------------------------------------------------

  buildColumn(thread) {
    const name = this.run.threads[thread], hue = HUES[thread % 7];
    const state = el("span", { class: "vtd-stepper-state" }), held = el("div", { class: "vtd-stepper-held" });
    const path = el("bdi", { dir: "ltr" }), next = el("div", { class: "vtd-stepper-next" });
    const code = el("div", { class: "vtd-stepper-code", tabindex: "0", role: "region", "aria-label": `source of ${name}` });
    const node = el(
      "section", { class: "vtd-stepper-column", "aria-label": name },
      el("div", { class: "vtd-stepper-head" },
        el("span", { class: `vtd-stepper-number vtd-stepper-${hue}`, text: String(thread) }), el("strong", { text: name, title: name }), state),
      held, el("div", { class: "vtd-stepper-path vtd-soft" }, path), code, next,
    );
    return { thread, name, node, state, held, path, code, next, shown: null, lines: [], middle: null };
  }

  showColumn(column, at, state) {
    const stand = standOf(this.run, at, column.thread), moved = at > 0 && this.run.steps[at].thread === column.thread;
    column.node.classList.toggle("vtd-stepper-mover", state === "moves next");
    column.node.classList.toggle("vtd-stepper-moved", moved);
    column.state.textContent = state === "moves next" || state === "could move" ? state : stand.state === "done" ? "ended" : "waits";
    column.held.textContent = stand.held.length ? `holds ${stand.held.join(", ")}` : "holds no lock";
    column.held.classList.toggle("vtd-stepper-holds", stand.held.length > 0);
    column.path.textContent = stand.path.length ? stand.path.map(bare).join(" › ") : " ";
    column.path.title = stand.path.join(" › ");
    column.next.textContent = stand.state === "ready" && stand.code >= 0 ? `about to: ${stand.next}` : stand.next;
    this.showCode(column, stand, moved, at);
  }

  showCode(column, stand, moved, at) {
    if (column.shown !== stand.code) {
      column.shown = stand.code;
      const source = this.run.sources[stand.code];
      column.lines = source ? source.lines.map((text, i) => el("div", { class: "vtd-stepper-line" },
        el("span", { class: "vtd-stepper-sign", "aria-hidden": "true" }), el("span", { class: "vtd-stepper-at", text: String(source.first + i) }), codeOf(text))) : [];
      column.code.replaceChildren(...column.lines);
      column.code.title = source ? source.file : "";
    }
    if (!column.lines.length) return;
    const { first, file } = this.run.sources[stand.code], ran = new Set(stand.ran);
    const places = this.run.findings.filter(({ step }) => step <= at).flatMap((found) => found.places);
    const bugs = new Set(places.filter(([where]) => where === file).map(([, line]) => line));
    column.lines.forEach((line, i) => {
      const current = first + i === stand.line, past = moved && ran.has(first + i), bug = bugs.has(first + i);
      line.classList.toggle("vtd-stepper-current", current);
      line.classList.toggle("vtd-stepper-ran", past);
      line.classList.toggle("vtd-stepper-bug", bug);
      line.firstChild.textContent = bug ? "◆" : current ? "▶" : past ? "·" : "";
      if (current) line.setAttribute("aria-current", "step");
      else line.removeAttribute("aria-current");
    });
    const target = stand.line || [...bugs, ...stand.ran].find((line) => line >= first && line < first + column.lines.length) || first;
    column.target = Math.min(Math.max(target - first, 0), column.lines.length - 1);
  }

  // The line of each column that went on in the middle, after everything else: to ask for a place makes the browser lay the page out.
  scroll() {
    const moved = this.columns.filter(({ lines, target, middle }) => lines.length && lines[target] !== middle);
    const places = moved.map(({ code, lines, target }) => lines[target].offsetTop + lines[target].offsetHeight / 2 - code.clientHeight / 2);
    const word = this.words.find(({ node }) => node.classList.contains("vtd-stepper-changed"))?.node;
    const down = word && word.offsetTop - this.memory.clientHeight / 2;
    moved.forEach((column, i) => {
      column.code.scrollTop = places[i];
      column.middle = column.lines[column.target];
    });
    if (word) this.memory.scrollTop = down;
  }

  // -- the position -------------------------------------------------------------------------------------------------------

  show() {
    if (!this.needle) return this.resize();
    const { run } = this, at = this.at(), words = says(run, at), up = states(run, at), marks = changed(run, at), here = run.steps[at];
    this.needle.setAttribute("transform", `translate(${LEFT + at * this.cell} 0)`);
    this.widths(at, up);
    for (const column of this.columns) this.showColumn(column, at, up[column.thread]);
    this.words.forEach(({ value, note, node }, i) => {
      value.textContent = here.values[i];
      note.textContent = marks[i] ? `changed by ${run.threads[here.thread]}, was ${run.steps[at - 1].values[i]}` : "";
      node.classList.toggle("vtd-stepper-changed", marks[i]);
      node.classList.toggle("vtd-stepper-gone", here.values[i] === "freed");
    });
    const freed = freedBy(run, at);
    renew(this.freed, freed.length ? freed.map(({ step, what }) => el("li", { class: step === at ? "vtd-stepper-changed" : "", text: `step ${step}: ${what}` }))
      : [el("li", { class: "vtd-soft", text: "nothing yet" })]);
    const named = (threads) => threads.map((thread) => run.threads[thread]).join(", ");
    locksAt(run, at).forEach(({ has, waits }, i) => {
      renew(this.locks[i].now, el("span", { class: has.length ? "" : "vtd-soft", text: has.length ? `${named(has)} has it` : "free" }),
        waits.length ? el("div", { class: "vtd-stepper-waits", text: `${named(waits)} ${waits.length > 1 ? "wait" : "waits"}` }) : null);
    });
    this.showFound(at);
    this.tell(at, `step ${at} of ${run.last}`);
    this.say(words);
    this.scroll();
    return undefined;
  }

  showFound(at) {
    const { run } = this, seen = run.findings.filter(({ step }) => step <= at), parts = [];
    if (there(run.inevitable) && at >= run.inevitable) {
      parts.push(el("p", { class: "vtd-stepper-warning", text: `Since step ${run.inevitable} it must go wrong: ${run.how}.` }));
    } else if (run.findings.length && !there(run.inevitable) && seen.length) parts.push(el("p", { class: "vtd-soft", text: run.how }));
    for (const { step, title, text } of seen) {
      parts.push(el("details", { class: "vtd-stepper-report" }, el("summary", { text: `step ${step}: ${title}` }), el("pre", { text })));
    }
    const left = ahead(run, at);
    if (there(left)) parts.push(el("p", { class: "vtd-soft", text: `${seen.length ? "the next" : "none so far; the first"} in ${left} ${left === 1 ? "step" : "steps"}` }));
    else if (!parts.length) parts.push(el("p", { class: "vtd-soft", text: "none" }));
    if (run.before.length) {
      parts.push(el("details", { class: "vtd-stepper-report vtd-soft" }, el("summary", { text: `${run.before.length} more in the set-up` }),
        el("pre", { text: run.before.join("\n") })));
    }
    renew(this.found, parts);
  }
}

const pane = (name, ...content) => el("section", { class: "vtd-stepper-pane", tabindex: "0", "aria-label": name }, el("div", { class: "vtd-stepper-name", text: name }), content);

// A line of source; where it goes on in a next line, that is indented further. It is broken after a sign rather than in a name.
function codeOf(text) {
  const indent = text.length - text.trimStart().length, parts = text.trimStart().split(/(?<=[.,([_])/);
  return el("code", { style: `padding-left:${indent + 2}ch;text-indent:-2ch` }, parts.flatMap((part, i) => (i ? [el("wbr"), part] : part || " ")));
}

const bare = (name) => name.split(".").at(-1);

// A name that would run into what is beside it.
function shorten(text) {
  for (let name = text.textContent; name && text.getComputedTextLength() > LEFT - 30; text.textContent = `${name}…`) name = name.slice(0, -1);
}
