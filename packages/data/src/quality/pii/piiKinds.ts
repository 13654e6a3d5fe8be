/** Kinds of personal data and secrets. */
export const PII_KINDS = [
  'email',
  'phone',
  'iban',
  'credit-card',
  'ssn',
  'national-id',
  'api-key',
  'ip-address',
  'mac-address',
] as const;

/** A kind of personal data or of a secret. */
export type PiiKind = (typeof PII_KINDS)[number];

/** Something personal in a text. */
export interface PiiFinding {
  readonly kind: PiiKind;
  readonly start: number;
  readonly end: number;
  /** What it is, where a kind has several: "Spain", "AWS". */
  readonly what?: string;
  /**
   * Whether it is nobody's: an address of example.com, a number that is reserved for fiction, an
   * address of a private network.
   */
  readonly isReserved: boolean;
}

/** A run of characters that may be a finding, with the text that it stands in. */
export interface Place {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Characters before a number in which its name is looked for. */
const NAMED_WITHIN = 40;

/** Whether a word that names a number stands shortly before it, with no other number between. */
export function isNamed({ text, start }: Place, name: RegExp): boolean {
  const before = text.slice(Math.max(0, start - NAMED_WITHIN), start);
  return name.test(before.slice(before.search(/\d[^\d]*$/) + 1));
}
