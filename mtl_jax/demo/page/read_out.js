// What a map says of one pixel, in words. No access to the page in here.

/** The number as people read it: about four digits. */
export function number(value) {
  if (!Number.isFinite(value)) return "unknown";
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 1e6) ? value.toExponential(2)
    : String(Number(value.toPrecision(4)));
}

/** Where in the picture of width × height pixels a fraction (0 … 1) of its sides lies. */
export function pixel(fraction, size) {
  return Math.min(size - 1, Math.max(0, Math.floor(fraction * size)));
}

/**
 * In words what a map has at column x and row y.
 * @param facts of the map: kind, channels, names, unit, axes.
 * @param values its numbers, row by row.
 */
export function describe(facts, values, width, x, y) {
  const at = (y * width + x) * facts.channels;
  const value = values[at];
  if (facts.kind === "classes") {
    return value >= 0 && value < facts.names.length ? facts.names[value] : "no label";
  }
  if (facts.kind === "objects") return value ? `object ${value}` : "none";
  if (facts.kind === "number") return `${number(value)} ${facts.unit}`.trim();
  const parts = Array.from(values.slice(at, at + facts.channels));
  if (parts.every((part) => part === 0)) return "none";
  const named = parts.map((part, i) => `${facts.axes[i] ?? i} ${part.toFixed(2)}`);
  return `${named.join(", ")} ${facts.unit}`.trim();
}

/** The numbers of values.bin. */
export function decode(facts, buffer) {
  return facts.integer ? new Int32Array(buffer) : new Float32Array(buffer);
}
