import { type Data, DataType, Precision, Vector } from 'apache-arrow';
import type { TableJob } from './messages.js';
import {
  dateText,
  dayTimeText,
  decimalNumber,
  plainValue,
  timeText,
  Unreadable,
} from './plainValue.js';

/** The value at a place. @throws where there is none, for the row */
type ReadValue = (index: number) => unknown;

/**
 * How the values of a column are read.
 *
 * @throws where it is too short for its rows
 */
export function valuesOf(data: Data, binary: TableJob['binary']): ReadValue {
  const read = present(data, binary);
  const { length, nullBitmap, nullCount } = data;
  if (DataType.isNull(data.type) || DataType.isUnion(data.type)) return read;
  if (nullCount === 0) return read;
  if (8 * nullBitmap.length < length) throw new Error(`${nullCount} nulls that are nowhere`);
  let nulls = 0;
  for (let i = 0; i < length; i++) nulls += 1 - ((nullBitmap[i >> 3]! >> (i & 7)) & 1);
  if (nulls !== nullCount) throw new Error(`${nulls} nulls where there should be ${nullCount}`);
  return (index) => ((nullBitmap[index >> 3]! >> (index & 7)) & 1 ? read(index) : null);
}

const DIGITS = [0, 3, 6, 9];
const DAY_MS = 86_400_000;

/** The values that are not null. */
function present(data: Data, binary: TableJob['binary']): ReadValue {
  const { type, length, values } = data;
  const plain = (read: ReadValue, size = 1): ReadValue => {
    if (values.length < length * size) throw new Error(`${values.length} values of ${length}`);
    return (index) => plainValue(read(index), binary);
  };
  if (DataType.isNull(type)) return () => null;
  if (DataType.isDictionary(type)) return plain(dictionaryValues(data, binary));
  if (DataType.isBool(type)) return plain((i) => ((values[i >> 3] >> (i & 7)) & 1) === 1, 1 / 8);
  if (DataType.isFloat(type) && type.precision === Precision.HALF) {
    const vector = new Vector([data]);
    return plain((i) => vector.get(i));
  }
  if (DataType.isInt(type) || DataType.isFloat(type) || DataType.isDuration(type))
    return plain((i) => values[i]);
  if (DataType.isUtf8View(type) || DataType.isBinaryView(type)) return plain(views(data), 16);
  if (DataType.isFixedSizeBinary(type)) {
    const size = type.byteWidth;
    return plain((i) => values.subarray(i * size, (i + 1) * size), size);
  }
  if (isText(type)) {
    const span = spans(data, values.length);
    return (i) => plainValue(values.subarray(...span(i)), binary);
  }
  if (DataType.isTimestamp(type)) return plain((i) => timeText(values[i], DIGITS[type.unit]!));
  if (DataType.isTime(type))
    return plain((i) => dayTimeText(BigInt(values[i]), DIGITS[type.unit]!));
  if (DataType.isDate(type))
    return plain((i) =>
      dateText(type.unit === 0 ? values[i] : Math.floor(Number(values[i]) / DAY_MS)),
    );
  if (DataType.isDecimal(type)) {
    const words = type.bitWidth / 32;
    return plain((i) => {
      let number = 0n;
      for (let word = words - 1; word >= 0; word--)
        number = (number << 32n) | BigInt(values[i * words + word] >>> 0);
      return decimalNumber(BigInt.asIntN(type.bitWidth, number), type.scale, type.precision);
    }, words);
  }
  if (DataType.isInterval(type)) {
    if (type.unit === 0) return plain((i) => ({ months: values[i] }));
    if (type.unit === 1)
      return plain((i) => ({ days: values[2 * i], milliseconds: values[2 * i + 1] }), 2);
    return plain((i) => {
      const [months, days, low, high] = values.subarray(4 * i, 4 * i + 4);
      return { months, days, nanoseconds: (BigInt(high) << 32n) | BigInt(low >>> 0) };
    }, 4);
  }
  return nested(data, binary);
}

const isText = (type: DataType): boolean =>
  DataType.isUtf8(type) ||
  DataType.isLargeUtf8(type) ||
  DataType.isBinary(type) ||
  DataType.isLargeBinary(type);

function nested(data: Data, binary: TableJob['binary']): ReadValue {
  const { type, length } = data;
  const children = data.children.map((child) => valuesOf(child, binary));
  const [read] = children;
  const part = ([begin, end]: readonly [number, number]): unknown[] => {
    const list: unknown[] = [];
    for (let i = begin; i < end; i++) list.push(read!(i));
    return list;
  };
  if (DataType.isList(type) || DataType.isLargeList(type)) {
    const span = spans(data, data.children[0]!.length);
    return (index) => part(span(index));
  }
  if (DataType.isFixedSizeList(type)) {
    const size = type.listSize;
    return (index) => part([index * size, (index + 1) * size]);
  }
  if (DataType.isMap(type)) {
    const span = spans(data, data.children[0]!.length);
    return (index) => {
      const pairs = part(span(index)).map((pair) => Object.values(pair as object));
      return Object.fromEntries(pairs.map(([key, value]) => [String(key), value]));
    };
  }
  if (DataType.isStruct(type)) {
    const names = type.children.map(({ name }) => name);
    return (index) =>
      Object.fromEntries(children.map((child, i) => [names[i], child(index)] as const));
  }
  if (DataType.isUnion(type)) {
    const { typeIds, valueOffsets } = data;
    if (typeIds.length < length) throw new Error(`${typeIds.length} kinds of ${length} values`);
    const isDense = type.mode === 1;
    return (index) => {
      const kind = type.typeIdToChildIndex[typeIds[index]!];
      const place = isDense ? Number(valueOffsets[index]) : index;
      if (kind === undefined || !(place >= 0 && place < data.children[kind]!.length))
        throw new Error('a value that is nowhere');
      return children[kind]!(place);
    };
  }
  throw new Error(`values of type ${type}, which are not read`);
}

/** From where to where a text or list goes. */
function spans(data: Data, most: number): (index: number) => readonly [number, number] {
  const { valueOffsets, length } = data;
  if (length > 0 && valueOffsets.length <= length)
    throw new Error(`${valueOffsets.length} offsets of ${length} values`);
  return (index) => {
    const [begin, end] = [Number(valueOffsets[index]), Number(valueOffsets[index + 1])];
    if (!(begin >= 0 && end >= begin && end <= most))
      throw new Error(`a value from ${begin} to ${end} of ${most}`);
    return [begin, end];
  };
}

/** Texts that are within their view, or in a buffer that it names. */
function views({ values, variadicBuffers }: Data): ReadValue {
  const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
  return (index) => {
    const at = 16 * index;
    const size = view.getInt32(at, true);
    if (size >= 0 && size <= 12) return values.subarray(at + 4, at + 4 + size);
    const buffer = variadicBuffers[view.getInt32(at + 8, true)];
    const begin = view.getInt32(at + 12, true);
    if (size < 0 || buffer === undefined || begin < 0 || begin + size > buffer.length)
      throw new Error(`a text of ${size} bytes at ${begin} that is nowhere`);
    return buffer.subarray(begin, begin + size);
  };
}

/** Values of a dictionary, which may have come in several pieces. */
function dictionaryValues({ dictionary, values }: Data, binary: TableJob['binary']): ReadValue {
  if (dictionary === undefined) throw new Error('its dictionary is missing');
  const all: unknown[] = [];
  for (const piece of dictionary.data) {
    const read = valuesOf(piece, binary);
    for (let i = 0; i < piece.length; i++)
      try {
        all.push(read(i));
      } catch (error) {
        all.push(new Unreadable((error as Error).message)); // For the rows that name it.
      }
  }
  return (index) => {
    const place = Number(values[index]);
    if (!(place >= 0 && place < all.length))
      throw new Error(`value ${place} of a dictionary of ${all.length}`);
    return all[place];
  };
}
