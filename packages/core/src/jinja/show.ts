import { type Budget, valueError } from './errors.js';
import { Markup, PyObject, Undefined, type Value } from './values.js';

/** Python's str(): what a template writes. */
export function str(value: Value, budget: Budget): string {
  if (typeof value === 'string') return value;
  if (value instanceof Markup) return value.text;
  return value instanceof Undefined ? '' : repr(value, budget);
}

export function repr(value: Value, budget: Budget): string {
  budget.spend(1);
  if (value === null) return 'None';
  switch (typeof value) {
    case 'boolean':
      return value ? 'True' : 'False';
    case 'bigint':
      return showInt(value);
    case 'number':
      return showFloat(value);
    case 'string':
      budget.spendText(value.length);
      return quote(value);
  }
  const show = (item: Value) => repr(item, budget);
  if (value instanceof PyObject) return value.repr(show);
  return `[${(value as readonly Value[]).map(show).join(', ')}]`;
}

function showInt(value: bigint): string {
  const text = String(value);
  if (text.length > 4300) throw valueError('an integer of more than 4300 digits is not printed');
  return text;
}

/** Shortest digits that read back the same; an exponent below 1e-4 and from 1e16 on. */
export function showFloat(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (Object.is(value, -0)) return '-0.0';
  const [mantissa, power] = value.toExponential().split('e') as [string, string];
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    const size = String(Math.abs(exponent)).padStart(2, '0');
    return `${mantissa}e${exponent < 0 ? '-' : '+'}${size}`;
  }
  const text = value.toFixed(Math.max(mantissa.replace(/[-.]/g, '').length - 1 - exponent, 0));
  return text.includes('.') ? text : `${text}.0`;
}

const escapes: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};

/** A text as Python spells it: single quotes unless only those are within. */
export function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  let out = mark;
  for (const letter of text)
    out += letter === mark ? `\\${mark}` : (escapes[letter] ?? spelling(letter));
  return out + mark;
}

/** Python spells out what it calls not printable: controls, formats, unassigned, spaces but " ". */
function spelling(letter: string): string {
  if (letter === ' ' || !/[\p{C}\p{Z}]/u.test(letter)) return letter;
  const code = letter.codePointAt(0)!;
  const hex = (digits: number) => code.toString(16).padStart(digits, '0');
  if (code < 0x100) return `\\x${hex(2)}`;
  return code < 0x10000 ? `\\u${hex(4)}` : `\\U${hex(8)}`;
}
