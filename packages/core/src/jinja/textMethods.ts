import { JinjaError, typeError, valueError } from './errors.js';
import { formatText } from './formatText.js';
import { asIndex, toArray } from './operators.js';
import {
  isSpace,
  lengthOf,
  letters,
  pointsBefore,
  sliceText,
  splitLines,
  splitSpaces,
  strip,
} from './text.js';
import {
  builtin,
  Callable,
  type Param,
  type Runtime,
  Tuple,
  truth,
  typeName,
  type Value,
} from './values.js';

type Method = (rt: Runtime, text: string, ...values: Value[]) => Value;

/** An argument that must be a text. @throws TypeError */
export function asText(value: Value, what = 'the argument'): string {
  if (typeof value === 'string') return value;
  throw typeError(`${what} is to be a str, not ${typeName(value)}`);
}

const count = (value: Value): number => asIndex(value, 'a count');

/** str.title(): a capital after every letter that is none. */
export function titleCase(text: string): string {
  let inWord = false;
  let out = '';
  for (const letter of text) {
    const cased = letter.toLowerCase() !== letter.toUpperCase();
    out += !cased ? letter : inWord ? letter.toLowerCase() : toTitle(letter);
    inWord = cased;
  }
  return out;
}

/** A capital; of a letter that has several (ß), a capital and small ones. */
const toTitle = (letter: string): string => {
  const [first = '', ...rest] = letters(letter.toUpperCase());
  return first + rest.join('').toLowerCase();
};

export const capitalize = (text: string): string => {
  const [first = '', ...rest] = letters(text);
  return toTitle(first) + rest.join('').toLowerCase();
};

const swapCase = (text: string): string =>
  letters(text)
    .map((l) => (l === l.toLowerCase() ? l.toUpperCase() : l.toLowerCase()))
    .join('');

/** Whether there is a letter, and all that have a case have this one. */
const isCase = (text: string, change: (letter: string) => string): boolean => {
  const cased = letters(text).filter((l) => l.toLowerCase() !== l.toUpperCase());
  return cased.length > 0 && cased.every((l) => change(l) === l);
};
export const isLower = (text: string) => isCase(text, (l) => l.toLowerCase());
export const isUpper = (text: string) => isCase(text, (l) => l.toUpperCase());

const all = (pattern: RegExp) => (_: Runtime, text: string) =>
  text !== '' && letters(text).every((letter) => pattern.test(letter));

const plain =
  (change: (text: string) => Value): Method =>
  (rt, text) => {
    rt.budget.spendText(text.length);
    return change(text);
  };

/**
 * The part of a text that `find(sub, start, end)` looks at, and where it begins, in code points.
 */
function range(rt: Runtime, text: string, start: Value, end: Value): [string, number] {
  if (start === null && end === null) return [text, 0];
  const length = lengthOf(text);
  const bound = (value: Value, otherwise: number) => {
    if (value === null) return otherwise;
    const at = count(value);
    return Math.max(at < 0 ? at + length : at, 0);
  };
  const [from, to] = [bound(start, 0), Math.min(bound(end, length), length)];
  return [sliceText(text, from, to, 1, rt.budget), from];
}

const find =
  (last: boolean, missing: 'fail' | 'minus'): Method =>
  (rt, text, sub, start, end) => {
    const [part, from] = range(rt, text, start!, end!);
    const wanted = asText(sub!);
    const at = last ? part.lastIndexOf(wanted) : part.indexOf(wanted);
    if (at >= 0 && from <= lengthOf(text)) return BigInt(from + pointsBefore(part, at));
    if (missing === 'fail') throw valueError('substring not found');
    return -1n;
  };

const hasEdge =
  (atEnd: boolean): Method =>
  (rt, text, edge, start, end) => {
    const [part] = range(rt, text, start!, end!);
    const edges = edge instanceof Tuple ? edge.items : [edge!];
    return edges.some((e) => (atEnd ? part.endsWith(asText(e)) : part.startsWith(asText(e))));
  };

const stripped =
  (atStart: boolean, atEnd: boolean): Method =>
  (rt, text, characters) => {
    rt.budget.spendText(text.length);
    return strip(text, characters === null ? null : asText(characters!), atStart, atEnd);
  };

/** str.split and rsplit. */
export function split(text: string, separator: Value, max: number, fromEnd: boolean): string[] {
  if (separator === null) return splitSpaces(text, max, fromEnd);
  const by = asText(separator);
  if (by === '') throw valueError('empty separator');
  const parts = text.split(by);
  if (max < 0 || parts.length <= max + 1) return parts;
  return fromEnd
    ? [parts.slice(0, parts.length - max).join(by), ...parts.slice(parts.length - max)]
    : [...parts.slice(0, max), parts.slice(max).join(by)];
}

const splits =
  (fromEnd: boolean): Method =>
  (rt, text, separator, max) => {
    const parts = split(text, separator!, count(max!), fromEnd);
    rt.budget.spendText(text.length);
    rt.budget.spend(parts.length);
    return parts;
  };

const partition =
  (last: boolean): Method =>
  (_, text, separator) => {
    const by = asText(separator!);
    if (by === '') throw valueError('empty separator');
    const at = last ? text.lastIndexOf(by) : text.indexOf(by);
    if (at < 0) return new Tuple(last ? ['', '', text] : [text, '', '']);
    return new Tuple([text.slice(0, at), by, text.slice(at + by.length)]);
  };

/** `count` copies of a padding letter are put before and after. */
const padded =
  (place: (missing: number, width: number) => number): Method =>
  (rt, text, width, fill = ' ') => {
    const [wanted, letter] = [count(width!), asText(fill)];
    const missing = wanted - lengthOf(text);
    if (missing <= 0) return text;
    if (lengthOf(letter) !== 1)
      throw typeError('the fill character must be exactly one character long');
    rt.budget.spendText(wanted);
    const left = place(missing, wanted);
    return letter.repeat(left) + text + letter.repeat(missing - left);
  };
export const center = padded((missing, width) => Math.floor(missing / 2) + (missing & width & 1));

/** str.replace. @param max -1: all */
export function replace(rt: Runtime, text: string, old: string, by: string, max: number): string {
  const parts = old === '' ? ['', ...letters(text), ''] : text.split(old);
  const used = max < 0 ? parts.length - 1 : Math.min(max, parts.length - 1);
  rt.budget.spend(parts.length);
  rt.budget.spendText(text.length + used * by.length);
  return (
    parts.slice(0, used + 1).join(by) +
    parts
      .slice(used + 1)
      .map((p) => old + p)
      .join('')
  );
}

export function join(rt: Runtime, separator: string, items: readonly string[]): string {
  const length = items.reduce((sum, item) => sum + item.length + separator.length, 0);
  rt.budget.spendText(length);
  return items.join(separator);
}

const zeroFill: Method = (rt, text, width) => {
  const missing = count(width!) - lengthOf(text);
  if (missing <= 0) return text;
  rt.budget.spendText(missing + text.length);
  const sign = /^[+-]/.exec(text)?.[0] ?? '';
  return sign + '0'.repeat(missing) + text.slice(sign.length);
};

const expandTabs: Method = (rt, text, size) => {
  const width = count(size!);
  let column = 0;
  let out = '';
  for (const letter of text) {
    rt.budget.spendText(width);
    if (letter === '\t') {
      const spaces = width > 0 ? width - (column % width) : 0;
      out += ' '.repeat(spaces);
      column += spaces;
    } else {
      out += letter;
      column = letter === '\n' || letter === '\r' ? 0 : column + 1;
    }
  }
  return out;
};

const bounds: readonly Param[] = [
  ['/start', null],
  ['/end', null],
];
const noEnd = (text: string, end: string) =>
  end !== '' && text.endsWith(end) ? text.slice(0, -end.length) : text;

const methods: Readonly<Record<string, readonly [readonly Param[], Method]>> = {
  capitalize: [[], plain(capitalize)],
  casefold: [[], plain((t) => t.toLowerCase().replaceAll('ß', 'ss').replaceAll('ς', 'σ'))],
  center: [['/width', ['/fill', ' ']], center],
  count: [
    ['/sub', ...bounds],
    (rt, text, sub, start, end) => {
      const [part] = range(rt, text, start!, end!);
      const wanted = asText(sub!);
      return BigInt(wanted === '' ? lengthOf(part) + 1 : part.split(wanted).length - 1);
    },
  ],
  endswith: [['/suffix', ...bounds], hasEdge(true)],
  expandtabs: [[['tabsize', 8n]], expandTabs],
  find: [['/sub', ...bounds], find(false, 'minus')],
  index: [['/sub', ...bounds], find(false, 'fail')],
  isalnum: [[], all(/[\p{L}\p{Nd}\p{Nl}\p{No}]/u)],
  isalpha: [[], all(/\p{L}/u)],
  isascii: [[], (_, text) => /^[\0-\x7f]*$/.test(text)],
  isdecimal: [[], all(/\p{Nd}/u)],
  isdigit: [[], all(/[\p{Nd}\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468]/u)],
  isidentifier: [[], (_, text) => /^[\p{ID_Start}_][\p{ID_Continue}]*$/u.test(text)],
  islower: [[], (_, text) => isLower(text)],
  isnumeric: [[], all(/\p{N}/u)],
  isprintable: [[], (_, text) => !/[\p{C}\p{Z}]/u.test(text.replaceAll(' ', ''))],
  isspace: [[], (_, text) => text !== '' && letters(text).every(isSpace)],
  istitle: [[], (_, text) => titleCase(text) === text && /[\p{Lu}\p{Lt}]/u.test(text)],
  isupper: [[], (_, text) => isUpper(text)],
  join: [
    ['/items'],
    (rt, text, items) =>
      join(
        rt,
        text,
        toArray(items!, rt.budget).map((item, i) => asText(item, `item ${i} of join`)),
      ),
  ],
  ljust: [['/width', ['/fill', ' ']], padded(() => 0)],
  lower: [[], plain((t) => t.toLowerCase())],
  lstrip: [[['/chars', null]], stripped(true, false)],
  partition: [['/sep'], partition(false)],
  removeprefix: [
    ['/prefix'],
    (_, t, prefix) => (t.startsWith(asText(prefix!)) ? t.slice((prefix as string).length) : t),
  ],
  removesuffix: [['/suffix'], (_, text, suffix) => noEnd(text, asText(suffix!))],
  replace: [
    ['/old', '/new', ['/count', -1n]],
    (rt, text, old, by, max) => replace(rt, text, asText(old!), asText(by!), count(max!)),
  ],
  rfind: [['/sub', ...bounds], find(true, 'minus')],
  rindex: [['/sub', ...bounds], find(true, 'fail')],
  rjust: [['/width', ['/fill', ' ']], padded((missing) => missing)],
  rpartition: [['/sep'], partition(true)],
  rsplit: [
    [
      ['sep', null],
      ['maxsplit', -1n],
    ],
    splits(true),
  ],
  rstrip: [[['/chars', null]], stripped(false, true)],
  split: [
    [
      ['sep', null],
      ['maxsplit', -1n],
    ],
    splits(false),
  ],
  splitlines: [[['keepends', false]], (_, text, keep) => splitLines(text, truth(keep!))],
  startswith: [['/prefix', ...bounds], hasEdge(false)],
  strip: [[['/chars', null]], stripped(true, true)],
  swapcase: [[], plain(swapCase)],
  title: [[], plain(titleCase)],
  upper: [[], plain((t) => t.toUpperCase())],
  zfill: [['/width'], zeroFill],
};

/** A method of a text; undefined where str has none of that name. */
export function textMethod(text: string, name: string): Callable | undefined {
  if (name === 'format')
    return new Callable(name, (rt, args) => formatText(rt, text, args), 'builtin_method');
  if (name === 'format_map')
    return builtin(name, ['/mapping'], (rt, mapping) =>
      formatText(rt, text, { positional: [], named: mapping! }),
    );
  if (name === 'translate' || name === 'encode' || name === 'maketrans')
    throw new JinjaError('NotSupported', `str.${name} is not built in`);
  if (!Object.hasOwn(methods, name)) return undefined;
  const [params, run] = methods[name]!;
  return builtin(name, params, (rt, ...values) => {
    rt.budget.spend(text.length / 16); // most read every letter
    return run(rt, text, ...values);
  });
}
