import { type CharSet, setOf } from './charSet.js';

/** Classes that have no property of their own in JavaScript. */
const classes: Readonly<Record<string, string>> = {
  alpha: '\\p{Alphabetic}',
  digit: '\\p{Nd}',
  alnum: '\\p{Alphabetic}\\p{Nd}',
  upper: '\\p{Uppercase}',
  lower: '\\p{Lowercase}',
  space: '\\p{White_Space}',
  blank: '\\p{Zs}\\t',
  cntrl: '\\p{Cc}',
  punct: '\\p{P}\\p{S}',
  graph: '\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Cf}\\p{Co}',
  print: '\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Zs}\\p{Cf}\\p{Co}',
  xdigit: '0-9a-fA-F',
  // Oniguruma's word characters hold six more of Latin-1 than [:word:]: superscripts and fractions.
  shorthandword: '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u00b2\\u00b3\\u00b9\\u00bc-\\u00be',
  word: '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}',
  ascii: '\\x00-\\x7f',
  any: '\\u{0}-\\u{10ffff}',
  assigned: '\\P{Cn}',
};

const plain = (name: string): string => name.toLowerCase().replaceAll(/[ _-]/g, '');

/**
 * The set of a character property by its name in a pattern: a general category, a script, a binary
 * property or a POSIX class. Names are compared without case, spaces and underscores.
 *
 * @returns null when there is none of that name; blocks (`InBasic_Latin`) are not among them
 */
export function property(name: string): CharSet | null {
  const own = classes[plain(name)];
  if (own !== undefined) return setOf(new RegExp(`^[${own}]$`, 'u'));
  for (const source of spellings(name)) {
    const set = tryProperty(source);
    if (set) return set;
  }
  return null;
}

function tryProperty(source: string): CharSet | null {
  try {
    return setOf(new RegExp(`^\\p{${source}}$`, 'u'));
  } catch {
    return null;
  }
}

/** The ways in which JavaScript may know a name: it compares letter by letter. */
function spellings(name: string): string[] {
  if (!/^[A-Za-z][A-Za-z _-]*$/.test(name)) return [];
  const words = name
    .replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_')
    .split(/[ _-]+/)
    .filter((word) => word !== '');
  const titled = words.map((w) => w[0]!.toUpperCase() + w.slice(1).toLowerCase()).join('_');
  const upper = name.toUpperCase();
  return [name, titled, `Script=${titled}`, `Script=${name}`, upper];
}
