// A value's fields as a table, with every abbreviation explained where it stands.

import { el, term } from "../shared/common.js";
import { decode, shown, tidy } from "./bits.js";

// A text with its abbreviations as terms: nodes for append(). `glossary` maps each to its meaning.
export function explained(text, glossary) {
  return text
    .split(/\b([A-Z][A-Za-z0-9_]*[A-Z0-9][A-Za-z0-9_]*)\b/)
    .filter((part) => part !== "")
    .map((part) => (Object.hasOwn(glossary, part) ? term(part, glossary[part]) : part));
}

// Named fields, one a row, that with the bits `lit` marked; what is 0 and means nothing is counted below.
export function fieldTable(layout, raw, glossary, lit = "") {
  const { named, reserved, ignored } = tidy(decode(layout, raw));
  const heads = ["Bits", "Field", "Value", "Meaning"].map((text) => el("th", { scope: "col", text }));
  const rest = [reserved ? `${reserved} reserved bits are 0` : "", ignored ? `${ignored} ignored bits are 0` : ""].filter(Boolean).join(", ");
  return [
    el("table", { class: "vtd-fields" }, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, named.map((row) => fieldRow(row, glossary, row.bits === lit)))),
    rest ? el("div", { class: "vtd-soft", text: rest }) : null,
  ];
}

function fieldRow(row, glossary, lit) {
  return el(
    "tr",
    { class: `${row.wrong ? "vtd-wrongrow" : row.value === 0n ? "vtd-soft" : ""} ${lit ? "vtd-on" : ""}`.trim() },
    [row.bits, row.name, shown(row.value)].map((text) => el("td", {}, el("code", { text }))),
    el("td", {}, explained(meaning(row), glossary)),
  );
}

// What a field says, with the reason why it should not.
export function meaning(row) {
  if (row.wrong) return `must be 0: ${row.text.replace(/^must be 0: /, "") || "reserved"}`;
  return [row.text, row.state === "ignored" ? "not looked at" : ""].filter(Boolean).join("; ");
}
