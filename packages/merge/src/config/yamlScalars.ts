const BOOLEAN = /^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$/;
const TRUE = /^(?:yes|true|on)$/i;
const NULL = /^(?:~|null|Null|NULL|)$/;
const INTEGER = /^[-+]?(?:0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$/;
// Numbers to the base of 60: 1:30 is 90.
const SEXAGESIMAL =
  /^[-+]?(?:[1-9][0-9_]*(?::[0-5]?[0-9])+|[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*)$/;
// The sign of an exponent must be there, and a point: 1e-5 is a word.
const FLOAT =
  /^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?)$/;
const INFINITE = /^[-+]?\.(?:inf|Inf|INF)$/;
const NOT_A_NUMBER = /^\.(?:nan|NaN|NAN)$/;

/** What a scalar of YAML is. */
export type YamlScalar = string | number | boolean | null;

/**
 * What a scalar without quotes is in YAML 1.1 as PyYAML reads it: `yes`, `on` and `off` are
 * booleans, `010` is 8, and `1e-5` a string. Dates stay strings.
 */
export function resolveScalar(text: string): YamlScalar {
  if (NULL.test(text)) return null;
  if (BOOLEAN.test(text)) return TRUE.test(text);
  if (INTEGER.test(text)) return integer(text.replaceAll('_', ''));
  if (FLOAT.test(text)) return Number(text.replaceAll('_', ''));
  if (SEXAGESIMAL.test(text)) return sexagesimal(text.replaceAll('_', ''));
  if (INFINITE.test(text)) return text.startsWith('-') ? -Infinity : Infinity;
  if (NOT_A_NUMBER.test(text)) return NaN;
  return text;
}

function integer(text: string): number {
  const digits = text.replace(/^[-+]/, '');
  const octal = /^0[0-7]/.test(digits);
  const size = octal ? Number.parseInt(digits, 8) : Number(digits);
  return text.startsWith('-') ? -size : size;
}

function sexagesimal(text: string): number {
  const size = text
    .replace(/^[-+]/, '')
    .split(':')
    .reduce((total, part) => total * 60 + Number(part), 0);
  return text.startsWith('-') ? -size : size;
}
