import type { Verdict } from '../qualityCheck.js';

/** How answers begin that answer nothing. */
const REFUSAL = new RegExp(
  `^[\\s"“*]{0,10}(?:${[
    "(?:i'?m|i am) (?:really |very |so |truly )?sorry,? (?:but )?(?:i|as an) (?:can'?t|cannot|can not|am unable|am not able|won'?t|ai|do not|don'?t|must decline)",
    "(?:sorry|apologies),? (?:but )?i (?:can'?t|cannot|am unable|am not able|won'?t)",
    'i apologi[sz]e,? but (?:i|as an)',
    "i (?:can'?t|cannot|can not|won'?t|am unable to|am not able to|'?m unable to|'?m not able to) (?:help|assist|fulfil+|comply|provide|answer|create|generate|complete|engage|do that|write|support)",
    "as an? (?:ai|artificial intelligence|large language|language)[\\w ]{0,20}(?:model|assistant)?,? i (?:can'?t|cannot|do not|don'?t|am unable|am not able|am not capable)",
    "unfortunately,? (?:as an ai[\\w ]{0,20},? )?i (?:can'?t|cannot|am unable|am not able)",
    'es tut mir leid,? (?:aber )?(?:ich kann|als ki)',
    'tut mir leid,? (?:aber )?(?:ich kann|das kann ich) ',
    '(?:je suis )?d[ée]sol[ée]e?,? (?:mais )?je ne peux pas',
    'lo siento,? (?:pero )?no puedo',
    '(?:对不起|抱歉|很抱歉)[，,]?(?:但)?我(?:不能|无法)',
    '申し訳(?:ありません|ございません)',
  ].join('|')})`,
  'i',
);

/** An answer that refuses, told by its first words. */
export function refusalIn(answer: string): Verdict | null {
  const begin = answer.slice(0, 200).replaceAll('’', "'");
  const found = REFUSAL.exec(begin);
  return found ? { score: 0, reason: 'refusal', detail: begin.trim().slice(0, 60) } : null;
}
