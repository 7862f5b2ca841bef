// The lock timeline: one or two runs, one cursor. Traits: cursor, left, right (ns after the start), lock (a name, or ""), row (which lane).

import { button, el, frame, legend, move, slider, there, unbroken, watch } from "../shared/common.js";
import { linked, oneOf, whole } from "../shared/link.js";
import {
  after, asleepAt, before, contentions, decode, doing, label, locksAt, nextChange, sentence, spanAt,
} from "./timeline_model.js";
import { duration, thousands } from "../shared/time.js";
import { AXIS, GUTTER, drawLanes, drawOverview, laneHeight, notesHeight, paints, wiped } from "./timeline_draw.js";

const CLOSEST = 20; // ns: no window is shorter
const MOST_LANES = 64;
const STRIP = 14; // height of a run in the overview
const DRAG = 4; // pixels: less is a click
const HINTS = [
  ["← →", "to the last or next change"], ["Shift ← →", "by a tenth of what is shown"], ["Home End", "to the start or the end"],
  ["+ −", "zoom in and out"], ["0", "the whole run"], ["n", "to the next wait for a lock (Shift n: back)"],
  ["f", "to the next finding (Shift f: back)"], ["↑ ↓", "choose the CPU that is described"],
  ["wheel", "zooms at the pointer, once the widget has the keys"], ["drag", "moves what is shown; the cursor, where all is shown"],
];

export default {
  async render({ model, el: host, signal }) {
    const runs = await decode(model.get("record"));
    if (signal?.aborted) return undefined;
    const view = new View(model, host, runs);
    watch(model, ["left", "right", "lock"], () => view.later("draw"), signal);
    watch(model, ["cursor", "row"], () => view.later("point"), signal);
    const lock = oneOf(["", ...Object.keys(view.letters)]), row = whole(0, view.rows.length - 1);
    linked(view.frame, model, "timeline", { cursor: whole(0, Math.ceil(view.length)), lock, row }, signal);
    const sizes = new ResizeObserver(() => view.resize());
    sizes.observe(view.body);
    const theme = new MutationObserver(() => view.draw(true));
    for (const node of [document.documentElement, document.body]) {
      theme.observe(node, { attributeFilter: ["data-jp-theme-light", "data-vscode-theme-kind", "theme", "class"] });
    }
    return () => {
      sizes.disconnect();
      theme.disconnect();
    };
  },
};

class View {
  constructor(model, host, runs) {
    const record = model.get("record");
    this.model = model;
    this.letters = record.letters;
    this.runs = runs;
    this.length = Math.max(...this.runs.map((run) => run.length));
    this.width = 0;
    const words = record.legend.map(([, word, meaning]) => [word, meaning]);
    this.frame = frame(host, { title: record.title, hints: HINTS, words });
    const { root, controls, body, status, say } = this.frame;
    this.root = root;
    this.body = body;
    this.say = say;
    this.stops = new Map();
    this.tall = laneHeight(this.runs.reduce((sum, { lanes }) => sum + Math.min(lanes.length, MOST_LANES), 0));
    this.rows = this.runs.flatMap((run, number) => run.lanes.slice(0, MOST_LANES).map((lane, cpu) => [number, cpu]));
    this.buildControls(controls);
    this.buildOverview();
    this.shown = this.runs.map((run, number) => this.buildRun(run, number === this.runs.length - 1));
    this.locks = lockTable(this.runs, this.letters, (name) => move(this.model, { lock: this.model.get("lock") === name ? "" : name }));
    this.detail = el("div", { class: "vtd-timeline-detail" });
    this.tip = el("div", { class: "vtd-timeline-tip", hidden: true });
    body.append(
      el("div", { class: "vtd-timeline-pair" }, el("div", { class: "vtd-timeline-runs" }, this.overview, this.shown.map(({ node }) => node)), this.locks.node),
      this.tip,
    );
    status.classList.add("vtd-timeline-status");
    status.after(this.detail, legend(record.legend.map(([state, word]) => [`vtd-timeline-swatch vtd-timeline-${state}`, word])));
  }

  // -- parts -----------------------------------------------------------------------------------------------------------

  buildControls(controls) {
    const findings = this.runs.some((run) => run.notes.some(([, , finding]) => finding));
    controls.append(
      button("−", () => this.zoom(2), { label: "zoom out", hint: "zoom out (key −)" }),
      button("+", () => this.zoom(0.5), { label: "zoom in", hint: "zoom in (key +)" }),
      button("All", () => this.all(), { hint: "show the whole run (key 0)" }),
      button("Previous wait", () => this.jump("n", before), { hint: "somebody begins to wait for a lock (key Shift n)" }),
      button("Next wait", () => this.jump("n", after), { hint: "somebody begins to wait for a lock (key n)" }),
      button("Next finding", () => this.jump("f", after), { hint: "a checker found something (key f)", disabled: !findings }),
    );
  }

  buildOverview() {
    this.strip = el("canvas", { "aria-hidden": "true" });
    this.frameOf = el("div", { class: "vtd-timeline-window" });
    this.needle = el("div", { class: "vtd-timeline-needle" });
    this.overview = el(
      "div", { class: "vtd-timeline-overview", title: "the whole run; red: CPUs that spin. Drag to move through it." },
      el("span", { class: "vtd-timeline-gutter", text: "spins" }), this.strip, this.frameOf, this.needle,
    );
    const actions = {
      "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), 0: () => this.all(),
      n: () => this.jump("n", after), N: () => this.jump("n", before), f: () => this.jump("f", after), F: () => this.jump("f", before),
      ArrowUp: () => this.choose(-1), ArrowDown: () => this.choose(1),
    };
    this.tell = slider(this.overview, { label: "time", max: this.length, go: (where) => this.go(where), more: actions });
    this.press(this.overview, (x) => this.to((x / this.width) * this.length));
    this.wheel(this.overview);
  }

  buildRun(run, last) {
    const cpus = Math.min(run.lanes.length, MOST_LANES), { tall } = this, above = notesHeight(run), below = last ? AXIS : 2;
    const canvas = el("canvas", { "aria-hidden": "true" });
    const needle = el("div", { class: "vtd-timeline-needle", style: `bottom:${below - 2}px` });
    const names = run.lanes.slice(0, cpus).map((lane, cpu) => el("div", {
      class: "vtd-timeline-cpu", text: tall < 16 && cpu % 4 ? "" : `CPU${cpu}`, style: `top:${above + cpu * tall}px;height:${Math.round(tall * 0.9)}px`,
    }));
    const lanes = el("div", { class: "vtd-timeline-lanes", style: `height:${above + cpus * tall + below}px` }, canvas, names, needle);
    const more = run.lanes.length > cpus ? ` (the first ${cpus} of ${run.lanes.length} CPUs)` : "";
    const label = el("div", { class: "vtd-timeline-label" }, el("strong", { text: run.label }), el("span", { class: "vtd-soft", text: caption(run) + more }));
    this.press(lanes, (x, y) => {
      this.chooseLane(run, Math.floor((y - above) / tall));
      this.to(this.model.get("left") + ((x - GUTTER) / this.width) * this.span());
    }, true);
    this.wheel(lanes, GUTTER);
    lanes.addEventListener("pointermove", (event) => this.hover(event, run, lanes, tall));
    lanes.addEventListener("pointerleave", () => (this.tip.hidden = true));
    return { run, node: el("div", { class: "vtd-timeline-run" }, label, lanes), lanes, canvas, needle, names, cpus, below };
  }

  // -- drawing ---------------------------------------------------------------------------------------------------------

  // Once for all the traits that one key changes.
  later(what) {
    if (!this.due) queueMicrotask(() => {
      const due = this.due;
      this.due = "";
      this[due]();
    });
    if (this.due !== "draw") this.due = what;
  }

  span() {
    return this.right() - this.model.get("left");
  }

  right() {
    return this.model.get("right") || this.length;
  }

  resize() {
    const width = Math.floor(this.shown[0].lanes.clientWidth) - GUTTER - 2;
    if (width === this.width || width < 1) return;
    this.width = width;
    this.overview.style.width = `${width}px`;
    this.draw();
  }

  // Lanes and overview; `anew` when the colours may have changed.
  draw(anew = false) {
    if (this.width < 1) return this.resize();
    const scale = window.devicePixelRatio || 1, lock = this.model.get("lock");
    if (anew || !this.paint || this.scale !== scale) this.paint = paints(this.body, scale);
    this.scale = scale;
    const left = this.model.get("left"), right = this.right(), width = this.width;
    for (const { run, canvas, cpus, below } of this.shown) {
      const c = wiped(canvas, width + GUTTER + 2, notesHeight(run) + cpus * this.tall + below, scale);
      drawLanes(c, run, this.paint, { left, right, width, lock, letters: this.letters, shown: cpus, tall: this.tall, axis: below === AXIS });
    }
    this.locks.filter(lock);
    if (this.drawn?.paint !== this.paint || this.drawn.width !== width) this.drawStrip();
    const edge = (time) => (Math.min(Math.max(time, 0), this.length) / this.length) * width;
    this.frameOf.style.left = `${edge(left)}px`;
    this.frameOf.style.width = `${Math.max(edge(right) - edge(left), 3)}px`;
    this.point();
  }

  // The overview, which shows the same whatever the window is.
  drawStrip() {
    const { width, paint } = this, c = wiped(this.strip, width, this.runs.length * STRIP, this.scale);
    this.runs.forEach((run, i) => drawOverview(c, run, paint, { length: this.length, width, top: i * STRIP, tall: STRIP - 2 }));
    this.drawn = { width, paint };
  }

  // The cursor, and everything that depends on it.
  point() {
    if (!this.shown) return;
    const time = this.model.get("cursor"), left = this.model.get("left");
    const x = ((time - left) / this.span()) * this.width;
    this.needle.style.transform = `translateX(${(time / this.length) * this.width}px)`;
    const [chosen, lane] = this.rows[Math.min(this.model.get("row"), this.rows.length - 1)];
    this.locks.show(time);
    this.shown.forEach(({ needle, names }, number) => {
      needle.hidden = x < 0 || x > this.width;
      needle.style.transform = `translateX(${GUTTER + x}px)`;
      names.forEach((name, cpu) => name.classList.toggle("vtd-chosen", number === chosen && cpu === lane));
    });
    this.detail.textContent = unbroken(this.describe(this.runs[chosen], lane, time));
    this.tell(time, `${duration(time)} of ${duration(this.length)}`);
    const lead = (run) => (this.runs.length > 1 ? `${run.label}, at ${duration(time)}` : `At ${duration(time)}`);
    const parts = this.runs.flatMap((run) => [`${lead(run)}:`, ...this.said(run, time).split(/(?<=\.)\s+/)]);
    this.say(this.runs.map((run) => `${lead(run)}: ${this.said(run, time)}`).join("\n"), parts);
  }

  said(run, time) {
    return time > run.length ? `ended at ${duration(run.length)}.` : sentence(run, time);
  }

  // One CPU in full.
  describe(run, cpu, time) {
    const { look, since, until } = spanAt(run, cpu, Math.min(time, run.length));
    const who = look.context >= 0 ? `, ${run.contexts[look.context]}` : "";
    const place = run.places[look.place] ? `; asked for in ${run.places[look.place]}` : "";
    const which = this.runs.length > 1 ? `${run.label}, ` : "";
    return `${which}CPU${cpu}${who}: ${doing(run, look)}, from ${duration(since)} to ${duration(until)} (${duration(until - since)})${place}`;
  }

  hover(event, run, lanes, tall) {
    const box = lanes.getBoundingClientRect();
    const time = Math.round(this.model.get("left") + ((event.clientX - box.left - GUTTER) / this.width) * this.span());
    const cpu = Math.floor((event.clientY - box.top - notesHeight(run)) / tall);
    this.tip.hidden = time < 0 || time > run.length || event.clientX - box.left < GUTTER || !(cpu >= 0 && cpu < Math.min(run.lanes.length, MOST_LANES));
    if (this.tip.hidden) return;
    this.tip.textContent = this.describe(run, cpu, time);
    const frameBox = this.body.getBoundingClientRect();
    const x = Math.min(event.clientX - frameBox.left + 14, frameBox.width - this.tip.offsetWidth - 4);
    this.tip.style.transform = `translate(${Math.max(x, 0)}px, ${event.clientY - frameBox.top + 18}px)`;
  }

  // -- moving ----------------------------------------------------------------------------------------------------------

  // Put the cursor somewhere, and the window round it if it is outside.
  to(time) {
    const cursor = Math.round(Math.min(Math.max(time, 0), this.length)), left = this.model.get("left"), span = this.span();
    if (cursor >= left && cursor <= left + span) return move(this.model, { cursor });
    const first = Math.round(Math.min(Math.max(cursor - span / (cursor > left ? 3 : 1.5), 0), this.length - span));
    return move(this.model, { cursor, left: first, right: first + span });
  }

  go(where) {
    const time = this.model.get("cursor"), step = Math.max(Math.round((this.span() / this.width) * 2), 1);
    if (where === "next") this.to(nextChange(this.runs, time, 1, step));
    else if (where === "back") this.to(nextChange(this.runs, time, -1, step));
    else this.to({ first: 0, last: this.length, more: time + this.span() / 10, less: time - this.span() / 10 }[where]);
  }

  zoom(factor) {
    const cursor = this.model.get("cursor"), left = this.model.get("left"), span = this.span();
    const wide = Math.min(Math.max(span * factor, Math.min(CLOSEST, this.length)), this.length);
    this.window(cursor - (cursor - left) * (wide / span), wide);
  }

  all() {
    move(this.model, { left: 0, right: this.length });
  }

  jump(kind, which) {
    const lock = this.model.get("lock"), key = `${kind} ${lock}`;
    if (!this.stops.has(key)) this.stops.set(key, stopsOf(this.runs, kind, lock));
    const found = which(this.stops.get(key), this.model.get("cursor"));
    if (there(found)) this.to(found);
    else this.say({ n: "Nobody waits for a lock there.", f: "The checkers found nothing there." }[kind]);
  }

  choose(by) {
    move(this.model, { row: Math.min(Math.max(this.model.get("row") + by, 0), this.rows.length - 1) });
  }

  chooseLane(run, cpu) {
    const row = this.rows.findIndex(([number, lane]) => this.runs[number] === run && lane === cpu);
    if (row >= 0) this.model.set("row", row);
  }

  // A press is where the cursor goes; to drag from there moves the window, if `pans` and there is more than is shown, else the cursor.
  press(node, act, pans = false) {
    let from = null;
    const moved = (event) => {
      const box = node.getBoundingClientRect();
      if (!from.pans) act(event.clientX - box.left, event.clientY - box.top);
      else if (from.dragged || Math.abs(event.clientX - from.x) > DRAG) {
        from.dragged = true;
        this.window(from.left - ((event.clientX - from.x) / this.width) * this.span(), this.span());
      }
    };
    node.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.overview.focus({ preventScroll: true });
      node.setPointerCapture(event.pointerId);
      const box = node.getBoundingClientRect();
      from = { x: event.clientX, left: this.model.get("left"), pans: pans && this.span() < this.length, dragged: false };
      if (!from.pans) act(event.clientX - box.left, event.clientY - box.top);
      node.addEventListener("pointermove", moved);
    });
    node.addEventListener("pointerup", (event) => {
      const box = node.getBoundingClientRect();
      if (from?.pans && !from.dragged) act(event.clientX - box.left, event.clientY - box.top);
    });
    for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => node.removeEventListener("pointermove", moved));
  }

  // Show so much from `left` on, as far as there is something.
  window(left, span) {
    const wide = Math.round(Math.min(Math.max(span, Math.min(CLOSEST, this.length)), this.length));
    const first = Math.round(Math.min(Math.max(left, 0), this.length - wide));
    move(this.model, { left: first, right: first + wide });
  }

  // The wheel zooms at the pointer once the widget has the focus; before that it scrolls the page as ever.
  wheel(node, gutter = 0) {
    node.addEventListener("wheel", (event) => {
      if (!this.root.contains(document.activeElement)) return;
      event.preventDefault();
      const share = (event.clientX - node.getBoundingClientRect().left - gutter) / this.width;
      const left = this.model.get("left"), span = this.span();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) return this.window(left + (Math.sign(event.deltaX) * span) / 20, span);
      const wide = Math.min(Math.max(span * (event.deltaY > 0 ? 1.25 : 0.8), Math.min(CLOSEST, this.length)), this.length);
      const at = gutter ? left + span * share : this.length * share;
      return this.window(at - (at - left) * (wide / span), wide);
    }, { passive: false });
  }
}

function stopsOf(runs, kind, lock) {
  const found = kind === "n" ? runs.flatMap((run) => contentions(run, lock))
    : runs.flatMap((run) => run.notes.filter(([, , finding]) => finding).map(([time]) => time));
  return [...new Set(found)].sort((a, b) => a - b);
}

function caption(run) {
  const waits = run.totals.reduce((sum, row) => sum + row[1], 0), waited = run.totals.reduce((sum, row) => sum + row[2], 0);
  return ` ${duration(run.length)}; ${thousands(waits)} ${waits === 1 ? "wait" : "waits"} for locks, ${duration(waited)} in all`;
}

const HINT = "show this lock clearly and the others faintly";

// Who has each lock and who waits at the cursor, and the totals: a column for each run.
function lockTable(runs, letters, choose) {
  const names = [...new Set(runs.flatMap((run) => run.locks.map(([, name]) => name)))];
  names.sort((a, b) => letters[a].length - letters[b].length || (letters[a] < letters[b] ? -1 : 1));
  const rows = names.map((name) => {
    const pick = el("button", { type: "button", class: "vtd-timeline-lock", "aria-pressed": "false", title: HINT, onclick: () => choose(name) },
      el("span", { class: "vtd-timeline-letter", text: letters[name] }), el("span", { text: name }));
    return { name, pick, cells: runs.map((run) => lockCell(run, run.locks.findIndex(([, other]) => other === name))) };
  });
  const heads = runs.length > 1 ? runs.map(({ label }) => label) : ["locks, and who has them now"];
  const cell = ({ run, i, have, want }) => el("td", {}, have, want, figures(i < 0 ? null : run.totals[i]).map((text) => el("div", { class: "vtd-soft", text })));
  const body = rows.flatMap(({ pick, cells }) => [
    el("tr", {}, el("th", { scope: "rowgroup", colspan: runs.length }, pick)), el("tr", {}, cells.map(cell)),
  ]);
  const node = el("div", { class: `vtd-timeline-locks vtd-timeline-of-${runs.length}`, tabindex: "0", role: "region", "aria-label": "locks" },
    el("table", {}, el("thead", {}, el("tr", {}, heads.map((text) => el("th", { scope: "col", text })))), el("tbody", {}, body)));
  return {
    node,
    filter: (lock) => rows.forEach(({ name, pick }) => pick.setAttribute("aria-pressed", String(name === lock))),
    show: (time) => runs.forEach((run, number) => {
      const now = time > run.length ? null : locksAt(run, time), asleep = new Set(now ? asleepAt(run, time) : []);
      for (const { i, have, want } of rows.map(({ cells }) => cells[number])) {
        const [has, waits] = now && i >= 0 ? nowText(run, now[i], asleep, time) : ["", ""];
        have.textContent = has;
        have.classList.toggle("vtd-held", !!now && i >= 0 && now[i].holders.length > 0);
        if (want) want.textContent = waits;
      }
    }),
  };
}

function lockCell(run, i) {
  const line = () => el("div", { class: "vtd-timeline-now" });
  return { i, run, have: line(), want: i >= 0 && run.totals[i][1] ? line() : null };
}

function figures(totals) {
  if (!totals) return ["not taken"];
  const [taken, waits, waitTotal, waitMax, holdTotal] = totals;
  const waited = waits ? [`${thousands(waits)} waited ${duration(waitTotal)}${waits > 1 ? `, longest ${duration(waitMax)}` : ""}`] : [];
  return [`${thousands(taken)} × taken, held ${duration(holdTotal)}`, ...waited];
}

function nowText(run, { holders, waiters }, asleep, time) {
  const { asked, got, context, cpu, object } = run.episodes;
  const who = (i) => {
    const number = run.objects[object[i]][2];
    return (asleep.has(i) ? `${run.contexts[context[i]]} (asleep)` : `CPU${cpu[i]}`) + (number ? ` #${number}` : "");
  };
  const some = (all, since) => {
    const named = all.slice(0, all.length > 4 ? 3 : 4).map((i) => `${who(i)} ${duration(time - since[i])}`);
    return named.join(", ") + (all.length > 4 ? ` and ${all.length - 3} more` : "");
  };
  const have = holders.length ? `has it: ${some(holders, got)}` : waiters.length ? "on its way to the next" : "free";
  return [have, waiters.length ? `wait: ${some(waiters, asked)}` : ""];
}
