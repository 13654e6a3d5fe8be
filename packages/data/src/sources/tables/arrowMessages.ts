import { DataType, Message, type Schema, Type } from 'apache-arrow';
import type { ArrowFooter } from './arrowFooter.js';
import type { BytesOfFile } from './fileBytes.js';
import type { Patience } from './patience.js';

// The library takes the numbers of a message as they are: columns that are shorter than their batch
// become longer by nulls, buffers behind the end are empty. They are looked at before.

/** In front of a message since version 0.15. */
const CONTINUES = 0xffffffff;

/** Part of a file that is a stream of messages. */
export interface ArrowStream {
  readonly begin: number;
  readonly end: number;
  /** Where batches are, if it is a file whose footer can be read. */
  readonly footer: ArrowFooter | null;
}

/**
 * The messages of a stream, each with what belongs to it, as a stream. A file is read where its
 * footer says, as the format has it: some writers leave the schema in front of the batches away,
 * and lengths that contradict it would move all values of a batch.
 *
 * @throws where one is not whole, or names what cannot be
 */
export function* messagesOf(
  file: BytesOfFile,
  stream: ArrowStream,
  patience: Patience,
): Generator<Uint8Array> {
  const { begin, end, footer } = stream;
  if (footer === null) return yield* inTurn(file, begin, end, patience);
  const first = schemaInFront(file, stream, patience) ?? footer.schemaMessage();
  const schema = Message.decode(first.subarray(8)).header() as Schema;
  yield first;
  for (const block of footer.blocks) {
    const { message, next, head } = readMessage(file, block.at, end, patience) ?? {};
    if (!message || head !== block.at + block.head || next !== head + block.body)
      throw new Error(`no batch of ${block.body} bytes where the footer has one`);
    checkMessage(message, schema);
    patience.begin(block.body);
    yield new Uint8Array(file.slice(block.at, next));
  }
}

function* inTurn(
  file: BytesOfFile,
  begin: number,
  end: number,
  patience: Patience,
): Generator<Uint8Array> {
  let schema: Schema | null = null;
  for (let at = begin; at < end; ) {
    const read = readMessage(file, at, end, patience);
    if (read === null) {
      const behind = end - at - 8;
      if (behind > 0) throw new Error(`${behind} bytes behind its end`);
      return;
    }
    const { message, next } = read;
    if (!message.isSchema()) checkMessage(message, schema);
    else if (schema === null) schema = message.header() as Schema;
    else throw new Error('a second schema');
    patience.begin(message.bodyLength);
    yield new Uint8Array(file.slice(at, next));
    at = next;
  }
}

/** null: there is none. */
function schemaInFront(
  file: BytesOfFile,
  { begin, end }: ArrowStream,
  patience: Patience,
): Uint8Array | null {
  if (new DataView(file.slice(begin, begin + 4)).getUint32(0, true) !== CONTINUES) return null;
  const read = readMessage(file, begin, end, patience);
  return read?.message.isSchema() ? new Uint8Array(file.slice(begin, read.next)) : null;
}

interface ReadMessage {
  readonly message: Message;
  /** The first byte behind its head, which is that of its body. */
  readonly head: number;
  /** The first byte behind it. */
  readonly next: number;
}

/** null: the end of the stream. */
function readMessage(
  file: BytesOfFile,
  at: number,
  end: number,
  patience: Patience,
): ReadMessage | null {
  const prefix = new DataView(file.slice(at, Math.min(at + 8, end)));
  if (prefix.byteLength < 4) throw new Error('a message ends too early');
  const isMarked = prefix.getUint32(0, true) === CONTINUES;
  if (isMarked && prefix.byteLength < 8) throw new Error('a message ends too early');
  const length = prefix.getInt32(isMarked ? 4 : 0, true);
  if (length === 0) return null;
  const begin = at + (isMarked ? 8 : 4);
  if (length < 0 || begin + length > end) throw new Error(`a message of ${length} bytes`);
  patience.begin(length);
  const head = begin + length;
  const message = Message.decode(new Uint8Array(file.slice(begin, head)));
  const { bodyLength } = message;
  if (!(bodyLength >= 0 && head + bodyLength <= end))
    throw new Error(`a batch of ${bodyLength} bytes`);
  return { message, head, next: head + bodyLength };
}

function checkMessage(message: Message, schema: Schema | null): void {
  if (schema === null) throw new Error('no schema in front');
  if (message.isRecordBatch()) {
    const types = schema.fields.map(({ type }) => type);
    checkBatch(message.header() as never, types, message.bodyLength);
  } else if (message.isDictionaryBatch()) {
    const { id, data } = message.header();
    const type = schema.dictionaries.get(id);
    if (type === undefined) throw new Error(`a dictionary ${id} of no column`);
    checkBatch(data as never, [type], message.bodyLength);
  } else throw new Error('a message of no known kind');
}

/** What a message says of a batch. */
interface BatchHeader {
  readonly length: number;
  readonly nodes: readonly { readonly length: number; readonly nullCount: number }[];
  readonly buffers: readonly { readonly offset: number; readonly length: number }[];
}

function checkBatch({ length, nodes, buffers }: BatchHeader, types: DataType[], bytes: number) {
  let next = 0;
  const check = (type: DataType, least: number, most = Number.POSITIVE_INFINITY): void => {
    const node = nodes[next++];
    if (node === undefined) throw new Error(`a batch of ${nodes.length} columns`);
    if (!(node.length >= least && node.length <= most))
      throw new Error(`a column of ${node.length} rows in a batch of ${length}`);
    if (!(node.nullCount >= 0 && node.nullCount <= node.length))
      throw new Error(`${node.nullCount} nulls in ${node.length} rows`);
    if (DataType.isDictionary(type)) return;
    const inner = DataType.isStruct(type)
      ? node.length
      : DataType.isFixedSizeList(type)
        ? node.length * type.listSize
        : DataType.isUnion(type) && type.typeId !== Type.DenseUnion && type.mode === 0
          ? node.length
          : 0;
    for (const { type: child } of type.children ?? []) check(child, inner);
  };
  if (!(length >= 0)) throw new Error(`a batch of ${length} rows`);
  for (const type of types) check(type, length, length);
  if (next !== nodes.length) throw new Error(`a batch of ${nodes.length} columns`);
  for (const { offset, length: size } of buffers)
    if (!(offset >= 0 && size >= 0 && offset + size <= bytes))
      throw new Error(`${size} bytes at ${offset} of a batch of ${bytes}`);
}
