import { type Budget, JinjaError } from './errors.js';
import { equals, itemOf, toArray } from './operators.js';
import { textMethod } from './textMethods.js';
import {
  builtin,
  Dict,
  DictView,
  isList,
  Markup,
  PyObject,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.js';

/** Methods that would change a value: the sandbox lets nobody call them. */
const changing: Readonly<Record<string, readonly string[]>> = {
  dict: ['clear', 'pop', 'popitem', 'setdefault', 'update'],
  list: ['append', 'clear', 'pop', 'reverse', 'insert', 'sort', 'extend', 'remove'],
};

/** A Python attribute or method of a value; undefined where there is none. */
function ownAttribute(of: Value, name: string): Value | undefined {
  if (of instanceof Undefined) of.fail();
  if (changing[typeName(of)]?.includes(name)) return unsafe(of, name);
  if (typeof of === 'string') return textMethod(of, name);
  if (of instanceof Markup) return textMethod(of.text, name);
  if (of instanceof Dict) return dictMethod(of, name);
  if (isList(of) || of instanceof Tuple) {
    const found = of instanceof Tuple ? of.attribute(name) : undefined;
    return found ?? listMethod(of, name);
  }
  if (of instanceof PyObject) return of.attribute(name);
  return numberAttribute(of, name);
}

const unsafe = (of: Value, name: string): Undefined =>
  new Undefined(
    `access to attribute '${name}' of '${typeName(of)}' object is unsafe: templates change nothing`,
    'SecurityError',
  );

const missing = (of: Value, name: string): Undefined =>
  new Undefined(`'${typeName(of)}' object has no attribute '${name}'`);

/** `of.name`: the attribute, else the item. */
export function getAttribute(of: Value, name: string, budget: Budget): Value {
  const found = ownAttribute(of, name);
  if (found !== undefined) return found;
  const item = tryItem(of, name, budget);
  if (item !== undefined) return item;
  return name.startsWith('__') ? unsafe(of, name) : missing(of, name);
}

/** `of[key]`: the item, else the attribute. */
export function getItem(of: Value, key: Value, budget: Budget): Value {
  const item = tryItem(of, key, budget);
  if (item !== undefined) return item;
  if (typeof key !== 'string')
    return missing(of, typeof key === 'bigint' ? String(key) : typeName(key));
  const found = ownAttribute(of, key);
  if (found !== undefined) return found;
  return key.startsWith('__') ? unsafe(of, key) : missing(of, key);
}

function tryItem(of: Value, key: Value, budget: Budget): Value | undefined {
  if (of instanceof Dict && typeof key === 'string') return of.get(key);
  try {
    return itemOf(of, key, budget);
  } catch (error) {
    if (error instanceof JinjaError && /^(TypeError|KeyError|IndexError)$/.test(error.kind))
      return undefined;
    throw error;
  }
}

function dictMethod(dict: Dict, name: string): Value | undefined {
  switch (name) {
    case 'get':
      return builtin('get', ['/key', ['/default', null]], (_, key, otherwise) => {
        const found = dict.get(key!);
        return found === undefined ? otherwise! : found;
      });
    case 'items':
    case 'keys':
    case 'values':
      return builtin(name, [], () => new DictView(`dict_${name}`, dict));
    case 'copy':
      return builtin('copy', [], (rt) => {
        rt.budget.spend(dict.size);
        return Dict.of(dict.entries());
      });
  }
  return undefined;
}

function listMethod(list: readonly Value[] | Tuple, name: string): Value | undefined {
  const items = isList(list) ? list : list.items;
  switch (name) {
    case 'count':
      return builtin('count', ['/value'], (rt, value) => {
        rt.budget.spend(items.length);
        const same = (item: Value) => equals(item, value!, rt.budget);
        return BigInt(items.filter(same).length);
      });
    case 'index':
      return builtin('index', ['/value', ['/start', 0n]], (rt, value, start) => {
        const from = Number(start);
        const at = toArray(list, rt.budget).findIndex(
          (item, i) => i >= from && equals(item, value!, rt.budget),
        );
        if (at < 0) throw new JinjaError('ValueError', 'the value is not in the list');
        return BigInt(at);
      });
    case 'copy':
      return isList(list) ? builtin('copy', [], (rt) => toArray(list, rt.budget)) : undefined;
  }
  return undefined;
}

function numberAttribute(of: Value, name: string): Value | undefined {
  if (typeof of === 'number') {
    if (name === 'is_integer') return builtin(name, [], () => Number.isInteger(of));
    if (name === 'real') return of;
    if (name === 'imag') return 0;
  }
  if (typeof of !== 'bigint' && typeof of !== 'boolean') return undefined;
  const integer = BigInt(of);
  switch (name) {
    case 'real':
    case 'numerator':
      return integer;
    case 'imag':
      return 0n;
    case 'denominator':
      return 1n;
    case 'conjugate':
      return builtin(name, [], () => integer);
    case 'bit_length':
      return builtin(name, [], () =>
        BigInt(integer === 0n ? 0 : (integer < 0n ? -integer : integer).toString(2).length),
      );
  }
  return undefined;
}
