// What all widgets share in the browser: making elements, keys, a slider that is not an <input>, the frame round a picture.
//
// Rules: text from a record is set as text (el, svg), never as markup. One widget is one focusable slider with arrow keys, plus buttons;
// whatever has the focus in it, the slider gets the keys it knows, and none of these reaches the page. Nothing is loaded from anywhere.

// Whether there is something. A kernel in the browser sends Python's None as undefined, others as null; so nobody asks for either by name.
export const there = (value) => value !== null && value !== undefined;

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [key, value] of Object.entries(props)) {
    if (!there(value) || value === false) continue;
    if (key === "text") node.textContent = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(node.dataset, value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter(there));
  return node;
}

// el("button", { class: "x", "aria-label": "next", onclick: f, text: "Next" }, child, [children])
export function el(name, props = {}, ...children) {
  return fill(document.createElement(name), props, children);
}

// The same for SVG.
export function svg(name, props = {}, ...children) {
  return fill(document.createElementNS(SVG, name), props, children);
}

// keys(node, { ArrowRight: () => ..., "Shift+ArrowRight": () => ... }): what is listed is handled here and goes no further.
// `owns`: they are its widget's keys, wherever in the widget the focus is.
export function keys(node, actions, owns = false) {
  node.addEventListener("keydown", (event) => press(actions, event));
  if (owns) owned.set(node, actions);
}

const owned = new WeakMap();

function press(actions, event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const act = (event.shiftKey && actions[`Shift+${event.key}`]) || actions[event.key];
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act(event);
}

const UPRIGHT = ["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End"];

// What an element does with a key by itself: it is written into, it is pressed, it scrolls.
function keeps(node, key) {
  if (node.closest("input, select, textarea")) return true;
  if (key === " " || key === "Enter") return Boolean(node.closest("button, summary, a"));
  return UPRIGHT.includes(key) && node.tabIndex >= 0 && node.scrollHeight > node.clientHeight + 1;
}

// JupyterLab's shortcuts leave alone what has this attribute; it asks from the focused element upwards and takes the first answer, and its own
// selectors answer for whatever has the focus. So what has the focus must have the attribute itself.
const OURS = "data-lm-suppress-shortcuts";

// A press anywhere in the widget gives it the keys, as its root takes the focus that nothing inside takes; Escape gives them back.
function takesKeys(root) {
  let owner = null;
  root.addEventListener("focusin", ({ target }) => {
    target.setAttribute(OURS, "true");
    if (owned.has(target)) owner = target;
  });
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.target.blur();
      root.closest(".jp-Cell")?.focus({ preventScroll: true });
    } else if (!keeps(event.target, event.key)) {
      const first = owner?.isConnected ? owner : [...root.querySelectorAll("[tabindex='0']")].find((node) => owned.has(node));
      if (first && first !== event.target) press(owned.get(first), event);
    }
  });
}

const REST = 150; // milliseconds
const resting = new WeakMap();

// Change the position: move(model, { step: 3 }). Python hears of it, where there is one, once the keys rest: a message for each step would
// have the page handle answers that nobody waits for. With `asks` somebody does, and Python hears of it at once.
export function move(model, position, asks = false) {
  for (const [name, value] of Object.entries(position)) model.set(name, value);
  clearTimeout(resting.get(model));
  if (asks) model.save_changes();
  else resting.set(model, setTimeout(() => model.save_changes(), REST));
}

// Draw now, and once for all the traits that one key changes; stops when the view goes.
export function watch(model, names, draw, signal) {
  let due = false;
  const later = () => {
    if (!due) queueMicrotask(() => {
      due = false;
      draw();
    });
    due = true;
  };
  for (const name of names) {
    model.on(`change:${name}`, later);
    signal?.addEventListener("abort", () => model.off(`change:${name}`, later));
  }
  draw();
}

// What is in a node from now on. What stays the same is left alone: the browser lays out and paints again whatever is replaced. The nodes
// given may have no listeners, since those that are there already stay.
export function renew(node, ...children) {
  const wanted = children.flat().filter((child) => there(child) && child !== "");
  wanted.forEach((child, place) => {
    const fresh = typeof child === "string" ? document.createTextNode(child) : child, old = node.childNodes[place];
    if (!old) node.append(fresh);
    else if (old.nodeName !== fresh.nodeName || summary(old) !== summary(fresh)) old.replaceWith(fresh);
    else if (fresh.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
    } else {
      become(old, fresh);
      renew(old, ...fresh.childNodes);
    }
  });
  while (node.childNodes.length > wanted.length) node.lastChild.remove();
}

const summary = (node) => (node.nodeName === "DETAILS" ? node.firstChild.textContent : "");

// Attributes, where they are not so already: put(path, { d: "M0 0" }). SVG is laid out again even when it is told what it was told before.
export function put(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// The attributes of another element; what a person unfolded stays open, what has the focus keeps the keys.
function become(node, other) {
  for (const { name, value } of other.attributes) put(node, { [name]: value });
  for (const name of node.getAttributeNames()) if (name !== "open" && name !== OURS && !other.hasAttribute(name)) node.removeAttribute(name);
}

// A part that grows but does not shrink while the page is as wide: what is below does not jump from step to step.
export function steady(node) {
  let width = 0;
  const sizes = new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width === width) node.style.minHeight = `${contentRect.height}px`;
    else requestAnimationFrame(() => (node.style.minHeight = "")); // not here: that may resize it once more
    width = contentRect.width;
  });
  sizes.observe(node);
}

// A slider without a thumb of its own: `node` is whatever picture shows the position. `go(where)` is told "next", "back", "first", "last",
// "more", "less" (the large steps, Shift+arrow and PageUp/PageDown). Returns set(value, text) for what is read out.
export function slider(node, { label, min = 0, max, go, more = {} }) {
  fill(node, { role: "slider", tabindex: "0", "aria-label": label, "aria-valuemin": min, "aria-valuemax": max }, []);
  const large = { "Shift+ArrowRight": "more", PageDown: "more", "Shift+ArrowLeft": "less", PageUp: "less" };
  const plain = { ArrowRight: "next", ArrowLeft: "back", Home: "first", End: "last" };
  const actions = { ...more };
  for (const [key, where] of Object.entries({ ...large, ...plain })) actions[key] ??= () => go(where);
  keys(node, actions, true);
  return (value, text) => {
    node.setAttribute("aria-valuenow", value);
    node.setAttribute("aria-valuetext", text);
  };
}

// A button with a text that is its name; `hint` says more, for those who hover and those who listen.
export function button(text, act, { hint = "", label = "", ...more } = {}) {
  return el("button", { type: "button", class: "vtd-button", text, title: hint || null, "aria-label": label || null, onclick: act, ...more });
}

// A term that a newcomer does not know, with its meaning.
export function term(text, meaning) {
  return el("abbr", { text, title: meaning });
}

// A short list of signs and what they stand for: legend([["swatch-class", "what it means"], ...]). The swatch's letter comes from the class.
export function legend(entries) {
  return el(
    "ul",
    { class: "vtd-legend", "aria-label": "legend" },
    entries.map(([swatch, text]) => el("li", {}, el("span", { class: `vtd-swatch ${swatch}`, "aria-hidden": "true" }), el("span", { text }))),
  );
}

// The frame of a widget: a title, a row of controls, the picture, a line that is read out when it changes (`say`): of its parts, the
// sentences, only those that were not there before. Keys and words are folded away.
// `hints` are [key, what it does]; `words` are [term, meaning].
export function frame(host, { title, hints = [], words = [] }) {
  const root = el("section", { class: "vtd", tabindex: "-1", [OURS]: "true", "aria-label": title });
  const keyed = el("div", { class: "vtd-keyed", "aria-hidden": "true", text: "arrow keys move this; Esc gives them back" });
  takesKeys(root);
  const heading = el("div", { class: "vtd-title", text: title });
  const controls = el("div", { class: "vtd-controls" });
  const body = el("div", { class: "vtd-body" });
  const status = el("div", { class: "vtd-status" });
  const aloud = el("div", { class: "vtd-hidden", role: "status" });
  let known = [];
  const say = (text, parts = text.split(/(?<=\.)\s+/)) => {
    aloud.textContent = parts.filter((part) => !known.includes(part)).join(" ") || text;
    status.textContent = unbroken(text);
    known = parts;
  };
  steady(status);
  const help = el(
    "details",
    { class: "vtd-help" },
    el("summary", { text: words.length ? "Keys and words" : "Keys" }),
    el("dl", { class: "vtd-keys" }, hints.flatMap(([key, text]) => [el("dt", {}, el("kbd", { text: key })), el("dd", { text })])),
    words.length ? el("dl", { class: "vtd-words" }, words.flatMap(([word, text]) => [el("dt", { text: word }), el("dd", { text })])) : null,
  );
  root.append(keyed, el("div", { class: "vtd-head" }, heading, controls), body, status, aloud, help);
  host.append(root);
  return { root, title: heading, controls, body, status, say };
}

// A name such as group->mutex is not broken after its hyphen.
export const unbroken = (text) => text.replaceAll("->", "-\u2060>");

// 64-bit numbers travel as text.
export const big = (text) => BigInt(text);
export const hex = (value, digits = 0) => `0x${value.toString(16).padStart(digits, "0")}`;

// 0x12ab34cd as 0x12ab_34cd: four digits at a time.
export function grouped(value, digits = 0) {
  const plain = value.toString(16).padStart(digits, "0");
  return `0x${plain.replace(/\B(?=([0-9a-f]{4})+$)/g, "_")}`;
}

export const bytes = (size) => {
  const units = [[1n << 40n, "TiB"], [1n << 30n, "GiB"], [1n << 20n, "MiB"], [1n << 10n, "KiB"]];
  const [unit, name] = units.find(([unit]) => BigInt(size) >= unit) ?? [1n, "bytes"];
  return `${BigInt(size) / unit} ${name}`;
};
