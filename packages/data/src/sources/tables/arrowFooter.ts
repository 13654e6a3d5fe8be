import { Buffer } from 'node:buffer';
import { Message, RecordBatchReader } from 'apache-arrow';
import type { BytesOfFile } from './fileBytes.js';

/** Where a batch lies, or a dictionary, as the footer of an Arrow file says. */
export interface FooterBlock {
  readonly at: number;
  /** Bytes of its head and of its body. */
  readonly head: number;
  readonly body: number;
}

export interface ArrowFooter {
  /** In the order of the file. */
  readonly blocks: readonly FooterBlock[];
  /** The schema as a message of a stream, for files that have it in their footer alone. */
  schemaMessage(): Uint8Array;
}

/** Bytes of a block: its place (8), the length of its head (4, and 4 empty), of its body (8). */
const BLOCK_BYTES = 24;
/** Fields of the footer that are lists of blocks: dictionaries, then batches. */
const LISTS = [2, 3];

/**
 * The footer of an Arrow file, which stands in front of the last ten bytes.
 *
 * @param size its bytes
 * @throws where it cannot be read
 */
export function readFooter(file: BytesOfFile, size: number): ArrowFooter {
  const end = file.byteLength - 10;
  const view = new DataView(file.slice(end - size, end));
  const blocks: FooterBlock[] = [];
  // A flatbuffer: an offset to a table, whose own table says where each field is.
  const table = view.getUint32(0, true);
  const fields = table - view.getInt32(table, true);
  const fieldBytes = view.getUint16(fields, true);
  for (const list of LISTS) {
    const place = 4 + 2 * list;
    const offset = place < fieldBytes ? view.getUint16(fields + place, true) : 0;
    if (offset === 0) continue;
    const vector = table + offset + view.getUint32(table + offset, true);
    const count = view.getUint32(vector, true);
    if (count * BLOCK_BYTES > size) throw new Error(`${count} batches`);
    for (let at = vector + 4; at < vector + 4 + count * BLOCK_BYTES; at += BLOCK_BYTES)
      blocks.push({
        at: Number(view.getBigInt64(at, true)),
        head: view.getInt32(at + 8, true),
        body: Number(view.getBigInt64(at + 16, true)),
      });
  }
  blocks.sort((a, b) => a.at - b.at);
  // The library would read the dictionaries of what has a footer alone.
  if (4 + 2 * LISTS[0]! < fieldBytes) view.setUint16(fields + 4 + 2 * LISTS[0]!, 0, true);
  return { blocks, schemaMessage: () => schemaOf(new Uint8Array(view.buffer)) };
}

/** The library reads it from a file of a footer alone, and writes what a stream begins with. */
function schemaOf(footer: Uint8Array): Uint8Array {
  const size = Buffer.alloc(4);
  size.writeInt32LE(footer.length);
  const alone = [Buffer.from('ARROW1\0\0'), footer, size, Buffer.from('ARROW1')];
  const reader = RecordBatchReader.from(Buffer.concat(alone));
  const head = Message.encode(Message.from(reader.open().schema));
  const padded = Buffer.alloc(8 + Math.ceil(head.length / 8) * 8);
  padded.writeUInt32LE(0xffffffff, 0);
  padded.writeInt32LE(padded.length - 8, 4);
  padded.set(head, 8);
  return padded;
}
