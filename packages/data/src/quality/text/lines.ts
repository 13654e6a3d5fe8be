/** Lines of a text without their ends, one after the other. Nothing is split in advance. */
export function* linesOf(text: string): Generator<string> {
  let start = 0;
  for (;;) {
    const end = text.indexOf('\n', start);
    if (end < 0) break;
    yield text.slice(start, text.charCodeAt(end - 1) === 13 && end > start ? end - 1 : end);
    start = end + 1;
  }
  yield text.slice(start);
}

/** Whether a text shows nothing: white space, and characters without width. */
export const isBlank = (text: string): boolean => /^[\s\p{Cf}]*$/u.test(text);
