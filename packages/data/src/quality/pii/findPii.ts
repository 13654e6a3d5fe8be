import { type DigitRuns, digitRuns } from './digits.js';
import { findEmails, findIpAddresses, findMacAddresses } from './internet.js';
import { findCards, findIbans, findNationalIds, findSsns } from './numbers.js';
import { findPhones } from './phones.js';
import { PII_KINDS, type PiiFinding, type PiiKind } from './piiKinds.js';
import { findSecrets } from './secrets.js';

type Finder = (text: string, digits: DigitRuns) => Iterable<PiiFinding>;

/**
 * Those with the strongest evidence first: where two overlap, the first counts. `least` is how many
 * digits have to stand near one another.
 */
const FINDERS: readonly (readonly [kind: PiiKind, find: Finder, least: number])[] = [
  ['api-key', findSecrets, 0],
  ['email', findEmails, 0],
  ['iban', findIbans, 0],
  ['credit-card', findCards, 12],
  ['national-id', findNationalIds, 6],
  ['ssn', findSsns, 9],
  ['mac-address', findMacAddresses, 0],
  ['ip-address', findIpAddresses, 0],
  ['phone', findPhones, 6],
];

/**
 * Personal data and secrets in a text, by their shapes and checksums, in the order of the text.
 *
 * @param kinds those that are looked for. Default all
 */
export function findPii(text: string, kinds: readonly PiiKind[] = PII_KINDS): PiiFinding[] {
  let found: PiiFinding[] = [];
  const digits = digitRuns(text);
  for (const [kind, find, least] of FINDERS)
    if (digits.most >= least && kinds.includes(kind))
      found = withoutOverlaps(found, [...find(text, digits)]);
  return found;
}

/** Both lists in the order of the text; what overlaps with one of the first, or before it, goes. */
function withoutOverlaps(first: readonly PiiFinding[], second: PiiFinding[]): PiiFinding[] {
  if (second.length === 0) return [...first];
  const merged: PiiFinding[] = [];
  let next = 0;
  let end = 0;
  for (const finding of second.sort((a, b) => a.start - b.start)) {
    while (
      next < first.length &&
      first[next]!.start < finding.end &&
      first[next]!.end <= finding.start
    )
      merged.push(first[next++]!);
    const isTaken = next < first.length && first[next]!.start < finding.end;
    if (isTaken || finding.start < end) continue;
    merged.push(finding);
    end = finding.end;
  }
  merged.push(...first.slice(next));
  return merged;
}

/** What a kind is replaced by. */
const LABELS: Readonly<Record<PiiKind, string>> = {
  email: '[EMAIL]',
  phone: '[PHONE]',
  iban: '[IBAN]',
  'credit-card': '[CREDIT_CARD]',
  ssn: '[SSN]',
  'national-id': '[NATIONAL_ID]',
  'api-key': '[API_KEY]',
  'ip-address': '[IP_ADDRESS]',
  'mac-address': '[MAC_ADDRESS]',
};

/**
 * A text with personal data replaced by its kind: "Mail jo@acme.org" is "Mail [EMAIL]".
 *
 * @param kinds those that are replaced. Default all
 */
export function redactPii(text: string, kinds: readonly PiiKind[] = PII_KINDS): string {
  const found = findPii(text, kinds);
  if (found.length === 0) return text;
  let at = 0;
  const parts: string[] = [];
  for (const { kind, start, end } of found) {
    parts.push(text.slice(at, start), LABELS[kind]);
    at = end;
  }
  return parts.join('') + text.slice(at);
}
