import {
  isBsn,
  isChineseId,
  isCodiceFiscale,
  isCpf,
  isFrenchNir,
  isGermanTaxId,
  isLuhn,
  isMod97,
  isPesel,
  isSpanishId,
  isVerhoeff,
} from './checksums.js';
import type { DigitRuns } from './digits.js';
import { isNamed, type PiiFinding, type Place } from './piiKinds.js';

/** Lengths of IBANs by country (SWIFT, IBAN registry). */
const IBAN_LENGTHS: Readonly<Record<string, number>> = Object.fromEntries(
  (
    'AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 ' +
    'EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 ' +
    'KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 ' +
    'PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20'
  )
    .split(' ')
    .map((entry) => [entry.slice(0, 2), Number(entry.slice(2))]),
);

const IBAN_BEGIN = /(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?= ?[A-Z0-9])/g;

/** IBANs: the length of the country and mod 97; in groups of four or without spaces. */
export function* findIbans(text: string): Generator<PiiFinding> {
  for (const { 0: begin, index } of text.matchAll(IBAN_BEGIN)) {
    const length = IBAN_LENGTHS[begin.slice(0, 2)];
    if (length === undefined) continue;
    let end = index;
    let iban = '';
    for (; end < text.length && iban.length < length; end++) {
      const c = text[end]!;
      if (/[A-Z0-9]/.test(c)) iban += c;
      else if (c !== ' ' || iban.length % 4 !== 0) break;
    }
    if (iban.length !== length || /[A-Za-z0-9]/.test(text[end] ?? '') || !isMod97(iban)) continue;
    yield { kind: 'iban', start: index, end, what: begin.slice(0, 2), isReserved: false };
  }
}

/** First digits and lengths of the card networks that are in use (ISO/IEC 7812). */
const ISSUERS: readonly (readonly [what: string, prefix: RegExp, lengths: readonly number[]])[] = [
  ['Visa', /^4/, [13, 16, 19]],
  ['Mastercard', /^(?:5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720)/, [16]],
  ['American Express', /^3[47]/, [15]],
  ['Discover', /^(?:6011|64[4-9]|65)/, [16, 19]],
  ['Diners Club', /^3(?:0[0-5]|[689])/, [14, 16, 19]],
  ['JCB', /^35(?:2[89]|[3-8])/, [16, 17, 18, 19]],
  ['UnionPay', /^62/, [16, 17, 18, 19]],
  ['Maestro', /^(?:5018|5020|5038|6304|6759|676[1-3])/, [12, 13, 14, 15, 16, 17, 18, 19]],
];

/** How cards are written: without separators, or in the groups of their network. */
const CARDS =
  /(?<!\w|\d[.-])(?:\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5}|\d{12,19})(?!\w|[.-]\d)/g;

/** Numbers of payment cards: first digits and length of a network, and Luhn's sum. */
export function* findCards(text: string): Generator<PiiFinding> {
  for (const { 0: found, index } of text.matchAll(CARDS)) {
    // Networks begin with 2 to 6; most numbers end here.
    if (found < '2' || found >= '7') continue;
    const digits = found.replace(/[ -]/g, '');
    if (!isLuhn(digits) || new Set(digits).size < 2) continue;
    const issuer = ISSUERS.find(
      ([, prefix, lengths]) => prefix.test(digits) && lengths.includes(digits.length),
    );
    if (!issuer) continue;
    yield {
      kind: 'credit-card',
      start: index,
      end: index + found.length,
      what: issuer[0],
      isReserved: false,
    };
  }
}

const sideBySide =
  (least: number) =>
  ({ longest }: DigitRuns): boolean =>
    longest >= least;
const near =
  (least: number) =>
  ({ most }: DigitRuns): boolean =>
    most >= least;

/** National numbers that are written with a shape of their own. */
const SHAPES: readonly (readonly [
  country: string,
  /** Whether a text with such digits may have one. */
  mayHave: (digits: DigitRuns) => boolean,
  shape: RegExp,
  isValid: (id: string) => boolean,
  name: RegExp | null,
])[] = [
  [
    'China',
    sideBySide(17),
    /(?<![\w.-])[1-9]\d{5}(?:19|20)\d{9}[\dXx](?![\w-])/g,
    isChineseId,
    null,
  ],
  ['Brazil', near(11), /(?<![\w.-])\d{3}\.\d{3}\.\d{3}-\d{2}(?![\w-])/g, isCpf, null],
  ['Brazil', sideBySide(11), /(?<![\w.-])\d{11}(?![\w-])/g, isCpf, /\bCPF\b/i],
  [
    'Spain',
    sideBySide(7),
    /(?<![\w.-])(?:\d{8}|[XYZ]\d{7})-?[A-HJ-NP-TV-Z](?![\w-])/g,
    isSpanishId,
    // One of 23 letters is right by chance.
    /\b(?:DNI|NIF|NIE|documento|identidad|identificaci[oó]n)\b/i,
  ],
  [
    'France',
    near(13),
    /(?<![\w.-])[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-4]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}(?![\w-])/g,
    isFrenchNir,
    null,
  ],
  [
    'Italy',
    sideBySide(3),
    /(?<![\w-])[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z](?![\w-])/gi,
    isCodiceFiscale,
    null,
  ],
  ['Poland', sideBySide(11), /(?<![\w.-])\d{11}(?![\w-])/g, isPesel, /\bPESEL\b/i],
  [
    'Germany',
    near(11),
    /(?<![\w.-])\d{2} ?\d{3} ?\d{3} ?\d{3}(?![\w-])/g,
    isGermanTaxId,
    /steuer|\btax id|\bIdNr|\bTIN\b/i,
  ],
  [
    'Netherlands',
    sideBySide(9),
    /(?<![\w.-])\d{9}(?![\w-])/g,
    isBsn,
    /\bBSN\b|burgerservice|sofinummer/i,
  ],
  [
    'India',
    near(12),
    /(?<![\w.-])[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}(?![\w-])/g,
    isVerhoeff,
    /aadha+r|\bUIDAI?\b/i,
  ],
  [
    'Canada',
    near(9),
    /(?<![\w.-])[1-79]\d{2}[ -]?\d{3}[ -]?\d{3}(?![\w-])/g,
    isLuhn,
    /\bSIN\b|social insurance/,
  ],
  [
    'United Kingdom',
    near(6),
    /(?<![\w-])(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?![\w-])/g,
    () => true,
    /national insurance|\bNI(?:NO)?\b/i,
  ],
];

/** National numbers of persons, each with its check; weak checks need their name before them. */
export function* findNationalIds(text: string, digits: DigitRuns): Generator<PiiFinding> {
  for (const [what, mayHave, shape, isValid, name] of SHAPES) {
    if (!mayHave(digits) || (name !== null && !name.test(text))) continue;
    for (const { 0: found, index } of text.matchAll(shape)) {
      const place: Place = { text, start: index, end: index + found.length };
      if ((name === null || isNamed(place, name)) && isValid(found))
        yield { kind: 'national-id', what, start: index, end: place.end, isReserved: false };
    }
  }
}

const SSN = /(?<![\w.,+-])(\d{3})([ -]?)(\d{2})\2(\d{4})(?![\w-]|\.\d)/g;
const SSN_NAME = /\bSSN\b|social security/i;
/** Numbers that were printed on cards in shops and in advertisements. */
const KNOWN_SSN = new Set(['078051120', '219099999', '457555462']);

/** Social security numbers of the United States: no area 000, 666 or 9xx, no group or serial 0. */
export function* findSsns(text: string): Generator<PiiFinding> {
  for (const { 0: found, index, ...part } of text.matchAll(SSN)) {
    const [area, group, serial] = [part[1]!, part[3]!, part[4]!];
    if (area === '000' || area === '666' || area[0] === '9' || group === '00' || serial === '0000')
      continue;
    const place: Place = { text, start: index, end: index + found.length };
    if (part[2] !== '-' && !isNamed(place, SSN_NAME)) continue;
    const isReserved =
      KNOWN_SSN.has(area + group + serial) || (area + group + serial).startsWith('9876543');
    yield { kind: 'ssn', start: index, end: place.end, isReserved };
  }
}
