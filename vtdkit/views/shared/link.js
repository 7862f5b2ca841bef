// A link to one moment: what a page's fragment says of a widget, and the button that makes such a link.
//
//   #stepper-2=step:17               the second Stepper of the page, at step 17
//   #timeline-1=cursor:900,lock:x    several traits, each as text
//
// A fragment comes from anywhere: it moves a widget only by the traits that the widget names, and each value goes through the function given
// for it, which answers undefined for what makes no sense. Each widget has a module of its own, so they meet in the page: the kind is in
// `data-kind`, and an event tells the others that one more is drawn. Who is the second is decided when no more come.

import { button, move, there } from "./common.js";

const SETTLED = 600; // milliseconds without a new widget
const DRAWN = "vtd-drawn";

export const whole = (low, high) => (text) => (/^-?\d{1,15}$/.test(text) ? Math.min(Math.max(Number(text), low), high) : undefined);
export const number64 = (text) => (/^0x[0-9a-f]{1,16}$/.test(text) ? text : undefined);
export const oneOf = (values) => (text) => (values.includes(text) ? text : undefined);

// "#stepper-2=step:17" as { stepper-2: { step: "17" } }
export function fragments(hash) {
  const found = {};
  for (const part of hash.replace(/^#/, "").split("&").slice(0, 20)) {
    const [, name, values] = /^([a-z]+-\d{1,3})=(.{0,500})$/.exec(part) ?? [];
    if (name) found[name] = Object.fromEntries(values.split(",").map((pair) => pair.split(":").map(unescaped)).filter((pair) => pair.length === 2));
  }
  return found;
}

function unescaped(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

export const written = (name, values) => `#${name}=${Object.entries(values).map(([key, value]) => `${key}:${encodeURIComponent(value)}`).join(",")}`;

// linked({ root, controls, say }, model, "stepper", { step: whole(0, last) }, signal)
export function linked({ root, controls, say }, model, kind, place, signal) {
  root.dataset.kind = kind;
  const number = () => [...document.querySelectorAll(`.vtd[data-kind="${kind}"]`)].indexOf(root) + 1;
  const follow = () => {
    const wanted = fragments(asked())[`${kind}-${number()}`];
    if (!wanted || !root.isConnected) return;
    const read = Object.entries(place).map(([name, reads]) => [name, there(wanted[name]) ? reads(wanted[name]) : undefined]);
    move(model, Object.fromEntries(read.filter(([, value]) => there(value))), true);
    root.scrollIntoView({ block: "center" });
    root.focus({ preventScroll: true });
  };
  let timer = 0;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      window.removeEventListener(DRAWN, soon);
      follow();
    }, SETTLED);
  };
  window.addEventListener(DRAWN, soon, { signal });
  window.addEventListener("hashchange", follow, { signal });
  window.dispatchEvent(new Event(DRAWN));
  if (!shareable()) return;
  const copy = () => {
    const values = Object.fromEntries(Object.keys(place).map((name) => [name, model.get(name)]));
    const hash = written(`${kind}-${number()}`, values), link = shareable() + hash;
    if (link.startsWith(location.href.split("#")[0] + "#")) history.replaceState(null, "", hash);
    const done = (copied) => say(copied ? `The link is copied: ${hash}` : `The link: ${link}`);
    if (navigator.clipboard) navigator.clipboard.writeText(link).then(() => done(true), () => done(false));
    else done(false);
  };
  controls.append(button("Copy link", copy, { hint: "a link that opens this page with the widget as it is now" }));
}

// The fragment that the page was opened with, also where the page has since changed its address.
function asked() {
  const [opened] = performance.getEntriesByType("navigation");
  return location.hash || /#.*$/.exec(opened?.name ?? "")?.[0] || "";
}

// The address that opens this page again, without a fragment; "" where there is none to give away: inside a program that shows notebooks,
// and in a JupyterLab that is one person's own.
function shareable() {
  if (!/^(https?|file):$/.test(location.protocol) || window !== window.top) return "";
  const [here] = location.href.split("#"), settings = document.querySelector("#jupyter-config-data");
  if (!settings) return here;
  const path = "jupyterLiteRoot" in settings.dataset && window.jupyterapp?.shell?.currentWidget?.context?.path;
  return path ? `${location.origin}${location.pathname}?path=${encodeURIComponent(path)}` : "";
}
