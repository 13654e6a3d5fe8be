import { getAttribute, getItem } from './attributes.js';
import { JinjaError, typeError } from './errors.js';
import { asIndex, binary, equals, order, sizeOf, toArray } from './operators.js';
import { quote, str } from './show.js';
import { letters } from './text.js';
import { asText, join } from './textMethods.js';
import {
  type Args,
  builtin,
  Callable,
  Dict,
  hashOf,
  isList,
  Lazy,
  type Param,
  PyObject,
  type Runtime,
  Tuple,
  truth,
  typeName,
  Undefined,
  type Value,
} from './values.js';

type Filter = (rt: Runtime, value: Value, ...values: Value[]) => Value;
type Get = (item: Value) => Value;

/** "a.b.0" -> a function that takes those items one after another. */
function attributeGetter(rt: Runtime, path: Value, otherwise: Value = null): Get {
  if (path === null) return (item) => item;
  const parts: Value[] =
    typeof path === 'string'
      ? path.split('.').map((part) => (/^\d+$/.test(part) ? BigInt(part) : part))
      : [path];
  return (item) =>
    parts.reduce<Value>((of, part) => {
      const found = getItem(of, part, rt.budget);
      return otherwise !== null && found instanceof Undefined ? otherwise : found;
    }, item);
}

const ignoreCase = (value: Value): Value =>
  typeof value === 'string' ? value.toLowerCase() : value;

function keyGetter(rt: Runtime, path: Value, caseSensitive: Value): Get {
  const get = attributeGetter(rt, path);
  return truth(caseSensitive) ? get : (item) => ignoreCase(get(item));
}

function sorted(rt: Runtime, items: readonly Value[], key: Get, reverse = false): Value[] {
  rt.budget.spend(items.length * 4);
  const keyed = items.map((item) => [key(item), item] as const);
  // A stable sort either way, as Python's.
  keyed.sort(([a], [b]) => (reverse ? order(b, a, rt.budget) : order(a, b, rt.budget)));
  return keyed.map(([, item]) => item);
}

const sort: Filter = (rt, value, reverse, caseSensitive, attribute) => {
  const paths = typeof attribute === 'string' ? attribute.split(',') : [attribute!];
  const getters = paths.map((path) => keyGetter(rt, path, caseSensitive!));
  const key: Get = (item) => getters.map((get) => get(item));
  return sorted(rt, toArray(value, rt.budget), key, truth(reverse!));
};

const extreme =
  (sign: 1 | -1): Filter =>
  (rt, value, caseSensitive, attribute) => {
    const key = keyGetter(rt, attribute!, caseSensitive!);
    const items = toArray(value, rt.budget);
    if (items.length === 0) return new Undefined('No aggregated item, sequence was empty.');
    return items.reduce((best, item) =>
      sign * order(key(item), key(best), rt.budget, sign > 0 ? '>' : '<') > 0 ? item : best,
    );
  };

const groupBy: Filter = (rt, value, attribute, otherwise, caseSensitive) => {
  const get = attributeGetter(rt, attribute!, otherwise!);
  const key: Get = truth(caseSensitive!) ? get : (item) => ignoreCase(get(item));
  const groups: { key: Value; items: Value[] }[] = [];
  for (const item of sorted(rt, toArray(value, rt.budget), key)) {
    const last = groups.at(-1);
    if (last && equals(last.key, key(item), rt.budget)) last.items.push(item);
    else groups.push({ key: key(item), items: [item] });
  }
  return groups.map(({ items }) => new Tuple([get(items[0]!), items], ['grouper', 'list']));
};

function* uniqueItems(rt: Runtime, value: Value, key: Get): Iterable<Value> {
  const seen = new Set<unknown>();
  for (const item of toArray(value, rt.budget)) {
    const hash = hashOf(key(item));
    if (seen.has(hash)) continue;
    seen.add(hash);
    yield item;
  }
}

function* batches(rt: Runtime, value: Value, count: number, fill: Value): Iterable<Value> {
  let batch: Value[] = [];
  for (const item of toArray(value, rt.budget)) {
    if (batch.length === count) {
      yield batch;
      batch = [];
    }
    batch.push(item);
  }
  if (batch.length === 0) return;
  rt.budget.spend(count);
  if (fill !== null) while (batch.length < count) batch.push(fill);
  yield batch;
}

function* slices(rt: Runtime, value: Value, count: number, fill: Value): Iterable<Value> {
  const items = toArray(value, rt.budget);
  if (count === 0) throw new JinjaError('ZeroDivisionError', 'division by zero');
  const size = Math.floor(items.length / count);
  const longer = items.length % count;
  let start = 0;
  for (let i = 0; i < count; i++) {
    rt.budget.spend(1);
    const end = start + size + (i < longer ? 1 : 0);
    const part = items.slice(start, end);
    if (fill !== null && i >= longer) part.push(fill);
    yield part;
    start = end;
  }
}

const sum: Filter = (rt, value, attribute, start) => {
  const get = attributeGetter(rt, attribute!);
  if (typeof start === 'string')
    throw typeError("sum() can't sum strings [use ''.join(seq) instead]");
  return toArray(value, rt.budget).reduce<Value>(
    (total, item) => binary('+', total, get(item), rt.budget),
    start!,
  );
};

const first: Filter = (rt, value) => {
  for (const item of toArray(value, rt.budget)) return item;
  return new Undefined('No first item, sequence was empty.');
};

const last: Filter = (rt, value) => {
  if (value instanceof Lazy) throw typeError(`'${value.typeName}' object is not reversible`);
  const item = toArray(value, rt.budget).at(-1);
  return item === undefined ? new Undefined('No last item, sequence was empty.') : item;
};

const reverse: Filter = (rt, value) => {
  if (typeof value === 'string') {
    rt.budget.spend(value.length / 4);
    return letters(value).reverse().join('');
  }
  // What is read once has no end to begin with: Jinja makes a list of it.
  if (value instanceof Lazy) return toArray(value, rt.budget).reverse();
  return new Lazy(
    toArray(value, rt.budget).reverse(),
    isList(value) ? 'list_reverseiterator' : 'reversed',
  );
};

const dictSort: Filter = (rt, value, caseSensitive, by, reversed) => {
  if (by !== 'key' && by !== 'value')
    throw new JinjaError('FilterArgumentError', 'dictsort sorts by "key" or "value"');
  if (!(value instanceof Dict)) throw typeError(`dictsort takes a dict, not ${typeName(value)}`);
  const items = [...value.entries()].map((entry) => new Tuple(entry));
  const key = keyGetter(rt, by === 'key' ? 0n : 1n, caseSensitive!);
  return sorted(rt, items, key, truth(reversed!));
};

function* itemsOf(value: Value): Iterable<Value> {
  if (value instanceof Undefined) return;
  if (!(value instanceof Dict)) throw typeError('Can only get item pairs from a mapping.');
  for (const entry of value.entries()) yield new Tuple(entry);
}

const insensitive: readonly Param[] = [
  ['case_sensitive', false],
  ['attribute', null],
];
const length: Filter = (rt, value) => {
  if (typeof value === 'string') rt.budget.spendText(value.length);
  return BigInt(sizeOf(value));
};

const list: Readonly<Record<string, readonly [readonly Param[], Filter]>> = {
  attr: [
    ['name'],
    (rt, value, name) => {
      // The attribute alone, never the item.
      const found = getAttribute(value, str(name!, rt.budget), rt.budget);
      const isItem = value instanceof Dict && !(found instanceof Callable);
      return isItem
        ? new Undefined(`'dict object' has no attribute ${quote(asText(name!))}`)
        : found;
    },
  ],
  batch: [
    ['linecount', ['fill_with', null]],
    (rt, value, count, fill) => new Lazy(batches(rt, value, asIndex(count!, 'a count'), fill!)),
  ],
  count: [[], length],
  dictsort: [
    [
      ['case_sensitive', false],
      ['by', 'key'],
      ['reverse', false],
    ],
    dictSort,
  ],
  first: [[], first],
  groupby: [['attribute', ['default', null], ['case_sensitive', false]], groupBy],
  items: [[], (_, value) => new Lazy(itemsOf(value))],
  join: [
    [
      ['d', ''],
      ['attribute', null],
    ],
    (rt, value, separator, attribute) => {
      const get = attributeGetter(rt, attribute!);
      const items = toArray(value, rt.budget).map((item) => str(get(item), rt.budget));
      return join(rt, str(separator!, rt.budget), items);
    },
  ],
  last: [[], last],
  length: [[], length],
  list: [[], (rt, value) => toArray(value, rt.budget)],
  max: [insensitive, extreme(1)],
  min: [insensitive, extreme(-1)],
  reverse: [[], reverse],
  slice: [
    ['slices', ['fill_with', null]],
    (rt, value, count, fill) => new Lazy(slices(rt, value, asIndex(count!, 'a count'), fill!)),
  ],
  sort: [[['reverse', false], ...insensitive], sort],
  sum: [
    [
      ['attribute', null],
      ['start', 0n],
    ],
    sum,
  ],
  unique: [
    insensitive,
    (rt, value, caseSensitive, attribute) =>
      new Lazy(uniqueItems(rt, value, keyGetter(rt, attribute!, caseSensitive!))),
  ],
};

/** Filters whose arguments are those of another filter or test. */
type Forwarding = (rt: Runtime, args: Args) => (item: Value) => Value;

const mapped: Forwarding = (rt, { positional, named }) => {
  const attribute = named.get('attribute');
  if (positional.length === 1 && attribute !== undefined) {
    for (const name of named.keys())
      if (name !== 'attribute' && name !== 'default')
        throw new JinjaError('FilterArgumentError', `Unexpected keyword argument '${name}'`);
    return attributeGetter(rt, attribute, named.get('default') ?? null);
  }
  const [, name, ...rest] = positional;
  if (name === undefined)
    throw new JinjaError('FilterArgumentError', 'map requires a filter argument');
  return (item) => rt.filter(asText(name), item, { positional: rest, named });
};

const chosen =
  (keep: boolean, byAttribute: boolean): Forwarding =>
  (rt, { positional, named }) => {
    const [attribute, name, ...rest] = byAttribute
      ? positional.slice(1)
      : [null, ...positional.slice(1)];
    if (attribute === undefined)
      throw new JinjaError('FilterArgumentError', 'Missing parameter for attribute name');
    const get = attributeGetter(rt, attribute);
    return (item) => {
      const value = get(item);
      const holds =
        name === undefined
          ? truth(value)
          : rt.test(asText(name), value, { positional: rest, named });
      return holds === keep;
    };
  };

function* each(
  rt: Runtime,
  args: Args,
  make: Forwarding,
  yields: 'result' | 'item',
): Iterable<Value> {
  const [value] = args.positional;
  if (value === undefined || !truth(value)) return;
  const run = make(rt, args);
  const items =
    value instanceof PyObject && value instanceof Lazy
      ? value.iterate()
      : toArray(value, rt.budget);
  for (const item of items!) {
    rt.budget.spend(1);
    const result = run(item);
    if (yields === 'result') yield result;
    else if (result === true) yield item;
  }
}

const forwarding = (
  name: string,
  make: Forwarding,
  yields: 'result' | 'item' = 'item',
): readonly [string, Callable] => [
  name,
  new Callable(name, (rt, args) => new Lazy(each(rt, args, make, yields))),
];

export const sequenceFilters: readonly (readonly [string, Callable])[] = [
  ...Object.entries(list).map(([name, [params, run]]): readonly [string, Callable] => [
    name,
    builtin(name, ['value', ...params], (rt, value, ...values) => run(rt, value!, ...values)),
  ]),
  forwarding('map', mapped, 'result'),
  forwarding('select', chosen(true, false)),
  forwarding('reject', chosen(false, false)),
  forwarding('selectattr', chosen(true, true)),
  forwarding('rejectattr', chosen(false, true)),
];
