const HEIGHT = 8;
const WIDTH = 60;

/** A curve as lines of text: `values` from left to right, its range at the left edge. */
export function plot(title: string, values: readonly number[]): string {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const columns = Math.min(WIDTH, values.length);
  const heights = Array.from({ length: columns }, (_, c) => {
    const value = values[Math.round((c * (values.length - 1)) / Math.max(1, columns - 1))]!;
    return high > low ? Math.round(((value - low) / (high - low)) * (HEIGHT - 1)) : 0;
  });
  const lines = Array.from({ length: HEIGHT }, (_, line) => {
    const level = HEIGHT - 1 - line;
    const label = level === HEIGHT - 1 ? high.toFixed(2) : level === 0 ? low.toFixed(2) : '';
    return `${label.padStart(7)} |${heights
      .map((h) => (h === level ? '*' : ' '))
      .join('')
      .trimEnd()}`;
  });
  return [`  ${title}`, ...lines, `${' '.repeat(8)}+${'-'.repeat(columns)}`].join('\n');
}
