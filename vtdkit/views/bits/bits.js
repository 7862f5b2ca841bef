// Bits by name: the same decoding as vtdkit.vtd.tables.layout, over a layout record made by records.py. No DOM here.

// Every field of `raw` (a BigInt), high bits first: { name, bits, state, value, text, wrong }.
// `wrong` marks bits that must be 0 and are not.
export function decode(layout, raw) {
  return layout.rows.map((row) => {
    const value = field(row, raw);
    return {
      name: row.name,
      bits: row.high === row.low ? `${row.low}` : `${row.high}:${row.low}`,
      high: row.high,
      low: row.low,
      state: row.state,
      access: row.access ?? "",
      value,
      text: [row.meaning, row.values?.[value.toString()]].filter(Boolean).join(": "),
      wrong: row.state === "reserved" && value !== 0n,
    };
  });
}

// A field's value; an address comes back as an address, not as a page number.
export function field(row, raw) {
  const value = (raw >> BigInt(row.low)) & ((1n << BigInt(row.high - row.low + 1)) - 1n);
  return row.address ? value << BigInt(row.low % 64) : value;
}

// How a value is written: small ones in decimal as well.
export function shown(value) {
  return value < 10n ? value.toString() : `0x${value.toString(16)}`;
}

// What the rows are called, in the order of a table, and what becomes of them: the named fields, then what is left in one line.
// Reserved and ignored bits that are 0 say nothing, so they are counted, not listed.
export function tidy(rows) {
  const silent = (row) => (row.state === "ignored" || row.name === "reserved" || row.state === "reserved") && row.value === 0n;
  const quiet = rows.filter(silent);
  const count = (state) => quiet.filter((row) => row.state === state).reduce((sum, row) => sum + row.high - row.low + 1, 0);
  return { named: rows.filter((row) => !silent(row)), reserved: count("reserved"), ignored: count("ignored") };
}
