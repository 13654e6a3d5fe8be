import { dumpJson } from './dumpJson.js';
import { JinjaError, typeError, valueError } from './errors.js';
import { formatPercent } from './formatPercent.js';
import { roundTo, toFloat, toInt } from './numbers.js';
import { asIndex, binary, iterate, sizeOf, toArray } from './operators.js';
import { repr, str } from './show.js';
import { lengthOf, letters, splitLines, strip } from './text.js';
import { asText, capitalize, center, replace } from './textMethods.js';
import {
  asNumber,
  builtin,
  Callable,
  Dict,
  escapeHtml,
  isList,
  Markup,
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

/** A filter of a text: whatever it is given is written as a text first. */
const onText =
  (change: (text: string) => Value): Filter =>
  (rt, value) => {
    const text = str(value, rt.budget);
    rt.budget.spend(text.length / 16);
    return change(text);
  };

const toInteger: Filter = (_, value, otherwise, base) => {
  try {
    return toInt(value, Number(toInt(base!)));
  } catch (error) {
    if (!isKind(error, 'TypeError', 'ValueError')) throw error;
  }
  try {
    return toInt(toFloat(value));
  } catch (error) {
    if (isKind(error, 'TypeError', 'ValueError', 'OverflowError')) return otherwise!;
    throw error;
  }
};

const isKind = (error: unknown, ...kinds: readonly string[]): boolean =>
  error instanceof JinjaError && kinds.includes(error.kind);

const round: Filter = (rt, value, precision, method) => {
  const digits = asIndex(precision!, 'the precision');
  if (method !== 'common' && method !== 'ceil' && method !== 'floor')
    throw new JinjaError('FilterArgumentError', 'method must be common, ceil or floor');
  const number = asNumber(value);
  if (number === null) throw typeError(`type ${typeName(value)} doesn't define __round__ method`);
  if (method === 'common') return roundTo(number, digits);
  const scale = binary('**', 10n, precision!, rt.budget);
  const scaled = binary('*', number, scale, rt.budget) as bigint | number;
  const whole = typeof scaled === 'bigint' ? scaled : BigInt(Math[method](scaled));
  return binary('/', whole, scale, rt.budget);
};

const indent: Filter = (rt, value, width, first, blank) => {
  const text = asText(value, 'what is indented');
  const margin = typeof width === 'string' ? width : ' '.repeat(asIndex(width!, 'the width'));
  const lines = splitLines(`${text}\n`, false);
  rt.budget.spendText(text.length + lines.length * margin.length);
  const made = lines.map((line, i) => {
    const skip = i === 0 ? !truth(first!) : line === '' && !truth(blank!);
    return skip ? line : margin + line;
  });
  return made.join('\n');
};

const truncate: Filter = (rt, value, length, killWords, end, leeway) => {
  const [size, tail] = [asIndex(length!, 'the length'), asText(end!)];
  const room = leeway === null ? 5 : asIndex(leeway!, 'the leeway');
  if (typeof value !== 'string' && sizeOf(value) <= size + room) return value;
  const all = letters(asText(value, 'what is truncated'));
  rt.budget.spend(all.length / 4);
  if (size < lengthOf(tail))
    throw new JinjaError('AssertionError', `expected length >= ${lengthOf(tail)}, got ${size}`);
  if (all.length <= size + room) return all.join('');
  const cut = all.slice(0, size - lengthOf(tail)).join('');
  const space = cut.lastIndexOf(' ');
  return (truth(killWords!) || space < 0 ? cut : cut.slice(0, space)) + tail;
};

const fileSize: Filter = (_, value, binaryUnits) => {
  const bytes = toFloat(value);
  const base = truth(binaryUnits!) ? 1024 : 1000;
  const units = truth(binaryUnits!)
    ? ['KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB', 'ZiB', 'YiB']
    : ['kB', 'MB', 'GB', 'TB', 'PB', 'EB', 'ZB', 'YB'];
  if (bytes === 1) return '1 Byte';
  if (bytes < base) return `${Math.trunc(bytes)} Bytes`;
  const at = units.findIndex((_, i) => bytes < base ** (i + 2));
  const i = at < 0 ? units.length - 1 : at;
  return `${(bytes / base ** (i + 1)).toFixed(1)} ${units[i]}`;
};

const quoteUrl = (rt: Runtime, value: Value, keepSlash: boolean): string => {
  const text = str(value, rt.budget);
  rt.budget.spend(text.length);
  const made = encodeURIComponent(text).replace(
    /[!'()*]/g,
    (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return keepSlash ? made.replaceAll('%2F', '/') : made.replaceAll('%20', '+');
};

const urlEncode: Filter = (rt, value) => {
  const isMany = isList(value) || (value instanceof PyObject && value.iterate() !== null);
  if (!isMany) return quoteUrl(rt, value, true);
  const pairs = value instanceof Dict ? value.entries() : iterate(value, rt.budget);
  return Array.from(pairs as Iterable<Value>, (pair) => {
    const items = isList(pair) ? pair : toArray(pair, rt.budget);
    if (items.length !== 2)
      throw valueError('urlencode takes a text, or pairs of a key and a value');
    return `${quoteUrl(rt, items[0]!, false)}=${quoteUrl(rt, items[1]!, false)}`;
  }).join('&');
};

const attributes: Filter = (rt, value, space) => {
  if (!(value instanceof Dict)) throw typeError('xmlattr takes a mapping');
  const made = [...value.entries()].flatMap(([key, item]) => {
    if (item === null || item instanceof Undefined) return [];
    if (/[\s/>=]/.test(str(key, rt.budget)))
      throw valueError(`an attribute's name is not ${str(key, rt.budget)}`);
    return [`${escapeHtml(str(key, rt.budget))}="${escapeHtml(str(item, rt.budget))}"`];
  });
  return (truth(space!) && made.length > 0 ? ' ' : '') + made.join(' ');
};

const toJson: Filter = (rt, value, asciiOnly, indentation, separators, sortKeys) => {
  const given = separators === null ? null : toArray(separators!, rt.budget);
  if (given && given.length !== 2) throw valueError('separators are two texts');
  const spaces =
    indentation === null
      ? null
      : typeof indentation === 'string'
        ? indentation
        : ' '.repeat(Math.max(asIndex(indentation!, 'indent'), 0));
  return dumpJson(
    value,
    {
      asciiOnly: truth(asciiOnly!),
      indent: spaces,
      separators: given
        ? [asText(given[0]!), asText(given[1]!)]
        : [spaces === null ? ', ' : ',', ': '],
      sortKeys: truth(sortKeys!),
    },
    rt.budget,
  );
};

const title = (text: string): string =>
  text
    .split(/([-\s({[<]+)/)
    .map((word) => {
      const [first = '', ...rest] = letters(word);
      return first.toUpperCase() + rest.join('').toLowerCase();
    })
    .join('');

/** Lines of at most `width` letters, broken between words; a longer word is cut. */
const wordWrap: Filter = (rt, value, width, breakLong, end, onHyphens) => {
  const size = asIndex(width!, 'the width');
  if (
    !truth(breakLong!) ||
    !truth(onHyphens!) ||
    (typeof value === 'string' && value.includes('-'))
  )
    throw new JinjaError('NotSupported', 'wordwrap with hyphens or other options is not built in');
  if (size <= 0) throw valueError(`invalid width ${size} (must be > 0)`);
  const text = asText(value, 'what is wrapped');
  const newline = end === null ? '\n' : asText(end!);
  const wrapped = splitLines(text, false).map((line) => {
    const lines: string[] = [];
    let current = '';
    const push = () => {
      if (current.trimEnd() !== '') lines.push(current.trimEnd());
      current = '';
    };
    for (const chunk of line.split(/(\s+)/)) {
      rt.budget.spend(1 + chunk.length);
      if (chunk.trim() === '' && current === '' && lines.length > 0) continue;
      if (current.length + chunk.length > size) {
        if (chunk.trim() === '') continue;
        if (chunk.length <= size) push();
      }
      let rest = chunk;
      while (current.length + rest.length > size) {
        const room = size - current.length;
        current += rest.slice(0, room);
        rest = rest.slice(room);
        push();
      }
      current += rest;
    }
    push();
    return lines.join(newline);
  });
  return wrapped.join(newline);
};

/** A text without what stands between two marks, those included. */
function without(text: string, open: string, close: string): string {
  let out = '';
  let at = 0;
  for (;;) {
    const start = text.indexOf(open, at);
    const end = start < 0 ? -1 : text.indexOf(close, start);
    if (end < 0) return out + text.slice(at);
    out += text.slice(at, start);
    at = end + close.length;
  }
}

const notBuiltIn =
  (name: string): Filter =>
  () => {
    throw new JinjaError('NotSupported', `the filter "${name}" is not built in`);
  };

const list: Readonly<Record<string, readonly [readonly Param[], Filter]>> = {
  abs: [
    [],
    (_, value) => {
      const number = asNumber(value);
      if (value instanceof Undefined) value.fail();
      if (number === null) throw typeError(`bad operand type for abs(): '${typeName(value)}'`);
      return typeof number === 'bigint' ? (number < 0n ? -number : number) : Math.abs(number);
    },
  ],
  capitalize: [[], onText(capitalize)],
  center: [[['width', 80n]], (rt, value, width) => center(rt, str(value, rt.budget), width!)],
  default: [
    [
      ['default_value', ''],
      ['boolean', false],
    ],
    (_, value, otherwise, boolean) =>
      value instanceof Undefined || (truth(boolean!) && !truth(value)) ? otherwise! : value,
  ],
  filesizeformat: [[['binary', false]], fileSize],
  float: [
    [['default', 0]],
    (_, value, otherwise) => {
      try {
        return toFloat(value);
      } catch (error) {
        if (isKind(error, 'TypeError', 'ValueError')) return otherwise!;
        throw error;
      }
    },
  ],
  indent: [
    [
      ['width', 4n],
      ['first', false],
      ['blank', false],
    ],
    indent,
  ],
  int: [
    [
      ['default', 0n],
      ['base', 10n],
    ],
    toInteger,
  ],
  lower: [[], onText((text) => text.toLowerCase())],
  pprint: [
    [],
    (rt, value) => {
      const made = repr(value, rt.budget);
      return made.length <= 80 && !(value instanceof Dict) ? made : notBuiltIn('pprint')(rt, value);
    },
  ],
  random: [[], notBuiltIn('random')],
  replace: [
    ['old', 'new', ['count', null]],
    (rt, value, old, by, count) =>
      replace(
        rt,
        str(value, rt.budget),
        str(old!, rt.budget),
        str(by!, rt.budget),
        count === null ? -1 : asIndex(count!, 'count'),
      ),
  ],
  round: [
    [
      ['precision', 0n],
      ['method', 'common'],
    ],
    round,
  ],
  string: [[], onText((text) => text)],
  striptags: [
    [],
    onText((text) =>
      without(without(text, '<!--', '-->'), '<', '>')
        .split(/\s+/)
        .filter((word) => word !== '')
        .join(' '),
    ),
  ],
  title: [[], onText(title)],
  tojson: [
    [
      ['ensure_ascii', false],
      ['indent', null],
      ['separators', null],
      ['sort_keys', false],
    ],
    toJson,
  ],
  trim: [
    [['chars', null]],
    (rt, value, characters) => {
      const text = str(value, rt.budget);
      rt.budget.spendText(text.length);
      return strip(text, characters === null ? null : asText(characters!));
    },
  ],
  truncate: [
    [
      ['length', 255n],
      ['killwords', false],
      ['end', '...'],
      ['leeway', null],
    ],
    truncate,
  ],
  upper: [[], onText((text) => text.toUpperCase())],
  urlencode: [[], urlEncode],
  urlize: [
    [
      ['trim_url_limit', null],
      ['nofollow', false],
      ['target', null],
      ['rel', null],
      ['extra_schemes', null],
    ],
    notBuiltIn('urlize'),
  ],
  wordcount: [[], onText((text) => BigInt(text.match(/[\p{L}\p{N}\p{M}_]+/gu)?.length ?? 0))],
  wordwrap: [
    [
      ['width', 79n],
      ['break_long_words', true],
      ['wrapstring', null],
      ['break_on_hyphens', true],
    ],
    wordWrap,
  ],
  xmlattr: [[['autospace', true]], attributes],
};

const named = (name: string, like = name): readonly [string, Callable] => {
  const [params, run] = list[like]!;
  const made = builtin(name, ['value', ...params], (rt, value, ...values) =>
    run(rt, value!, ...values),
  );
  return [name, made];
};

/** A filter that sees whether a text is HTML. */
const markup = (
  name: string,
  make: (rt: Runtime, value: Value) => Markup,
): readonly [string, Callable] => [
  name,
  new Callable(name, (rt, { positional }) => make(rt, positional[0]!)),
];

/** `text|format(a, b)` and `text|format(name=a)`: the one filter that takes any arguments. */
const format = new Callable('format', (rt, { positional, named: byName }) => {
  const [text = null, ...values] = positional;
  if (values.length > 0 && byName.size > 0)
    throw new JinjaError(
      'FilterArgumentError',
      'format takes values by position or by name, not both',
    );
  const given = byName.size > 0 ? Dict.of(byName) : new Tuple(values);
  return formatPercent(str(text, rt.budget), given, rt.budget);
});

export const textFilters: readonly (readonly [string, Callable])[] = [
  ...Object.keys(list).map((name) => named(name)),
  named('d', 'default'),
  ...['escape', 'e'].map((name) =>
    markup(name, (rt, value) => Markup.from(value, (v) => str(v, rt.budget))),
  ),
  markup('forceescape', (rt, value) => new Markup(escapeHtml(str(value, rt.budget)))),
  markup('safe', (rt, value) => new Markup(str(value, rt.budget))),
  ['format', format],
];
