import { filters } from './filters.js';
import { binary, compare, equals } from './operators.js';
import { str } from './show.js';
import { isLower, isUpper } from './textMethods.js';
import {
  builtin,
  Callable,
  Dict,
  isList,
  Markup,
  type Param,
  PyObject,
  Range,
  type Runtime,
  Tuple,
  Undefined,
  type Value,
} from './values.js';

type Test = (rt: Runtime, value: Value, ...values: Value[]) => boolean;

const compares =
  (operator: string): Test =>
  (rt, a, b) =>
    compare(operator, a, b!, rt.budget);
const remainder =
  (of: bigint): Test =>
  (rt, value) =>
    equals(binary('%', value, 2n, rt.budget), of, rt.budget);
const isIterable = (value: Value) =>
  typeof value === 'string' ||
  isList(value) ||
  (value instanceof PyObject && value.iterate() !== null);
const isSequence = (value: Value) =>
  typeof value === 'string' ||
  isList(value) ||
  [Tuple, Dict, Range, Undefined].some((type) => value instanceof type);

const other: readonly Param[] = ['other'];
const all: Readonly<Record<string, readonly [readonly Param[], Test]>> = {
  odd: [[], remainder(1n)],
  even: [[], remainder(0n)],
  divisibleby: [
    ['num'],
    (rt, value, by) => equals(binary('%', value, by!, rt.budget), 0n, rt.budget),
  ],
  defined: [[], (_, value) => !(value instanceof Undefined)],
  undefined: [[], (_, value) => value instanceof Undefined],
  filter: [[], (_, name) => typeof name === 'string' && filters.has(name)],
  test: [[], (_, name) => typeof name === 'string' && tests.has(name)],
  none: [[], (_, value) => value === null],
  boolean: [[], (_, value) => typeof value === 'boolean'],
  false: [[], (_, value) => value === false],
  true: [[], (_, value) => value === true],
  integer: [[], (_, value) => typeof value === 'bigint'],
  float: [[], (_, value) => typeof value === 'number'],
  lower: [[], (rt, value) => isLower(str(value, rt.budget))],
  upper: [[], (rt, value) => isUpper(str(value, rt.budget))],
  string: [[], (_, value) => typeof value === 'string'],
  mapping: [[], (_, value) => value instanceof Dict],
  number: [[], (_, value) => ['bigint', 'number', 'boolean'].includes(typeof value)],
  sequence: [[], (_, value) => isSequence(value)],
  iterable: [[], (_, value) => isIterable(value)],
  callable: [[], (_, value) => value instanceof Callable || value instanceof Undefined],
  sameas: [other, (_, value, as) => value === as],
  in: [['seq'], compares('in')],
};
const comparisons: readonly (readonly [operator: string, ...names: string[]])[] = [
  ['==', '==', 'eq', 'equalto'],
  ['!=', '!=', 'ne'],
  ['>', '>', 'gt', 'greaterthan'],
  ['>=', '>=', 'ge'],
  ['<', '<', 'lt', 'lessthan'],
  ['<=', '<=', 'le'],
];

/** Jinja's tests by name. */
export const tests: ReadonlyMap<string, Callable> = new Map(
  [
    ...Object.entries(all),
    ...comparisons.flatMap(([operator, ...names]) =>
      names.map((name) => [name, [other, compares(operator)]] as const),
    ),
  ].map(([name, [params, run]]): readonly [string, Callable] => [
    name,
    builtin(name, ['value', ...params], (rt, value, ...values) => run(rt, value!, ...values)),
  ]),
).set('escaped', new Callable('escaped', (_, { positional }) => positional[0] instanceof Markup));
