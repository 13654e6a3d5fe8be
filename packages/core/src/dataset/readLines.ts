import { currentFolder, maxStringLength } from '#platform';
import { openRegular } from '../io/regularFile.js';
import { concatBytes } from '../util/byteArrays.js';
import { AttuneError } from '../util/errors.js';
import { decodeUtf8, hasBom, otherFormat } from '../util/utf8.js';

/** Bytes that are read at once. */
const CHUNK_BYTES = 2 ** 18;

const NEWLINE = 0x0a;
const RETURN = 0x0d;

/**
 * The bytes of a text file, without a byte order mark at its beginning.
 *
 * @throws DATASET_FILE when it is no file, or its first bytes are those of another format
 */
export async function* readChunks(path: string): AsyncGenerator<Uint8Array> {
  const file = await openRegular(path, {
    code: 'DATASET_FILE',
    label: 'data file ',
    remedy: `Check the path; it is relative to ${currentFolder()}.`,
  });
  try {
    for (let first = true; ; first = false) {
      // A new one each time: what is handed on may be kept.
      const buffer = new Uint8Array(CHUNK_BYTES);
      const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES);
      if (bytesRead === 0) return;
      const chunk = buffer.subarray(0, bytesRead);
      if (!first) {
        yield chunk;
        continue;
      }
      const other = otherFormat(chunk);
      if (other !== null)
        throw new AttuneError('DATASET_FILE', `data file ${path} is ${other}.`, {
          remedy: 'Give UTF-8 text: JSON Lines, a JSON array, or lines of text.',
        });
      yield hasBom(chunk) ? chunk.subarray(3) : chunk;
    }
  } finally {
    await file.close();
  }
}

/** A line without its end, and its number from 1 on. */
export interface Line {
  readonly text: string;
  readonly number: number;
}

/**
 * Lines of UTF-8 bytes. Only \n ends one (and \r\n): U+2028 may stand inside of a JSON string. Each
 * byte is looked at once, however long a line is.
 *
 * @throws DATASET_ENCODING, DATASET_LINE_LENGTH, naming the file and the line
 */
export async function* splitLines(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
): AsyncGenerator<Line> {
  const line = new Pieces(path);
  let number = 1;
  for await (const chunk of chunks) {
    let begin = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, begin);
      line.add(chunk.subarray(begin, end < 0 ? chunk.length : end), number);
      if (end < 0) break;
      yield { text: line.take(number), number };
      number++;
      begin = end + 1;
    }
  }
  if (line.length > 0) yield { text: line.take(number), number };
}

/** A text that comes in pieces, joined once. */
export class Pieces {
  #parts: Uint8Array[] = [];
  #length = 0;

  constructor(
    private readonly path: string,
    /** Most bytes: Node holds no longer text. */
    private readonly maxBytes: number = maxStringLength,
  ) {}

  get length(): number {
    return this.#length;
  }

  /**
   * @param line where the text begins, for the message
   * @throws DATASET_LINE_LENGTH, DATASET_ENCODING
   */
  add(part: Uint8Array, line: number): void {
    if (part.length === 0) return;
    // What a crash leaves of a file is zeros, perhaps very many.
    if (part.includes(0))
      throw new AttuneError(
        'DATASET_ENCODING',
        `${this.path}:${line}: a row with NUL characters.`,
        {
          remedy:
            'Text has none: the file is binary, or was cut off when it was written. Write it again.',
        },
      );
    this.#parts.push(part);
    this.#length += part.length;
    if (this.#length <= this.maxBytes) return;
    this.#parts = [];
    throw new AttuneError(
      'DATASET_LINE_LENGTH',
      `${this.path}:${line}: a row of more than ${this.maxBytes} bytes, the longest text that Node holds.`,
      { remedy: 'Split the row into several; is there a line end after each?' },
    );
  }

  /** The text, without a \r at its end. @throws DATASET_ENCODING */
  take(line: number): string {
    const [first] = this.#parts;
    const bytes = this.#parts.length === 1 ? first! : concatBytes(this.#parts);
    this.#parts = [];
    this.#length = 0;
    try {
      return decodeUtf8(bytes.at(-1) === RETURN ? bytes.subarray(0, -1) : bytes);
    } catch (cause) {
      throw new AttuneError(
        'DATASET_ENCODING',
        `${this.path}:${line}: not UTF-8 text: ${(cause as Error).message}.`,
        {
          remedy: 'Save the file as UTF-8; `iconv -f latin1 -t utf-8` turns Latin-1 into it.',
          cause,
        },
      );
    }
  }
}
