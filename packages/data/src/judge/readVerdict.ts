import { isPlainObject } from '@attune/core/util';

/** What a judge said about two answers. */
export type PairVerdict = 'A' | 'B' | 'tie';

/**
 * The verdict of a judge's words: `winner` of the last JSON object, else a last line that says
 * nothing but A, B or tie ("[[A]]", "Winner: B"). null: they say neither, or both.
 */
export function readPairVerdict(text: string): PairVerdict | null {
  const said = lastObjectWith(text, 'winner');
  if (said) return typeof said.winner === 'string' ? pairWord(said.winner) : null;
  const line = /^(?:(?:final )?(?:winner|verdict|answer)\W+)?(.*)$/i.exec(lastLine(text));
  return pairWord(line?.[1] ?? '');
}

function pairWord(text: string): PairVerdict | null {
  const word = bare(text).toLowerCase();
  const letter = /^(?:answer |response |assistant )?([ab])$/.exec(word)?.[1];
  if (letter) return letter === 'a' ? 'A' : 'B';
  return word === 'tie' ? 'tie' : null;
}

/**
 * The score of a judge's words, 1 to 10: `score` of the last JSON object, else a last line that is
 * nothing but a number ("Score: 7", "7/10"). null: there is none, or it is outside.
 */
export function readScore(text: string): number | null {
  const said = lastObjectWith(text, 'score');
  if (said)
    return typeof said.score === 'number' || typeof said.score === 'string'
      ? scoreWord(String(said.score))
      : null;
  const line = /^(?:(?:final |overall )?(?:score|rating)\W+)?(.*)$/i.exec(lastLine(text));
  return scoreWord(line?.[1] ?? '');
}

function scoreWord(text: string): number | null {
  const number = /^(\d{1,2}(?:\.\d+)?)(?:\s*\/\s*10)?$/.exec(bare(text))?.[1];
  const score = number === undefined ? Number.NaN : Number(number);
  return score >= 1 && score <= 10 ? score : null;
}

/** Without the signs that Markdown and quotes put around a word. */
const bare = (text: string): string => text.replace(/^[\s"'`*_[\](){}]+|[\s"'`*_[\](){}.!]+$/g, '');

const lastLine = (text: string): string => bare(text.trimEnd().split('\n').at(-1) ?? '');

/**
 * The last object in a text that has a key of this name, in whatever is around it. What an answer
 * that is judged says of itself may be quoted before it.
 */
function lastObjectWith(text: string, key: string): Readonly<Record<string, unknown>> | null {
  let ends = 0;
  for (
    let end = text.lastIndexOf('}');
    end > 0 && ends < MOST_OBJECTS;
    end = text.lastIndexOf('}', end - 1), ends++
  ) {
    let tries = 0;
    for (
      let start = text.lastIndexOf('{', end);
      start >= 0 && tries < MOST_OPENINGS;
      start = start === 0 ? -1 : text.lastIndexOf('{', start - 1), tries++
    ) {
      const value = parse(text.slice(start, end + 1));
      if (!isPlainObject(value)) continue;
      const name = Object.keys(value).find((each) => each.toLowerCase() === key);
      if (name !== undefined) return { [key]: value[name] };
      break;
    }
  }
  return null;
}

/** Braces that an object may hold, for texts that are all braces. */
const MOST_OPENINGS = 20;
/** Closing braces that are looked at. */
const MOST_OBJECTS = 200;

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
