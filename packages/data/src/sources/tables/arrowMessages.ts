import { DataType, Message, type Schema, Type } from 'apache-arrow';
import type { BytesOfFile } from './fileBytes.js';
import type { Patience } from './patience.js';

// The library takes the numbers of a message as they are: columns that are shorter than their batch
// become longer by nulls, buffers behind the end are empty. They are looked at before.

/** In front of a message since version 0.15. */
const CONTINUES = 0xffffffff;

/**
 * The messages of a stream, each with what belongs to it.
 *
 * @throws where one is not whole, or names what cannot be
 */
export function* messagesOf(
  file: BytesOfFile,
  begin: number,
  end: number,
  patience: Patience,
): Generator<Uint8Array> {
  let schema: Schema | null = null;
  for (let at = begin; at < end; ) {
    const prefix = new DataView(file.slice(at, Math.min(at + 8, end)));
    if (prefix.byteLength < 4) throw new Error('a message ends too early');
    const isMarked = prefix.getUint32(0, true) === CONTINUES;
    if (isMarked && prefix.byteLength < 8) throw new Error('a message ends too early');
    const length = prefix.getInt32(isMarked ? 4 : 0, true);
    const head = at + (isMarked ? 8 : 4);
    // The end of the stream.
    if (length === 0) return yield new Uint8Array(file.slice(at, head));
    if (length < 0 || head + length > end) throw new Error(`a message of ${length} bytes`);
    patience.begin(length);
    const message = Message.decode(new Uint8Array(file.slice(head, head + length)));
    const { bodyLength } = message;
    const next = head + length + bodyLength;
    if (!(bodyLength >= 0 && next <= end)) throw new Error(`a batch of ${bodyLength} bytes`);
    if (message.isSchema()) {
      if (schema !== null) throw new Error('a second schema');
      schema = message.header();
    } else if (schema === null) throw new Error('no schema in front');
    else if (message.isRecordBatch()) {
      const types = schema.fields.map(({ type }) => type);
      checkBatch(message.header() as never, types, bodyLength);
    } else if (message.isDictionaryBatch()) {
      const { id, data } = message.header();
      const type = schema.dictionaries.get(id);
      if (type === undefined) throw new Error(`a dictionary ${id} of no column`);
      checkBatch(data as never, [type], bodyLength);
    } else throw new Error('a message of no known kind');
    patience.begin(bodyLength);
    yield new Uint8Array(file.slice(at, next));
    at = next;
  }
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
