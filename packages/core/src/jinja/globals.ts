import { JinjaError, typeError, valueError } from './errors.js';
import { toInt } from './numbers.js';
import { iterate, toArray } from './operators.js';
import { str } from './show.js';
import { strftime } from './strftime.js';
import { asText } from './textMethods.js';
import {
  type Args,
  builtin,
  Callable,
  Dict,
  Namespace,
  PyObject,
  Range,
  type Runtime,
  typeName,
  Undefined,
  type Value,
} from './values.js';

/** dict(pairs or mapping, name=value). */
function makeDict(rt: Runtime, { positional, named }: Args): Dict {
  if (positional.length > 1) throw typeError('dict expected at most 1 argument');
  const [from] = positional;
  if (from instanceof Undefined) from.fail();
  const dict = new Dict();
  if (from instanceof Dict) for (const [key, value] of from.entries()) dict.set(key, value);
  else if (from !== undefined)
    for (const pair of iterate(from, rt.budget)) {
      const items = toArray(pair, rt.budget);
      if (items.length !== 2) throw valueError('dict takes pairs of a key and a value');
      dict.set(items[0]!, items[1]!);
    }
  for (const [name, value] of named) dict.set(name, value);
  return dict;
}

class DictType extends Callable {
  constructor() {
    super('dict', makeDict, 'TemplateDict');
  }
  override attribute(name: string): Value | undefined {
    if (name !== 'fromkeys') return undefined;
    return builtin('fromkeys', ['/keys', ['/value', null]], (rt, keys, value) =>
      Dict.of(toArray(keys!, rt.budget).map((key) => [key, value!])),
    );
  }
}

class Cycler extends PyObject {
  readonly typeName = 'Cycler';
  #at = 0;
  constructor(private readonly items: readonly Value[]) {
    super();
    if (items.length === 0) throw typeError('at least one item has to be provided');
  }
  override get truth(): boolean {
    return true;
  }
  override attribute(name: string): Value | undefined {
    if (name === 'current') return this.items[this.#at]!;
    if (name === 'reset')
      return builtin('reset', [], () => {
        this.#at = 0;
        return null;
      });
    if (name !== 'next') return undefined;
    return builtin('next', [], () => {
      const item = this.items[this.#at]!;
      this.#at = (this.#at + 1) % this.items.length;
      return item;
    });
  }
}

const joiner = builtin('joiner', [['sep', ', ']], (_, separator) => {
  let used = false;
  return new Callable('joiner', () => {
    if (used) return separator!;
    used = true;
    return '';
  });
});

const range = builtin('range', ['/start', ['/stop', null], ['/step', null]], (_, a, b, c) => {
  const int = (value: Value) => {
    if (typeof value === 'bigint' || typeof value === 'boolean') return toInt(value);
    throw typeError(`'${typeName(value)}' object cannot be interpreted as an integer`);
  };
  if (b === null) return new Range(0n, int(a!), 1n);
  const step = c === null ? 1n : int(c!);
  if (step === 0n) throw valueError('range() arg 3 must not be zero');
  return new Range(int(a!), int(b!), step);
});

/** What every template finds by name, as transformers sets it up. */
export const globals: ReadonlyMap<string, Value> = new Map<string, Value>([
  ['range', range],
  ['dict', new DictType()],
  ['namespace', new Callable('namespace', (rt, args) => new Namespace(makeDict(rt, args)))],
  ['cycler', new Callable('cycler', (_, { positional }) => new Cycler(positional))],
  ['joiner', joiner],
  [
    'lipsum',
    new Callable('lipsum', () => {
      throw new JinjaError('NotSupported', 'the function lipsum is not built in');
    }),
  ],
  [
    'raise_exception',
    builtin('raise_exception', ['message'], (rt, message) => {
      throw new JinjaError('TemplateError', str(message!, rt.budget));
    }),
  ],
  [
    'strftime_now',
    builtin('strftime_now', ['format'], (rt, format) => strftime(rt.now(), asText(format!))),
  ],
]);
