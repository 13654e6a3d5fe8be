import type { Verdict } from '../qualityCheck.js';

const CUTOFF =
  /\b(?:as of|up to|until) my (?:last|latest|most recent|current)? ?(?:knowledge|training|update|data)|\bmy (?:knowledge|training(?: data)?) (?:cut-?off|(?:was |is )?(?:last )?(?:updated|limited|current|only (?:goes|extends)|goes|extends|ends|stops))|\bknowledge cut-?off (?:date )?(?:is|of|in)\b|\bmy last (?:knowledge |training )?update\b|\bi (?:do not|don'?t|cannot|can't) (?:have access to|access) (?:real-?time|current|up-?to-?date|the latest)|截至我(?:的)?(?:最后|上次|知识)|我的知识(?:截止|更新)|stand meines letzten (?:updates|wissens)/i;

const DATED =
  /\bas of (?:(?:early|late|mid|the (?:start|end|beginning) of)[ -])?(?:(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?(?: \d{1,2})?,? )?((?:19|20)\d\d)\b|\bthe current year is ((?:19|20)\d\d)\b|\bit is currently (?:[A-Z][a-z]{2,8} )?((?:19|20)\d\d)\b|截[至止] ?((?:19|20)\d\d) ?年/giu;

/** "Stand 2021" in capitals alone: "er stand 1990 am Tor" is a verb. */
const DATED_GERMAN = /(?<![\p{L}])Stand:? (?:[A-ZÄ][a-zä]{2,8} )?((?:19|20)\d\d)\b/gu;

/** What holds from a date on: "effective as of January 1, 2020". */
const IN_FORCE =
  /\b(?:effective|in force|valid|applicable|amended|beginning|starting|commencing|dated)\b[^.!?]{0,20}$/i;
/** Years before `staleBefore` in which an answer may be written that speaks of its present. */
const RECENT = 20;

const YEAR = /(?:19|20)\d\d/;

const NOW =
  /\b(?:is|are|has|have|remains?|stands?|currently|latest|newest|most recent|ist|sind|hat|haben)\b|是|有|为/i;
const THEN =
  /\b(?:was|were|had|would|estimated|reported|recorded|census|war|waren|hatte|hatten)\b/i;

/** What an answer says about a present that is past. */
export function staleIn(prose: string, before: number): Verdict | null {
  const cutoff = CUTOFF.exec(prose);
  if (cutoff)
    return { score: 0.2, reason: 'knowledge cutoff', detail: `"${around(prose, cutoff.index)}"` };
  if (!YEAR.test(prose)) return null;
  let worst: Verdict | null = null;
  for (const match of [...prose.matchAll(DATED), ...prose.matchAll(DATED_GERMAN)]) {
    const year = Number(match.slice(1).find((group) => group !== undefined));
    if (year >= before) continue;
    const sentence = sentenceAt(prose, match.index);
    const isInForce = IN_FORCE.test(prose.slice(Math.max(0, match.index - 40), match.index));
    const isPresent =
      NOW.test(sentence) && !THEN.test(sentence) && !isInForce && year >= before - RECENT;
    const score = isPresent ? 0.4 : 0.8;
    if (score < (worst?.score ?? 1))
      worst = { score, reason: 'stale date', detail: `"${around(prose, match.index)}"` };
  }
  return worst;
}

const around = (text: string, at: number): string =>
  text
    .slice(at, at + 50)
    .split('\n')[0]!
    .trim();

/** The sentence around a place, at most 300 characters to each side. */
function sentenceAt(text: string, at: number): string {
  const before = text.slice(Math.max(0, at - 300), at);
  const begin = Math.max(...['. ', '\n', '! ', '? ', '。'].map((end) => before.lastIndexOf(end)));
  const after = text.slice(at, at + 300);
  const end = after.search(/[.!?](?:\s|$)|[\n。]/);
  return before.slice(begin + 1) + (end < 0 ? after : after.slice(0, end));
}
