import { JsonNumber, type JsonValue } from '../util/losslessJson.js';
import { readAs } from '../util/readAs.js';
import { Dict, type Value } from './values.js';

/** A value of JavaScript as Python's, and about how much there is of it. */
export interface Converted {
  readonly value: Value;
  /**
   * Steps that reading it is worth: 300 for a value, one for a letter. A message takes some
   * hundred.
   */
  readonly size: number;
}

/**
 * What a template sees of a value: whole numbers are ints, other numbers floats, undefined and null
 * None, objects dicts. Where a value was read from a file, numbers are what Python reads there
 * (`1.0` is a float, large integers are exact) and keys keep the order of the file. What JSON has
 * not becomes "<its class>", as in transformers.
 *
 * @param read how the file spelt it, where nothing of the value itself remembers
 */
export function convert(value: unknown, read?: JsonValue): Converted {
  let size = 0;
  const visit = (item: unknown, like: JsonValue | undefined): Value => {
    size += 300;
    if (item instanceof JsonNumber) return numberOf(item);
    switch (typeof item) {
      case 'string':
        size += item.length;
        return item;
      case 'number':
        if (like instanceof JsonNumber && Object.is(like.value, item)) return numberOf(like);
        return Number.isSafeInteger(item) && !Object.is(item, -0) ? BigInt(item) : item;
      case 'boolean':
      case 'bigint':
        return item;
      case 'undefined':
        return null;
      case 'object':
        break;
      default:
        return `<${typeof item}>`;
    }
    if (item === null) return null;
    const known = readAs(item) ?? like;
    if (Array.isArray(item)) {
      const old = Array.isArray(known) ? (known as readonly JsonValue[]) : [];
      return item.map((part: unknown, i) => visit(part, old[i]));
    }
    if (item instanceof Map)
      return Dict.of(
        [...item].map(([key, part]) => [visit(key, undefined), visit(part, undefined)]),
      );
    const prototype: unknown = Object.getPrototypeOf(item);
    if (prototype !== Object.prototype && prototype !== null)
      return `<${item.constructor?.name ?? 'object'}>`;
    return dictOf(item as Readonly<Record<string, unknown>>, known, visit, (n) => {
      size += n;
    });
  };
  return { value: visit(value, read), size };
}

function dictOf(
  object: Readonly<Record<string, unknown>>,
  like: JsonValue | undefined,
  visit: (item: unknown, like: JsonValue | undefined) => Value,
  add: (size: number) => void,
): Dict {
  const old = like instanceof Map ? (like as ReadonlyMap<string, JsonValue>) : null;
  const dict = new Dict();
  const keys = new Set([...(old?.keys() ?? []), ...Object.keys(object)]);
  for (const key of keys)
    if (Object.hasOwn(object, key) && object[key] !== undefined) {
      add(key.length);
      dict.set(key, visit(object[key], old?.get(key)));
    }
  return dict;
}

const numberOf = (number: JsonNumber): bigint | number =>
  number.isInteger ? BigInt(number.text) : number.value;
