// A lock timeline's lanes on a canvas. Colours come from the style sheet, so both themes are served; each state has a pattern too.
//
// A lane: the band shows the state; a blue edge on top of it says that locks are held although the band shows something else; the strip
// below says that interrupts are off. Where spans are too short to tell apart, the band is stacked: the part of the time each had.

import { HARDWARE, HOLDING, IDLE, INTERRUPT, RUNNING, SPINNING, bars, ticks } from "./timeline_model.js";

export const GUTTER = 52, AXIS = 24;
const NOTES = 20;
const STACKED = [HOLDING, SPINNING, HARDWARE, INTERRUPT, RUNNING];

// The height of a lane where there are so many, of all runs: what is compared fits on one screen.
export function laneHeight(lanes) {
  return lanes <= 4 ? 40 : lanes <= 6 ? 34 : lanes <= 8 ? 28 : lanes <= 12 ? 24 : lanes <= 16 ? 19 : lanes <= 32 ? 12 : 8;
}

// What has a name in the record has a row above the lanes.
export function notesHeight(run) {
  return run.notes.length ? NOTES : 0;
}

// Colours and patterns for a canvas, made anew when the theme or the zoom of the page changes.
export function paints(root, scale) {
  const style = getComputedStyle(root);
  const colour = (name) => style.getPropertyValue(`--vtd-${name}`).trim();
  const [paper, red, orange, purple, blue] = ["paper", "red", "orange", "purple", "blue"].map(colour);
  const fills = [];
  fills[RUNNING] = colour("tint");
  fills[HOLDING] = blue;
  fills[SPINNING] = tile(8, scale, (c) => {
    field(c, 8, paper);
    c.strokeStyle = red;
    c.lineWidth = 3;
    stroke(c, [[-2, 2, 2, -2], [-2, 10, 10, -2], [6, 10, 10, 6]]);
  });
  fills[HARDWARE] = tile(6, scale, (c) => {
    field(c, 6, paper);
    c.fillStyle = orange;
    for (const [x, y] of [[1.5, 1.5], [4.5, 4.5]]) c.fill(disc(x, y, 1.45));
  });
  fills[INTERRUPT] = tile(6, scale, (c) => {
    field(c, 6, paper);
    c.strokeStyle = purple;
    c.lineWidth = 1.6;
    stroke(c, [[0, 3, 6, 3], [3, 0, 3, 6]]);
  });
  const edges = [];
  [edges[RUNNING], edges[HOLDING], edges[SPINNING], edges[HARDWARE], edges[INTERRUPT]] = [colour("sky"), blue, red, orange, purple];
  const inks = { ink: colour("ink"), soft: colour("soft"), faint: colour("faint"), line: colour("line"), paper, blue, red };
  return { fills, edges, on: { [HOLDING]: colour("on-blue"), [RUNNING]: colour("soft") }, font: style.fontFamily, ...inks };
}

function tile(size, scale, draw) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.round(size * scale);
  const c = canvas.getContext("2d");
  c.scale(canvas.width / size, canvas.width / size);
  draw(c);
  const pattern = c.createPattern(canvas, "repeat");
  pattern.setTransform(new DOMMatrix().scale(size / canvas.width));
  return pattern;
}

function field(c, size, colour) {
  c.fillStyle = colour;
  c.fillRect(0, 0, size, size);
}

function stroke(c, lines) {
  for (const [x, y, toX, toY] of lines) {
    c.beginPath();
    c.moveTo(x, y);
    c.lineTo(toX, toY);
    c.stroke();
  }
}

function disc(x, y, radius) {
  const path = new Path2D();
  path.arc(x, y, radius, 0, 7);
  return path;
}

// Make a canvas as large as its element, sharp on any screen; returns its context, in CSS pixels, wiped.
export function wiped(canvas, width, height, scale) {
  const wide = Math.round(width * scale), high = Math.round(height * scale);
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const c = canvas.getContext("2d");
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.clearRect(0, 0, width + 1, height + 1);
  return c;
}

// All lanes of a run between two instants, each `tall`. `width` is that of the lanes; the canvas has GUTTER more on the left, notesHeight()
// more above, and with `axis` AXIS more below, where times are written.
export function drawLanes(c, run, paint, { left, right, width, lock, letters, shown, tall, axis }) {
  const is = (object) => object >= 0 && run.objects[object][0] === lock;
  const touches = (look) => !lock || [look.object, ...look.held, ...look.below].some(is);
  // The letter of the lock that is chosen, where it is held; else of the one taken last or waited for.
  const named = (look) => {
    const object = look.held.find(is) ?? look.object;
    return object >= 0 ? letters[run.objects[object][0]] ?? "" : "";
  };
  c.save();
  c.translate(GUTTER, notesHeight(run));
  drawAxis(c, run, paint, { left, right, width, bottom: shown * tall, axis });
  for (let cpu = 0; cpu < shown; cpu++) {
    const lane = { top: cpu * tall + Math.round(tall * 0.14), band: Math.round(tall * (tall < 40 ? 0.66 : 0.6)), strip: Math.max(2, Math.round(tall * 0.12)) };
    c.fillStyle = paint.line;
    c.fillRect(0, lane.top + lane.band - 1, width, 1);
    const crowds = new Crowds(c, lane, paint, lock);
    for (const bar of bars(run, cpu, left, right, width, 2)) {
      if (bar.look < 0) crowds.add(bar);
      else drawSpan(c, run, bar, lane, paint, named(run.looks[bar.look]), touches(run.looks[bar.look]));
    }
    crowds.draw();
  }
  c.restore();
}

// `touched`: it is about the lock that is chosen, if one is; others are dimmed, but their names can be read.
function drawSpan(c, run, bar, { top, band, strip }, paint, letter, touched) {
  const look = run.looks[bar.look], x = bar.left, wide = bar.right - bar.left;
  c.globalAlpha = touched ? 1 : 0.2;
  if (look.state !== IDLE) {
    c.fillStyle = paint.fills[look.state];
    c.fillRect(x, top, wide, band);
    c.fillStyle = paint.edges[look.state];
    c.fillRect(x, top, 1, band);
    c.fillRect(x, top + band - 1, wide, 1);
    if (look.state !== HOLDING && look.held.length + look.below.length) {
      c.fillStyle = paint.blue;
      c.fillRect(x, top, wide, strip);
    }
  }
  if (look.off) {
    c.fillStyle = paint.ink;
    c.fillRect(x, top + band + 2, wide, strip);
  }
  c.globalAlpha = 1;
  if (look.state !== IDLE && wide > 16 && band >= 12) {
    const who = look.context >= 0 ? run.contexts[look.context] : "";
    drawWords(c, letter, who, x, wide, top, band, paint, touched ? look.state : RUNNING);
  }
}

// The letter of the lock, and whose work it is where there is room.
function drawWords(c, letter, who, x, wide, top, band, paint, state) {
  const whole = [letter, who].filter(Boolean).join("  ");
  c.font = `600 ${Math.min(13, Math.round(band * 0.6))}px ${paint.font}`;
  c.textBaseline = "middle";
  const text = c.measureText(whole).width + 14 <= wide ? whole : c.measureText(letter).width + 10 <= wide ? letter : "";
  if (!text) return;
  const long = c.measureText(text).width;
  if (!paint.on[state]) {
    c.fillStyle = paint.paper;
    c.fillRect(x + 3, top + band / 2 - 8, long + 6, 16);
  }
  c.fillStyle = paint.on[state] ?? paint.ink;
  c.fillText(text, x + 6, top + band / 2 + 0.5);
}

// Stacked bars, in whole pixels; neighbours that look alike are one rectangle, and those of one state are one path: a lane of ten thousand
// spans takes a few hundred rectangles. To fill them one by one takes four times as long where a pattern is painted without a GPU.
class Crowds {
  constructor(c, lane, paint, lock) {
    Object.assign(this, { c, lane, paint, lock });
    this.boxes = Array.from({ length: INTERRUPT + 2 }, () => []); // the states, and the strip
  }

  add({ left, right, shares, off }) {
    const { top, band, strip } = this.lane, x = Math.round(left), end = Math.max(Math.round(right), x + 1);
    let sum = 0, bottom = top + band;
    for (const state of STACKED) {
      sum += shares[state];
      const y = top + band - Math.round(sum * band);
      if (y < bottom) this.box(state, x, y, end, bottom - y, 1);
      bottom = y;
    }
    const dark = Math.round(off * 8) / 8;
    if (dark) this.box(this.boxes.length - 1, x, top + band + 2, end, strip, dark);
  }

  // left, top, right, height, alpha
  box(kind, x, y, end, tall, alpha) {
    const boxes = this.boxes[kind], last = boxes.at(-1);
    if (last && last[2] === x && last[1] === y && last[3] === tall && last[4] === alpha) last[2] = end;
    else boxes.push([x, y, end, tall, alpha]);
  }

  draw() {
    const { c, paint } = this;
    this.boxes.forEach((boxes, kind) => {
      const paths = new Map(); // by alpha
      for (const [x, y, end, tall, alpha] of boxes) {
        if (!paths.has(alpha)) paths.set(alpha, new Path2D());
        paths.get(alpha).rect(x, y, end - x, tall);
      }
      c.fillStyle = paint.fills[kind] ?? paint.ink;
      for (const [alpha, path] of paths) {
        c.globalAlpha = this.lock ? alpha / 5 : alpha;
        c.fill(path);
      }
    });
    c.globalAlpha = 1;
  }
}

function drawAxis(c, run, paint, { left, right, width, bottom, axis }) {
  const scale = width / (right - left);
  c.font = `12px ${paint.font}`;
  c.textBaseline = "top";
  for (const [at, text] of ticks(left, right, Math.max(2, Math.floor(width / 110)))) {
    const x = (at - left) * scale, long = c.measureText(text).width;
    c.fillStyle = paint.faint;
    c.fillRect(x, 0, 1, bottom + (axis ? 4 : 0));
    c.fillStyle = paint.soft;
    if (axis) c.fillText(text, Math.min(Math.max(x - long / 2, -20), width - long), bottom + 7);
  }
  if (run.length < right) {
    c.fillStyle = paint.line;
    c.fillRect((run.length - left) * scale, 0, 2, bottom);
    c.fillStyle = paint.soft;
    if ((right - run.length) * scale > 90) c.fillText("ended", (run.length - left) * scale + 8, 8);
  }
  drawNotes(c, run, paint, { left, right, scale, width, bottom });
}

// A finding is a line with a filled diamond, a mark a thin dashed line; their words stand above where they do not run into each other.
function drawNotes(c, run, paint, { left, right, scale, width, bottom }) {
  let free = -Infinity;
  for (const [time, , finding, text] of run.notes) {
    if (time < left || time > right) continue;
    const x = (time - left) * scale;
    c.strokeStyle = c.fillStyle = finding ? paint.red : paint.soft;
    c.lineWidth = finding ? 2 : 1;
    c.setLineDash(finding ? [] : [3, 3]);
    stroke(c, [[x, -6, x, bottom]]);
    c.setLineDash([]);
    if (finding) c.fill(diamond(x, -10, 6));
    const room = width - x - 10;
    if (x < free || room < 40) continue;
    c.fillStyle = finding ? paint.ink : paint.soft;
    const words = fitted(c, text, room);
    c.fillText(words, x + (finding ? 10 : 3), -18);
    free = x + c.measureText(words).width + 20;
  }
}

function fitted(c, text, room) {
  if (c.measureText(text).width <= room) return text;
  let size = text.length;
  while (size && c.measureText(`${text.slice(0, size)}…`).width > room) size--;
  return `${text.slice(0, size)}…`;
}

function diamond(x, y, size) {
  const path = new Path2D();
  path.moveTo(x, y - size);
  path.lineTo(x + size, y);
  path.lineTo(x, y + size);
  path.lineTo(x - size, y);
  return path;
}

// The whole run in a strip: how much of the CPUs' time went into spinning.
export function drawOverview(c, run, paint, { length, width, top, tall }) {
  const cells = new Float64Array(Math.ceil(width / 3));
  run.lanes.forEach((lane, cpu) => {
    for (const { left, right, look, shares } of bars(run, cpu, 0, length, width, 3)) {
      const share = look < 0 ? shares[SPINNING] : Number(run.looks[look].state === SPINNING);
      for (let cell = Math.floor(left / 3); share && cell < Math.min(right / 3, cells.length); cell++) {
        cells[cell] += share * (Math.min(right, cell * 3 + 3) - Math.max(left, cell * 3)) / 3;
      }
    }
  });
  c.fillStyle = paint.faint;
  c.fillRect(0, top + tall - 1, (width * run.length) / length, 1);
  c.fillStyle = paint.red;
  cells.forEach((sum, cell) => {
    const part = (tall * sum) / run.lanes.length;
    c.fillRect(cell * 3, top + tall - part, 3, part);
  });
  c.fillStyle = paint.red;
  for (const [time, , finding] of run.notes) if (finding) c.fillRect((time / length) * width - 1, top, 3, tall);
}
