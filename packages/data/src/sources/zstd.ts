import { Buffer } from 'node:buffer';
import { Decompress } from 'fzstd';
import { BrokenBytes, CHUNK_BYTES, type Chunks } from './bytes.js';
import { Xxh64 } from './xxh64.js';

const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
/** 128 MiB, the largest window that `zstd -d` takes by itself. */
const MAX_WINDOW = 2 ** 27;
/** Bytes of a block at most, compressed or not. */
const MAX_BLOCK = 2 ** 17;
/** A block of nothing. fzstd waits for 18 bytes before it begins. */
const EMPTY_BLOCKS = new Uint8Array(12);

const broken = (what: string): BrokenBytes => new BrokenBytes(`zstd: ${what}`);

/**
 * What zstd compressed: one frame or several, one behind the other.
 *
 * fzstd decodes the blocks. Frames, their ends and their checksums are looked at here: fzstd checks
 * none, and would give what a flipped bit made of the text.
 *
 * @throws BrokenBytes where the bytes end too early, are damaged, or go on with something else
 */
export async function* unzstd(chunks: Chunks): AsyncGenerator<Buffer> {
  const input = new Input(chunks);
  while (await input.has(1)) {
    if (!(await input.has(4))) throw broken('other bytes come behind the end');
    const magic = (await input.take(4, 'a frame')).readUInt32LE(0);
    if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE)
      await input.skip((await input.take(4, 'a frame')).readUInt32LE(0));
    else if (magic === MAGIC) yield* readFrame(input);
    else throw broken('other bytes come behind the end');
  }
}

async function* readFrame(input: Input): AsyncGenerator<Buffer> {
  const { window, hasChecksum } = await readHeader(input);
  const hash = hasChecksum ? new Xxh64() : null;
  let out: Uint8Array[] = [];
  let outBytes = 0;
  const decoder = new Decompress((bytes) => {
    hash?.update(bytes);
    out.push(bytes);
    outBytes += bytes.length;
  });
  const decode = (bytes: Uint8Array): void => {
    try {
      decoder.push(bytes);
    } catch (error) {
      throw broken(`damaged (${(error as Error).message})`);
    }
  };
  decode(Buffer.concat([headerOf(window), EMPTY_BLOCKS]));
  const taken = (): Buffer => {
    const bytes = Buffer.concat(out);
    out = [];
    outBytes = 0;
    return bytes;
  };
  try {
    for (let isLast = false; !isLast; ) {
      const header = await input.take(3, 'a block');
      const bits = header.readUIntLE(0, 3);
      isLast = (bits & 1) === 1;
      const type = (bits >> 1) & 3;
      const size = bits >> 3;
      if (type === 3 || size > MAX_BLOCK) throw broken('damaged (a block of no type or size)');
      decode(Buffer.concat([header, await input.take(type === 1 ? 1 : size, 'a block')]));
      if (outBytes >= CHUNK_BYTES) yield taken();
    }
    if (hash !== null && (await input.take(4, 'a checksum')).readUInt32LE(0) !== hash.low)
      throw broken('the checksum is another: rows of this file may have been changed');
  } finally {
    // Also what came before damage.
    if (outBytes > 0) yield taken();
  }
}

interface FrameHeader {
  /** Bytes that matches reach back. */
  readonly window: number;
  readonly hasChecksum: boolean;
}

async function readHeader(input: Input): Promise<FrameHeader> {
  const [descriptor] = (await input.take(1, 'a frame')) as unknown as [number];
  const isSingle = (descriptor & 0x20) !== 0;
  if ((descriptor & 8) !== 0) throw broken('damaged (a frame of no known kind)');
  const exponent = isSingle ? 0 : (await input.take(1, 'a frame'))[0]!;
  const dictionary = await input.take([0, 1, 2, 4][descriptor & 3]!, 'a frame');
  if (dictionary.some((byte) => byte !== 0))
    throw broken('compressed with a dictionary, which is not here');
  const sizeBytes = [isSingle ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
  const size = await input.take(sizeBytes, 'a frame');
  const base = 2 ** (10 + (exponent >> 3));
  const window = isSingle ? contentSize(size) : base + (base / 8) * (exponent & 7);
  if (window > MAX_WINDOW)
    throw broken(
      `its window has ${window} bytes, at most ${MAX_WINDOW} are read: compress it without --long`,
    );
  return { window, hasChecksum: (descriptor & 4) !== 0 };
}

const contentSize = (size: Buffer): number =>
  size.length === 8
    ? Number(size.readBigUInt64LE(0))
    : size.readUIntLE(0, size.length) + (size.length === 2 ? 256 : 0);

/** The header of a frame with a window that is at least so large, and nothing else to it. */
function headerOf(window: number): Buffer {
  const header = Buffer.alloc(6);
  header.writeUInt32LE(MAGIC, 0);
  const log = Math.max(10, Math.ceil(Math.log2(Math.max(window, 1))));
  header[5] = (log - 10) << 3;
  return header;
}

/** Bytes that are taken in parts of any length. */
class Input {
  #held: Buffer = Buffer.alloc(0);
  readonly #chunks: AsyncIterator<Buffer>;

  constructor(chunks: Chunks) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async has(length: number): Promise<boolean> {
    while (this.#held.length < length) {
      const next = await this.#chunks.next();
      if (next.done) return false;
      this.#held = this.#held.length === 0 ? next.value : Buffer.concat([this.#held, next.value]);
    }
    return true;
  }

  /** @throws BrokenBytes when there are fewer */
  async take(length: number, within: string): Promise<Buffer> {
    if (!(await this.has(length))) throw broken(`the file ends within ${within}`);
    const bytes = this.#held.subarray(0, length);
    this.#held = this.#held.subarray(length);
    return bytes;
  }

  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      if (!(await this.has(1))) throw broken('the file ends within a frame');
      left -= (await this.take(Math.min(left, this.#held.length), 'a frame')).length;
    }
  }
}
