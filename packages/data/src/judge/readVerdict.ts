import { isPlainObject } from '@attune/core/util';

/** What a judge said about two answers. */
export type PairVerdict = 'A' | 'B' | 'tie';

/**
 * The verdict of a judge's words: `winner` of a JSON object that ends or begins them, else a last
 * line that says nothing but A, B or tie ("[[A]]", "Winner: B"). null: they say neither, or both.
 */
export function readPairVerdict(text: string): PairVerdict | null {
  return readVerdict(text, 'winner', PAIR_LABEL, pairWord);
}

const PAIR_LABEL = /^(?:(?:final )?(?:winner|verdict|answer)\W+)?(.*)$/i;

function pairWord(text: string): PairVerdict | null {
  const word = bare(text).toLowerCase();
  const letter = /^(?:answer |response |assistant )?([ab])$/.exec(word)?.[1];
  if (letter) return letter === 'a' ? 'A' : 'B';
  return /^(?:tied?|draw|equal)$/.test(word) ? 'tie' : null;
}

/**
 * The score of a judge's words, 1 to `most`: `score` of a JSON object that ends or begins them,
 * else a last line that is nothing but a number ("Score: 7", "7/10", "7,5", digits of other
 * scripts). null: there is none, it is outside, or there are two.
 */
export function readScore(text: string, most = 10): number | null {
  return readVerdict(text, 'score', SCORE_LABEL, (word) => scoreWord(word, most));
}

const SCORE_LABEL = /^(?:(?:final |overall )?(?:score|rating)\W+)?(.*)$/i;

function scoreWord(text: string, most: number): number | null {
  const found = /^(\d{1,2}(?:[.,]\d+)?)(?:\s*(?:\/|out of)\s*(\d+))?$/i.exec(bare(text));
  if (!found || (found[2] !== undefined && Number(found[2]) !== most)) return null;
  const score = Number(found[1]!.replace(',', '.'));
  return score >= 1 && score <= most ? score : null;
}

/**
 * What a judge quotes of the answer that it judges may look like a verdict. So an object counts
 * where it ends its words, or begins them; and not where a last line says another thing.
 */
function readVerdict<V extends string | number>(
  text: string,
  key: string,
  label: RegExp,
  read: (word: string) => V | null,
): V | null {
  const words = plain(text)
    .replace(/^\s*(?:```\w*\s*)?/, '')
    .replace(/(?:\s*```)?\s*$/, '');
  const line = read(label.exec(lastLine(words))?.[1] ?? '');
  const closing = objectAtEnd(words, key);
  const said = closing ?? objectAtStart(words, key);
  if (!said) return line;
  const verdict =
    typeof said.value === 'string' || typeof said.value === 'number'
      ? read(String(said.value))
      : null;
  return closing || line === null || line === verdict ? verdict : null;
}

/** Zeros of the scripts in which models write digits of their own. */
const ZEROS = [0x660, 0x6f0, 0x966, 0x9e6, 0xe50];

/** In the forms and digits of ASCII. */
const plain = (text: string): string =>
  text
    .normalize('NFKC')
    .replaceAll('٫', '.')
    .replace(/\p{Nd}/gu, (digit) => {
      const value = digit.codePointAt(0)!;
      const zero = ZEROS.find((each) => value >= each && value < each + 10);
      return zero === undefined ? digit : String(value - zero);
    });

/** Without the signs that Markdown and quotes put around a word. */
const bare = (text: string): string => text.replace(/^[\s"'`*_[\](){}]+|[\s"'`*_[\](){}.!]+$/g, '');

const lastLine = (text: string): string => bare(text.trimEnd().split('\n').at(-1) ?? '');

interface Said {
  readonly value: unknown;
}

/** Braces that are looked at, for texts that are all braces. */
const MOST_BRACES = 20;

/** An object that a text ends with, with a key of this name. */
function objectAtEnd(text: string, key: string): Said | null {
  if (!text.endsWith('}')) return null;
  let start = text.length;
  for (let tries = 0; tries < MOST_BRACES && start > 0; tries++) {
    start = text.lastIndexOf('{', start - 1);
    if (start < 0) return null;
    const said = keyOf(text.slice(start), key);
    if (said) return said;
  }
  return null;
}

/** An object that a text begins with, with a key of this name. */
function objectAtStart(text: string, key: string): Said | null {
  if (!text.startsWith('{')) return null;
  let end = 0;
  for (let tries = 0; tries < MOST_BRACES; tries++) {
    end = text.indexOf('}', end) + 1;
    if (end === 0) return null;
    const said = keyOf(text.slice(0, end), key);
    if (said) return said;
  }
  return null;
}

function keyOf(text: string, key: string): Said | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isPlainObject(value)) return null;
  const name = Object.keys(value).find((each) => each.toLowerCase() === key);
  return name === undefined ? null : { value: value[name] };
}
