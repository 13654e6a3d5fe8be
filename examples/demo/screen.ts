const WIDTH = 80;

/**
 * At most `lines` lines of a text, none beyond the screen's edge; what is cut off leaves three
 * dots.
 */
function excerpt(text: string, lines: number, width: number): string[] {
  const all = text.split('\n');
  const kept = all.length > lines ? [...all.slice(0, lines - 1), '...'] : all;
  return kept.map((line) => (line.length > width ? `${line.slice(0, width - 3)}...` : line));
}

/** A label with lines beside it. */
function beside(label: string, lines: readonly string[]): string[] {
  return lines.map((line, i) => `${(i === 0 ? label : '').padStart(10)} | ${line}`);
}

/**
 * One function with the review that is right and the model's before and after; 15 lines at most.
 */
export function compare(
  code: string,
  expectedIssue: string,
  before: string,
  after: string,
): string {
  const width = WIDTH - 13;
  return [
    ...excerpt(code, 7, WIDTH),
    ...beside('expected', [`issue: ${expectedIssue}`]),
    ...beside('before', excerpt(before, 3, width)),
    ...beside('after', excerpt(after, 3, width)),
  ].join('\n');
}
