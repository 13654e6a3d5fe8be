import { Buffer } from 'node:buffer';
import { Joiner } from './joiner.js';
import {
  BACKSLASH,
  CLOSE_LIST,
  CLOSE_OBJECT,
  COMMA,
  type Cut,
  NEWLINE,
  OPEN_LIST,
  OPEN_OBJECT,
  QUOTE,
  SPACE,
  textEnd,
} from './jsonCut.js';

/** Open brackets of the deepest value: with more, it is no row, and they would fill the memory. */
const MOST_OPEN = 2 ** 16;

/** What is kept of a value that is longer than is read. */
const SHOWN_BYTES = 2 ** 14;

/** Where the cutter is: between values, in one, or behind a broken one. */
type State = 'between' | 'value' | 'scalar' | 'lost';

/**
 * Cuts the values out of JSON that goes over lines: the items of arrays, or objects one behind the
 * other. It holds one value at a time and counts brackets outside of texts; whether a value is JSON
 * is for its reader to see.
 *
 * A value whose brackets or quotation marks are wrong would swallow all that follows. So a broken
 * one ends before the next line that begins with "{", no further in than the broken one.
 */
export class JsonCutter {
  #buffer: Buffer = Buffer.alloc(0);
  readonly #joiner = new Joiner();
  #at = 0;
  /** Bytes before the buffer. */
  #offset = 0;
  #line = 1;
  /** Where the line begins in the buffer; below 0 when that is gone. */
  #lineStart = 0;
  /** Whether the line has had nothing but space, commas and "[". */
  #isLineStart = true;
  #state: State = 'between';
  #inArray = false;
  /** Whether a comma, or the beginning, came last. */
  #wantsItem = true;

  // The value that is being cut.
  #begin = 0;
  #beginLine = 1;
  #column = 0;
  /** Bytes of it that are no longer held. */
  #dropped = 0;
  #open: number[] = [];
  #inString = false;
  #isEscaped = false;
  /** Where the next value may begin if this one is broken. */
  #suspect: { at: number; line: number; lineStart: number } | null = null;
  /** Once a value was broken: the next line that looks like a beginning is one. */
  #trustsLines = false;

  constructor(private readonly maxBytes: number) {}

  /** What is complete with these bytes. */
  *push(chunk: Buffer): Generator<Cut> {
    const from = this.#state === 'between' ? this.#at : Math.min(this.#begin, this.#at);
    const rest = this.#buffer.subarray(from);
    this.#buffer = this.#joiner.join(rest, chunk);
    this.#at -= from;
    this.#begin -= from;
    this.#lineStart -= from;
    this.#offset += from;
    if (this.#suspect) {
      this.#suspect.at -= from;
      this.#suspect.lineStart -= from;
    }
    yield* this.#run();
    if (this.#state === 'between') return;
    const held = this.#at - this.#begin;
    if (held <= this.maxBytes) return;
    if (this.#suspect) {
      yield* this.#broken('its brackets do not close');
      yield* this.#run();
      return;
    }
    const gone = held - SHOWN_BYTES;
    if (gone <= 0) return;
    // From here on it is only counted. Its beginning is shown.
    this.#buffer = Buffer.concat([
      this.#buffer.subarray(this.#begin, this.#begin + SHOWN_BYTES),
      this.#buffer.subarray(this.#at),
    ]);
    this.#lineStart -= this.#at - SHOWN_BYTES;
    this.#begin = 0;
    this.#at = SHOWN_BYTES;
    this.#dropped += gone;
  }

  /**
   * What is left at the end.
   *
   * @param why the bytes end too early; null: the file has no more
   */
  *end(why: string | null): Generator<Cut> {
    if (this.#state === 'value' && this.#suspect) {
      yield* this.#broken('its brackets do not close');
      yield* this.#run();
      yield* this.end(why);
      return;
    }
    if (this.#state === 'scalar' && !this.#inArray && why === null) yield this.#cut(null);
    else if (this.#state !== 'between')
      yield this.#cut(
        why ??
          (this.#state === 'lost'
            ? 'what stands here is no JSON, up to the end of the file.'
            : 'the file ends within this row.'),
      );
    else if (why !== null) yield this.#place(why);
    else if (this.#inArray)
      yield this.#place('the file ends where the list should go on or end with "]".');
    this.#inArray = false;
  }

  *#run(): Generator<Cut> {
    while (this.#at < this.#buffer.length)
      switch (this.#state) {
        case 'between':
          yield* this.#between();
          break;
        case 'scalar':
          yield* this.#scalar();
          break;
        case 'value':
          yield* this.#value();
          break;
        case 'lost':
          yield* this.#lost();
          break;
      }
  }

  *#between(): Generator<Cut> {
    const byte = this.#buffer[this.#at]!;
    if (byte <= SPACE) this.#space(byte);
    else if (this.#inArray && byte === COMMA) {
      if (this.#wantsItem) yield this.#place('a comma with no row before it.');
      this.#wantsItem = true;
    } else if (this.#inArray && byte === CLOSE_LIST) this.#inArray = false;
    else if (byte === COMMA) {
      // Between objects that are in no list: nothing is lost.
    } else if (!this.#inArray && byte === OPEN_LIST) {
      this.#inArray = true;
      this.#wantsItem = true;
    } else {
      this.#start(byte === OPEN_OBJECT || byte === OPEN_LIST ? 'value' : 'scalar');
      return;
    }
    this.#at++;
  }

  #start(state: State): void {
    this.#state = state;
    this.#wantsItem = false;
    this.#begin = this.#at;
    this.#beginLine = this.#line;
    this.#column = this.#at - this.#lineStart;
    this.#dropped = 0;
    this.#open = [];
    this.#inString = false;
    this.#isEscaped = false;
    this.#suspect = null;
  }

  #space(byte: number): void {
    if (byte !== NEWLINE) return;
    this.#line++;
    this.#lineStart = this.#at + 1;
    this.#isLineStart = true;
  }

  /** A number, a text, a word: no row, but a place. Its end is a comma, a bracket or a line end. */
  *#scalar(): Generator<Cut> {
    for (; this.#at < this.#buffer.length; this.#at++) {
      const byte = this.#buffer[this.#at]!;
      if (byte === NEWLINE) break;
      if (this.#inString) {
        if (this.#isEscaped) this.#isEscaped = false;
        else if (byte === BACKSLASH) this.#isEscaped = true;
        else if (byte === QUOTE) this.#inString = false;
      } else if (byte === QUOTE) this.#inString = true;
      else if (this.#inArray && (byte === COMMA || byte === CLOSE_LIST)) break;
    }
    if (this.#at === this.#buffer.length) return;
    yield this.#cut(null);
  }

  *#value(): Generator<Cut> {
    const buffer = this.#buffer;
    const open = this.#open;
    for (let at = this.#at; at < buffer.length; at++) {
      if (this.#inString) {
        ({ at, isEscaped: this.#isEscaped } = textEnd(buffer, at, this.#isEscaped));
        this.#inString = buffer[at] !== QUOTE;
        if (buffer[at] !== NEWLINE) continue;
        this.#at = at;
        yield* this.#broken('a text does not end on its line');
        return;
      }
      const byte = buffer[at]!;
      if (byte <= SPACE) {
        if (byte === NEWLINE) {
          this.#at = at;
          this.#space(byte);
        }
        continue;
      }
      if (byte === QUOTE) this.#inString = true;
      else if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
        if (byte === OPEN_OBJECT && open.length > 0 && this.#looksLikeBeginning(at)) {
          this.#suspect ??= { at, line: this.#line, lineStart: this.#lineStart };
          if (this.#trustsLines) {
            this.#at = at;
            yield* this.#broken('its brackets do not close');
            return;
          }
        }
        if (open.length === MOST_OPEN) {
          this.#at = at;
          yield* this.#broken('lists and objects are nested more than 256 deep');
          return;
        }
        open.push(byte);
      } else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) {
        this.#at = at;
        if (open.pop() !== (byte === CLOSE_OBJECT ? OPEN_OBJECT : OPEN_LIST)) {
          yield* this.#broken(`"${String.fromCharCode(byte)}" closes nothing`);
          return;
        }
        if (open.length === 0) {
          this.#at++;
          this.#isLineStart = false;
          yield this.#cut(null);
          return;
        }
      }
      if (byte !== COMMA) this.#isLineStart = false;
    }
    this.#at = buffer.length;
  }

  #looksLikeBeginning(at: number): boolean {
    return (
      this.#isLineStart && this.#line > this.#beginLine && at - this.#lineStart <= this.#column
    );
  }

  /** The value ends before the next that seems to begin; where none does, that is looked for. */
  *#broken(why: string): Generator<Cut> {
    this.#trustsLines = true;
    if (this.#suspect) {
      this.#at = this.#suspect.at;
      this.#line = this.#suspect.line;
      this.#lineStart = this.#suspect.lineStart;
      this.#isLineStart = true;
      yield this.#cut(`not JSON: ${why}.`);
      return;
    }
    this.#state = 'lost';
    this.#inString = false;
  }

  *#lost(): Generator<Cut> {
    for (; this.#at < this.#buffer.length; this.#at++) {
      const byte = this.#buffer[this.#at]!;
      if (byte <= SPACE) {
        this.#space(byte);
        continue;
      }
      if (this.#isLineStart && this.#line > this.#beginLine) {
        const column = this.#at - this.#lineStart;
        const begins = byte === OPEN_OBJECT && column <= this.#column;
        const ends = byte === CLOSE_LIST && (column < this.#column || column === 0);
        if (begins || (ends && this.#inArray)) {
          yield this.#cut('not JSON: brackets or quotation marks do not close.');
          return;
        }
      }
      if (byte !== COMMA) this.#isLineStart = false;
    }
  }

  #cut(fault: string | null): Cut {
    const bytes = this.#buffer.subarray(this.#begin, this.#at);
    const length = bytes.length + this.#dropped;
    this.#state = 'between';
    // What stands before the next value was part of this one.
    if (fault !== null) this.#wantsItem = false;
    return {
      bytes,
      line: this.#beginLine,
      offset: this.#offset + this.#begin,
      fault,
      tooLong: fault === null && length > this.maxBytes ? length : 0,
    };
  }

  #place(fault: string): Cut {
    return { bytes: Buffer.alloc(0), line: this.#line, offset: 0, fault, tooLong: 0 };
  }
}
