/** So few that V8 does not compile the loop meanwhile. */
const FIRST = 16;

/**
 * Calls a loop that has code after it twice: for the first few elements, then for the rest. V8
 * compiles a long loop while it runs; of code that follows and that it has not seen by then it
 * knows nothing, and each call would end in the interpreter, where the next one begins.
 */
export function inTwo(length: number, visit: (from: number, to: number) => void): void {
  const first = Math.min(FIRST, length);
  visit(0, first);
  visit(first, length);
}
