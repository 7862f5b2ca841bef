// The walkthrough: the cells of a page as screens, one step each, in type that is read from the last row.
//
// `w` or the button starts and ends it; a page with <meta name="walk"> starts by itself, and so does #walk=3, at screen 3.
// Right, Down at the end of a screen, Space and PageDown turn on; Left, Up at its top and PageUp turn back; Home and End jump; `c` shows the code.
// A widget that has the focus keeps its keys, PageUp and PageDown excepted: presenters' remotes send these. Escape gives the keys back.
//
// Which cells: a cell tagged `walk` begins a screen, `walk-on` joins it, the rest is left out. With neither, headings begin screens and all
// cells are shown. Code that has an output stays folded unless its cell is tagged `walk-code`.
//
// Cells that are out of sight keep their place in the layout, beyond the left edge: a widget never meets a width of nought.

"use strict";

(() => {
  const WIDE = 760; // the width, in CSS pixels, that fills the screen at full size
  const SMALLEST = 1100; // zooming out to fit a tall screen stops where this many would fill it

  const cells = [...document.querySelectorAll(".jp-Notebook-cell")];
  const tagged = (cell, tag) => cell.classList.contains(`celltag_${tag}`) || cell.querySelector(`.celltag_${tag}`) !== null;
  const screens = screensOf(cells);
  let current = 0;

  function screensOf(all) {
    const chosen = all.filter((cell) => tagged(cell, "walk") || tagged(cell, "walk-on"));
    const begins = chosen.length
      ? (cell) => tagged(cell, "walk")
      : (cell) => cell.querySelector(".jp-MarkdownOutput > :is(h1, h2):first-child") !== null;
    const found = [];
    for (const cell of chosen.length ? chosen : all) {
      if (begins(cell) || found.length === 0) found.push([]);
      found.at(-1).push(cell);
    }
    return found;
  }

  const body = document.body;

  // Widgets take their colours from the page's theme: dark where the browser asks for it, light on paper.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paint = () => (body.dataset.jpThemeLight = String(!dark.matches || matchMedia("print").matches));
  dark.addEventListener("change", paint);
  matchMedia("print").addEventListener("change", paint);
  paint();

  const main = document.querySelector("main");
  const bar = document.createElement("div");
  bar.className = "walk-bar";
  bar.setAttribute("role", "status"); // read out when a screen is turned
  const button = document.createElement("button");
  button.type = "button";
  button.className = "walk-button";
  button.textContent = "Walk through (w)";
  button.addEventListener("click", () => (walking() ? leave() : enter(0)));
  main.before(button);
  body.append(bar);

  const walking = () => body.classList.contains("walk");

  function enter(screen) {
    body.classList.add("walk");
    button.textContent = "Leave (w)";
    show(screen);
  }

  function leave() {
    const first = screens[current][0];
    body.classList.remove("walk");
    main.style.zoom = "";
    button.textContent = "Walk through (w)";
    bar.textContent = "";
    history.replaceState(null, "", location.pathname + location.search);
    for (const cell of cells) cell.classList.remove("walk-off", "walk-first");
    first.scrollIntoView();
  }

  function show(screen) {
    current = Math.max(0, Math.min(screens.length - 1, screen));
    const shown = new Set(screens[current]);
    for (const cell of cells) {
      cell.classList.toggle("walk-off", !shown.has(cell));
      cell.classList.toggle("walk-first", cell === screens[current][0]);
      cell.classList.toggle("walk-fold", foldsCode(cell));
    }
    document.activeElement?.blur();
    history.replaceState(null, "", `#walk=${current + 1}`);
    fit();
    window.scrollTo(0, 0);
    const heading = screens[current].map((cell) => cell.querySelector("h1, h2, h3")).find(Boolean);
    const name = heading ? `: ${heading.textContent.replace("¶", "")}` : "";
    bar.textContent = `${current + 1} / ${screens.length}${name} · ← → turn · c code · Esc`;
  }

  const foldsCode = (cell) => cell.querySelector(".jp-OutputArea-child") !== null && !tagged(cell, "walk-code");

  // Large enough to fill the width; smaller, down to a limit, if that brings the whole screen into sight.
  function fit() {
    const width = document.documentElement.clientWidth;
    const height = window.innerHeight - bar.offsetHeight;
    let zoom = width / WIDE;
    do {
      main.style.zoom = String(zoom);
      const last = screens[current].at(-1);
      if (last.getBoundingClientRect().bottom - main.getBoundingClientRect().top <= height) break;
      zoom *= 0.95;
    } while (zoom > width / SMALLEST);
  }

  const atTop = () => window.scrollY <= 1;
  const atEnd = () => window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 1;
  const turns = {
    ArrowRight: () => 1,
    ArrowLeft: () => -1,
    ArrowDown: () => (atEnd() ? 1 : 0),
    ArrowUp: () => (atTop() ? -1 : 0),
    " ": () => 1,
    PageDown: () => 1,
    PageUp: () => -1,
    Home: () => -screens.length,
    End: () => screens.length,
  };
  const typing = (node) => node.closest?.("input, textarea, select, [contenteditable]") !== null;
  const operated = (node) => node !== body && node !== document.documentElement && node.closest?.(".jp-OutputArea, details, a, button");

  function key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    const remote = event.key === "PageDown" || event.key === "PageUp";
    if (event.key === "w" && !typing(event.target)) walking() ? leave() : enter(0);
    else if (!walking()) return;
    else if (event.key === "Escape") operated(event.target) ? document.activeElement.blur() : leave();
    else if (operated(event.target) && !remote) return;
    else if (event.key === "c") body.classList.toggle("walk-code"), fit();
    else if (turns[event.key]) {
      const by = turns[event.key]();
      if (!by) return; // the screen is higher than the window: scroll
      show(current + by);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // Remotes are heard before a widget can take the key; everything else only after it did not want it.
  document.addEventListener("keydown", (event) => event.key.startsWith("Page") && key(event), true);
  document.addEventListener("keydown", (event) => !event.key.startsWith("Page") && key(event));
  window.addEventListener("resize", () => walking() && fit());
  new ResizeObserver(() => walking() && fit()).observe(main); // widgets and formulas arrive late

  const asked = location.hash.match(/^#walk(?:=(\d+))?$/);
  if (asked || document.querySelector('meta[name="walk"]')) enter(Number(asked?.[1] ?? 1) - 1);
})();
