/** Where lines are drawn: `process.stderr`, or what a test gives. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  /** Width in characters; changes with the window. Default 80. */
  readonly columns?: number;
  write(text: string): unknown;
}

type Write = (...args: never[]) => unknown;

/** A stream whose `write` others call too: `process.stdout`, `process.stderr`. */
interface SharedStream {
  write: Write;
}

const CLEAR = '\r\x1b[2K';

/** Characters that terminals draw two columns wide: East Asian ones and pictures. */
const WIDE = /[ᄀ-ᅟ⺀-〾ぁ-꓏가-힣豈-﫿︰-﹏＀-｠￠-￦]|\p{Emoji_Presentation}/u;
const NO_WIDTH = /[\p{Mark}\p{Cf}]/u;

/** Columns that a text takes in a terminal. */
export const displayWidth = (text: string): number =>
  [...text].reduce((sum, c) => sum + (NO_WIDTH.test(c) ? 0 : WIDE.test(c) ? 2 : 1), 0);

/** The beginning of a text that is at most `columns` wide. */
export function cutToWidth(text: string, columns: number): string {
  let width = 0;
  let cut = '';
  for (const c of text) {
    width += displayWidth(c);
    if (width > columns) break;
    cut += c;
  }
  return cut;
}

/**
 * One line at the bottom of a terminal that is drawn again and again. What others write meanwhile
 * comes in its place, and the line is drawn again below: while it stands, `write` of the shared
 * streams takes it away first.
 */
export class LiveLine {
  readonly #stream: ProgressStream;
  readonly #shared: readonly SharedStream[];
  #restore: (() => void) | null = null;
  /** Somebody's text that has not ended its line. */
  #isOpen = false;

  constructor(stream: ProgressStream, shared: readonly object[]) {
    this.#stream = stream;
    this.#shared = shared as readonly SharedStream[];
  }

  /**
   * Columns to draw in: one less than there are, as some terminals break the line after the last.
   */
  get width(): number {
    return Math.max(1, (this.#stream.columns || 80) - 1);
  }

  draw(text: string): void {
    this.#release();
    const lead = this.#isOpen ? '\n' : CLEAR;
    this.#isOpen = false;
    this.#stream.write(`${lead}${cutToWidth(text, this.width)}`);
    this.#guard();
  }

  /** A line that stays, above. */
  print(text: string): void {
    this.clear();
    this.#stream.write(`${this.#isOpen ? '\n' : ''}${text}\n`);
    this.#isOpen = false;
  }

  clear(): void {
    if (!this.#restore) return;
    this.#release();
    this.#stream.write(CLEAR);
  }

  /** Leaves the line as it stands. */
  end(): void {
    if (!this.#restore) return;
    this.#release();
    this.#stream.write('\n');
  }

  #guard(): void {
    const originals = this.#shared.map((stream) => stream.write);
    const guards = this.#shared.map((stream, i): Write => {
      return (...args) => {
        this.clear();
        this.#isOpen = !String(args[0]).endsWith('\n');
        return originals[i]!.apply(stream, args);
      };
    });
    this.#shared.forEach((stream, i) => {
      stream.write = guards[i]!;
    });
    this.#restore = () => {
      this.#shared.forEach((stream, i) => {
        if (stream.write === guards[i]) stream.write = originals[i]!;
      });
    };
  }

  #release(): void {
    this.#restore?.();
    this.#restore = null;
  }
}
