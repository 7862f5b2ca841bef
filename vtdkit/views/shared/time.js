// Lengths of time in words, as vtdkit.kernel.record.units has them.

export const UNITS = [["ns", 1], ["µs", 1000], ["ms", 1000000]];

export const thousands = (number) => String(number).replace(/\B(?=(\d{3})+(?!\d))/g, ",");

export function duration(ns) {
  const [unit, size] = UNITS.find(([, size]) => ns < 10000 * size) ?? UNITS.at(-1);
  if (size === 1) return `${thousands(ns)} ns`;
  const tenths = Math.floor((ns * 10 + size / 2) / size);
  return `${thousands(Math.floor(tenths / 10))}.${tenths % 10} ${unit}`;
}
