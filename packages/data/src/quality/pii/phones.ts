import type { DigitRuns } from './digits.js';
import { isNamed, type PiiFinding, type Place } from './piiKinds.js';

/** What stands before a telephone number. */
const NAME =
  /\b(?:tel|telephone|phone|mobile|mob|cell|fax|call|dial|whatsapp|sms|text|ring|contact|telefon|handy|mobil|tél|téléphone|teléfono|móvil|telefono)\b[^\n]{0,16}$|(?:电话|手机|電話|携帯|聯絡|联系)[^\n]{0,8}$/i;

/** Country codes (ITU-T E.164) by their length. */
const ONE_DIGIT = new Set(['1', '7']);
const TWO_DIGITS = new Set(
  '20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98'.split(
    ' ',
  ),
);

const INTERNATIONAL = /(?<![\w+])(?:\+|00)[1-9](?:[ .()/-]{0,2}\d){6,14}(?!\w)/g;

/** National numbers that are written with separators of their own: who has it, its least digits. */
const NATIONAL: readonly (readonly [
  what: string,
  least: number,
  shape: RegExp,
  needsName: boolean,
])[] = [
  [
    'North America',
    10,
    /(?<![\w.+/-])(?:1[ .-])?\([2-9]\d{2}\) ?[2-9]\d{2}[ .-]\d{4}(?![\w-])/g,
    false,
  ],
  [
    'North America',
    10,
    /(?<![\w.+/-])(?:1[ .-])?[2-9]\d{2}([ .-])[2-9]\d{2}\1\d{4}(?![\w-])/g,
    false,
  ],
  ['North America', 10, /(?<![\w.+/-])[2-9]\d{2}[2-9]\d{6}(?![\w-])/g, true],
  ['France', 10, /(?<![\w.+/-])0[1-9]([ .-])\d{2}\1\d{2}\1\d{2}\1\d{2}(?![\w-])/g, false],
  [
    'United Kingdom',
    9,
    /(?<![\w.+/-])07\d{3} ?\d{6}(?![\w-])|(?<![\w.+/-])\(?0(?:1\d{2,3}|2\d)\)? \d{3,4} \d{3,4}(?![\w-])/g,
    false,
  ],
  ['Germany', 6, /(?<![\w.+/-])0[1-9]\d{1,4}[ /-]{1,3}\d{3,8}(?:[ -]?\d{1,4})?(?![\w-])/g, true],
  ['China', 11, /(?<![\w.+/-])1[3-9]\d(?:([ -])\d{4}\1\d{4}|\d{8})(?![\w-])/g, false],
  [
    'Japan',
    8,
    /(?<![\w.+/-])0[5789]0-\d{4}-\d{4}(?![\w-])|(?<![\w.+/-])0[1-9]\d{0,2}-\d{2,4}-\d{4}(?![\w-])/g,
    false,
  ],
  ['India', 10, /(?<![\w.+/-])[6-9]\d{4}[ -]?\d{5}(?![\w-])/g, true],
];

/** Telephone numbers: E.164 with a country code that exists, and common national shapes. */
export function* findPhones(text: string, { most }: DigitRuns): Generator<PiiFinding> {
  for (const { 0: found, index } of text.matchAll(INTERNATIONAL)) {
    const digits = found.replace(/\D/g, '').replace(/^00/, '');
    const place: Place = { text, start: index, end: index + found.length };
    if (!isE164(digits) || (found[0] === '0' && !isNamed(place, NAME))) continue;
    // A number with a plus and nothing else may count bytes or lines: "tail -n +347340107".
    if (digits.length < 10 && /^\+\d+$/.test(found) && !isNamed(place, NAME)) continue;
    // +1234567890 in a sum, or the time zone of a date, is no number that one may dial.
    if (/[\d)]\s?$/.test(text.slice(Math.max(0, index - 2), index))) continue;
    yield { kind: 'phone', start: index, end: place.end, isReserved: isNobodys(digits) };
  }
  for (const [what, least, shape, needsName] of NATIONAL) {
    if (most < least) continue;
    for (const { 0: found, index } of text.matchAll(shape)) {
      const place: Place = { text, start: index, end: index + found.length };
      const digits = found.replace(/\D/g, '');
      if (new Set(digits).size < 3 || (needsName && !isNamed(place, NAME))) continue;
      if (what === 'China' && !/\D/.test(found) && !isNamed(place, NAME) && isPartOfSum(place))
        continue;
      yield { kind: 'phone', what, start: index, end: place.end, isReserved: isNobodys(digits) };
    }
  }
}

function isE164(digits: string): boolean {
  if (digits.length < 8 || digits.length > 15) return false;
  if (digits[0] === '1') return /^1[2-9]\d{2}[2-9]\d{6}$/.test(digits);
  if (ONE_DIGIT.has(digits[0]!)) return digits.length === 11;
  return (
    TWO_DIGITS.has(digits.slice(0, 2)) ||
    /^(?:2[1-69]|3[578]|42|5[09]|6[789]|8[058]|9[679])\d/.test(digits)
  );
}

/** Free of charge for the caller: numbers of firms, help lines, offices. */
const TOLL_FREE = /^1?8(?:00|33|44|55|66|77|88)[2-9]\d{6}$/;

/** 555-0100 to 555-0199, and Ofcom's numbers for drama: nobody has them. Neither 123-456-7890. */
const isNobodys = (digits: string): boolean =>
  TOLL_FREE.test(digits) ||
  /^1?[2-9]\d{2}55501\d{2}$/.test(digits) ||
  /^(?:44|0)7700900\d{3}$/.test(digits) ||
  /^1?[2-9]\d{2}555(?:1212|1234|5555)$/.test(digits) ||
  /^\d{0,2}(?:1234567890|0123456789|123456789)$/.test(digits);

const isPartOfSum = ({ text, start, end }: Place): boolean =>
  /[=*/+<>$€£(-]\s?$/.test(text.slice(Math.max(0, start - 2), start)) ||
  /^\s?[=*/+<>)%]/.test(text.slice(end, end + 2));
