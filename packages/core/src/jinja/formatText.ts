import { JinjaError, typeError, valueError } from './errors.js';
import { formatValue } from './formatSpec.js';
import { quote, repr, str } from './show.js';
import { Dict, type Runtime, Undefined, type Value } from './values.js';

interface FormatArgs {
  readonly positional: readonly Value[];
  /** Keyword arguments, or the mapping of `format_map`. */
  readonly named: ReadonlyMap<string, Value> | Value;
}

/**
 * str.format: `{}`, `{0}`, `{name.attribute[key]!r:>10}`, `{{`.
 *
 * @throws ValueError, KeyError, IndexError
 */
export function formatText(rt: Runtime, text: string, args: FormatArgs): string {
  const state = { next: 0, manual: false };
  return format(rt, text, args, state, 2);
}

function format(
  rt: Runtime,
  text: string,
  args: FormatArgs,
  state: { next: number; manual: boolean },
  depth: number,
): string {
  if (depth < 0) throw valueError('Max string recursion exceeded');
  let out = '';
  for (let at = 0; at < text.length; at++) {
    const letter = text[at]!;
    if (letter !== '{' && letter !== '}') {
      out += letter;
      continue;
    }
    if (text[at + 1] === letter) {
      out += letter;
      at++;
      continue;
    }
    if (letter === '}') throw valueError("Single '}' encountered in format string");
    const end = fieldEnd(text, at);
    out += field(rt, text.slice(at + 1, end), args, state, depth);
    rt.budget.spendText(out.length / 16);
    at = end;
  }
  return out;
}

function fieldEnd(text: string, start: number): number {
  let open = 0;
  for (let at = start; at < text.length; at++) {
    if (text[at] === '{') open++;
    else if (text[at] === '}' && --open === 0) return at;
  }
  throw valueError("expected '}' before end of string");
}

function field(
  rt: Runtime,
  inside: string,
  args: FormatArgs,
  state: { next: number; manual: boolean },
  depth: number,
): string {
  const match = /^((?:[^[:!]|\[[^\]]*\])*)(?:!([^:]*))?(?::([\s\S]*))?$/.exec(inside);
  if (!match) throw valueError(`a format field that is not complete: {${inside}}`);
  const [, path, conversion, specification = ''] = match;
  const [, first, rest] = /^([^.[]*)([\s\S]*)$/.exec(path!)!;
  let value = argument(first!, args, state);
  for (const [, attribute, key] of rest!.matchAll(/\.([^.[]+)|\[([^\]]*)\]/g))
    value =
      attribute === undefined
        ? rt.item(value, /^\d+$/.test(key!) ? BigInt(key!) : key!)
        : rt.attribute(value, attribute);
  if (conversion === 'r' || conversion === 'a') value = repr(value, rt.budget);
  else if (conversion === 's') value = str(value, rt.budget);
  else if (conversion !== undefined) throw valueError(`Unknown conversion specifier ${conversion}`);
  const spec = format(rt, specification, args, state, depth - 1);
  if (value instanceof Undefined && spec !== '')
    throw typeError('unsupported format string passed to Undefined.__format__');
  return formatValue(value, spec, rt.budget);
}

function argument(name: string, args: FormatArgs, state: { next: number; manual: boolean }): Value {
  let index = name;
  if (name === '') {
    if (state.manual) throw valueError('cannot switch from manual to automatic field numbering');
    index = String(state.next++);
  } else if (/^\d+$/.test(name)) {
    if (state.next > 0) throw valueError('cannot switch from automatic to manual field numbering');
    state.manual = true;
  }
  if (/^\d+$/.test(index)) {
    const value = args.positional[Number(index)];
    if (value === undefined)
      throw new JinjaError('IndexError', 'Replacement index out of range for positional args');
    return value;
  }
  const value =
    args.named instanceof Map
      ? (args.named.get(index) as Value | undefined)
      : args.named instanceof Dict
        ? args.named.get(index)
        : undefined;
  if (value === undefined) throw new JinjaError('KeyError', quote(index));
  return value;
}
