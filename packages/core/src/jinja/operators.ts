import { type Budget, JinjaError, typeError, valueError } from './errors.js';
import { formatPercent } from './formatPercent.js';
import { str } from './show.js';
import { compareText, lengthOf, letterAt, sliceText } from './text.js';
import {
  asNumber,
  Dict,
  DictView,
  isList,
  Markup,
  PyObject,
  plain,
  Range,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.js';

/** An int for an index or a count. @throws TypeError */
export function asIndex(value: Value, what: string): number {
  const number = asNumber(value);
  if (typeof number === 'bigint') return Number(number);
  throw typeError(`${what} is to be an int, not ${typeName(value)}`);
}

export function checkDefined(...values: readonly Value[]): void {
  for (const value of values) if (value instanceof Undefined) value.fail();
}

export function binary(operator: string, left: Value, right: Value, budget: Budget): Value {
  checkDefined(left);
  if (left instanceof Markup || right instanceof Markup)
    return withMarkup(operator, left, right, budget);
  if (operator === '%' && typeof left === 'string') return formatPercent(left, right, budget);
  checkDefined(right);
  const [a, b] = [asNumber(left), asNumber(right)];
  if (a !== null && b !== null) return arithmetic(operator, a, b, budget);
  if (operator === '+') {
    if (typeof left === 'string' && typeof right === 'string') {
      budget.spendText(left.length + right.length);
      return left + right;
    }
    const [x, y] = [sequence(left), sequence(right)];
    if (x && y && typeName(left) === typeName(right)) {
      budget.spend(x.length + y.length);
      return isList(left) ? [...x, ...y] : new Tuple([...x, ...y]);
    }
  }
  if (operator === '*') {
    if (typeof a === 'bigint') return repeat(right, a, left, budget);
    if (typeof b === 'bigint') return repeat(left, b, right, budget);
  }
  if (operator === '|' && left instanceof Dict && right instanceof Dict)
    return Dict.of([...left.entries(), ...right.entries()]);
  throw unsupported(operator, left, right);
}

/** HTML and a text: the text is escaped. */
function withMarkup(operator: string, left: Value, right: Value, budget: Budget): Value {
  checkDefined(right);
  const isText = (value: Value) => typeof value === 'string' || value instanceof Markup;
  const safe = (value: Value): Value =>
    isText(value) ? Markup.from(value, (v) => str(v, budget)).text : value;
  if (operator === '+' && isText(left) && isText(right))
    return new Markup(binary('+', safe(left), safe(right), budget) as string);
  if (operator === '%' && left instanceof Markup) {
    const values = right instanceof Tuple ? new Tuple(right.items.map(safe)) : safe(right);
    return new Markup(formatPercent(left.text, values, budget));
  }
  const made = binary(operator, plain(left), plain(right), budget);
  return typeof made === 'string' ? new Markup(made) : made;
}

const sequence = (value: Value): readonly Value[] | null =>
  isList(value) ? value : value instanceof Tuple ? value.items : null;

const unsupported = (operator: string, left: Value, right: Value): JinjaError =>
  typeError(
    `unsupported operand types for ${operator}: '${typeName(left)}' and '${typeName(right)}'`,
  );

function repeat(value: Value, count: bigint, other: Value, budget: Budget): Value {
  const times = Number(count > 0n ? count : 0n);
  if (typeof value === 'string') {
    budget.spendText(value.length * times);
    return value.repeat(times);
  }
  const items = sequence(value);
  if (!items) throw unsupported('*', other, value);
  budget.spend(items.length * times);
  const all = Array.from({ length: times }, () => items).flat();
  return isList(value) ? all : new Tuple(all);
}

function arithmetic(
  operator: string,
  a: bigint | number,
  b: bigint | number,
  budget: Budget,
): Value {
  if (Number(b) === 0 && /^(\/\/?|%)$/.test(operator))
    throw new JinjaError('ZeroDivisionError', 'division by zero');
  if (typeof a === 'bigint' && typeof b === 'bigint' && operator !== '/')
    return integers(operator, a, b, budget);
  const [x, y] = [Number(a), Number(b)];
  switch (operator) {
    case '+':
      return x + y;
    case '-':
      return x - y;
    case '*':
      return x * y;
    case '/':
      return x / y;
    case '//':
      return Math.floor(x / y);
    case '%': {
      const rest = x % y;
      return rest !== 0 && rest < 0 !== y < 0 ? rest + y : rest;
    }
    default:
      if (x === 0 && y < 0) throw new JinjaError('ZeroDivisionError', '0 to a negative power');
      if (x < 0 && !Number.isInteger(y))
        throw new JinjaError('NotSupported', 'a power that is a complex number');
      return x ** y;
  }
}

function integers(operator: string, a: bigint, b: bigint, budget: Budget): Value {
  switch (operator) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      checkBits(bits(a) + bits(b), budget);
      return a * b;
    case '//':
      return floorDivide(a, b);
    case '%':
      return a - b * floorDivide(a, b);
    default:
      if (b < 0n) return arithmetic('**', Number(a), Number(b), budget);
      checkBits(a * a <= 1n ? 0 : bits(a) * Number(b), budget);
      return a ** b;
  }
}

const small = BigInt(Number.MAX_SAFE_INTEGER);
/** About the bits of an integer; exact enough to bound a product. */
const bits = (value: bigint): number =>
  value <= small && value >= -small
    ? Math.ceil(Math.log2(Math.abs(Number(value)) + 1))
    : value.toString(16).length * 4;

function checkBits(count: number, budget: Budget): void {
  if (count > 2 ** 17)
    throw new JinjaError('LimitError', 'it computes an integer that is too large');
  budget.spend(count / 64);
}

function floorDivide(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a % b !== 0n && a < 0n !== b < 0n ? quotient - 1n : quotient;
}

export function negate(value: Value, sign: -1 | 1): Value {
  checkDefined(value);
  const number = asNumber(value);
  if (number === null) throw typeError(`bad operand type for unary -: '${typeName(value)}'`);
  if (sign > 0) return number;
  return typeof number === 'bigint' ? -number : -number;
}

export function equals(one: Value, other: Value, budget: Budget): boolean {
  budget.spend(1);
  const [a, b] = [plain(one), plain(other)];
  if (a === b) return true;
  const [x, y] = [asNumber(a), asNumber(b)];
  // A bigint and a number compare by value, but not with ===.
  if (x !== null && y !== null) return x >= y && x <= y;
  const [left, right] = [sequence(a), sequence(b)];
  if (left && right)
    return (
      isList(a) === isList(b) &&
      left.length === right.length &&
      left.every((item, i) => equals(item, right[i]!, budget))
    );
  if (a instanceof Dict && b instanceof Dict) {
    if (a.size !== b.size) return false;
    for (const [key, value] of a.entries()) {
      const other = b.get(key);
      if (other === undefined || !equals(value, other, budget)) return false;
    }
    return true;
  }
  if (a instanceof Range && b instanceof Range)
    return equals([...a.iterate()], [...b.iterate()], budget);
  return a instanceof Undefined && b instanceof Undefined;
}

/** Negative, 0 or positive, as Python orders. @throws TypeError */
export function order(one: Value, other: Value, budget: Budget, operator = '<'): number {
  budget.spend(1);
  const [a, b] = [plain(one), plain(other)];
  checkDefined(a, b);
  if (typeof a === 'string' && typeof b === 'string') {
    budget.spend(Math.min(a.length, b.length) / 16);
    return compareText(a, b);
  }
  const [x, y] = [asNumber(a), asNumber(b)];
  if (x !== null && y !== null) return x < y ? -1 : x > y ? 1 : x >= y ? 0 : Number.NaN;
  const [left, right] = [sequence(a), sequence(b)];
  if (left && right && isList(a) === isList(b)) {
    for (let i = 0; i < Math.min(left.length, right.length); i++)
      if (!equals(left[i]!, right[i]!, budget)) return order(left[i]!, right[i]!, budget, operator);
    return left.length - right.length;
  }
  throw typeError(`'${operator}' not supported between '${typeName(a)}' and '${typeName(b)}'`);
}

export function compare(operator: string, a: Value, b: Value, budget: Budget): boolean {
  switch (operator) {
    case '==':
      return equals(a, b, budget);
    case '!=':
      return !equals(a, b, budget);
    case 'in':
      return contains(b, a, budget);
    case 'not in':
      return !contains(b, a, budget);
    case '<':
      return order(a, b, budget, operator) < 0;
    case '<=':
      return order(a, b, budget, operator) <= 0;
    case '>':
      return order(a, b, budget, operator) > 0;
    default:
      return order(a, b, budget, operator) >= 0;
  }
}

export function contains(holder: Value, element: Value, budget: Budget): boolean {
  const [container, item] = [plain(holder), plain(element)];
  if (typeof container === 'string') {
    if (typeof item !== 'string')
      throw typeError(`'in <string>' requires a string on the left, not ${typeName(item)}`);
    budget.spendText(container.length);
    return container.includes(item);
  }
  if (container instanceof Dict) return container.get(item) !== undefined;
  if (container instanceof DictView && container.typeName === 'dict_keys')
    return container.dict.get(item) !== undefined;
  for (const other of iterate(container, budget)) if (equals(other, item, budget)) return true;
  return false;
}

/** What a `for` goes over. @throws TypeError */
export function* iterate(given: Value, budget: Budget): Iterable<Value> {
  const value = plain(given);
  const items =
    typeof value === 'string' || isList(value)
      ? (value as Iterable<Value>) // a text's iterator gives code points, as Python's
      : value instanceof PyObject
        ? value.iterate()
        : null;
  if (items === null) throw typeError(`'${typeName(value)}' object is not iterable`);
  for (const item of items) {
    budget.spend(1);
    yield item;
  }
}

export function toArray(value: Value, budget: Budget): Value[] {
  return [...iterate(value, budget)];
}

/** len(). @throws TypeError */
export function sizeOf(given: Value): number {
  const value = plain(given);
  const size =
    typeof value === 'string'
      ? lengthOf(value)
      : isList(value)
        ? value.length
        : value instanceof PyObject
          ? value.size
          : null;
  if (size === null) throw typeError(`object of type '${typeName(value)}' has no len()`);
  return size;
}

/** obj[key] by Python's rules alone. @throws TypeError, KeyError, IndexError */
export function itemOf(given: Value, key: Value, budget: Budget): Value {
  const of = plain(given);
  const items = sequence(of);
  if (of instanceof Range) {
    const index = asIndex(key, 'an index');
    const { size } = of;
    if (index >= -size && index < size)
      return of.start + BigInt(index < 0 ? index + size : index) * of.step;
    throw new JinjaError('IndexError', `index ${index} out of range`);
  }
  if (items === null && typeof of !== 'string') {
    if (of instanceof PyObject) return of.item(key);
    throw typeError(`'${typeName(of)}' object is not subscriptable`);
  }
  const at = asIndex(key, 'an index');
  const found = items ? items[at < 0 ? at + items.length : at] : letterAt(of as string, at, budget);
  if (found === undefined) throw new JinjaError('IndexError', `index ${at} out of range`);
  return found;
}

/** obj[start:stop:step] */
export function sliceOf(given: Value, bounds: readonly Value[], budget: Budget): Value {
  const of = plain(given);
  if (of instanceof Dict) throw typeError("unhashable type: 'slice'");
  const items = sequence(of);
  if (items === null && typeof of !== 'string' && !(of instanceof Range))
    throw typeError(`'${typeName(of)}' object is not subscriptable`);
  const length = items ? items.length : sizeOf(of);
  const [first, last, stride] = bounds.map((b) => (b === null ? null : asIndex(b, 'a slice')));
  const step = stride ?? 1;
  if (step === 0) throw valueError('a slice with step 0');
  const [low, high] = step > 0 ? [0, length] : [-1, length - 1];
  const clamp = (bound: number | null | undefined, otherwise: number) => {
    if (bound === null || bound === undefined) return otherwise;
    return Math.min(Math.max(bound < 0 ? bound + length : bound, low), high);
  };
  const start = clamp(first, step > 0 ? 0 : length - 1);
  const stop = clamp(last, step > 0 ? length : -1);
  if (of instanceof Range) return of.slice(start, stop, step);
  if (!items) return sliceText(of as string, start, stop, step, budget);
  const out: Value[] = [];
  for (let i = start; step > 0 ? i < stop : i > stop; i += step) out.push(items[i]!);
  budget.spend(out.length);
  return isList(of) ? out : new Tuple(out);
}
