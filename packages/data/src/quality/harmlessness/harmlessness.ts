import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { findPii } from '../pii/findPii.js';
import { PII_KINDS, type PiiFinding, type PiiKind } from '../pii/piiKinds.js';
import {
  defineQualityCheck,
  FAULTLESS,
  type QualityContext,
  type Verdict,
  worstOf,
} from '../qualityCheck.js';
import { type QualityRow, qualityRow } from '../qualityRow.js';
import { askClassifier, type TextClassifier } from './classifier.js';
import { redactRow } from './redactRow.js';
import { wordFinder } from './wordFinder.js';
import { HARMFUL_WORDS } from './wordList.js';

const harmlessnessShape = {
  /** Words and phrases that are found at the borders of words. Default {@link HARMFUL_WORDS}. */
  words: z
    .array(z.string().min(1))
    .default(() => [...HARMFUL_WORDS])
    .meta({ aka: 'blocklist wordlist' }),
  /**
   * Whether words are found behind digits for letters ("k1ll"), letters of other scripts, repeated
   * letters and signs between letters ("k.i.l.l"). It finds more, and is wrong more often. Default
   * false.
   */
  obfuscated: z.boolean().default(false),
  /**
   * Kinds of personal data that are found. With a list all of them count alike. Default: all, where
   * an address of a machine ('ip-address', 'mac-address') is found and redacted but is no reason to
   * drop a row; [] for none.
   */
  pii: z.array(z.enum(PII_KINDS)).optional(),
  /**
   * Whether personal data is replaced by its kind, "[EMAIL]", in all strings of a row, which then
   * stays. Default false.
   */
  redact: z.boolean().default(false),
  /**
   * Scores of texts from 0 (harmless) to 1, asked in batches: of a model, of an endpoint. The score
   * of the row is 1 minus its. Default: none.
   */
  classifier: z
    .custom<TextClassifier>((value) => typeof value === 'function', 'expected a function of texts')
    .optional(),
  /** Texts that the classifier is asked about at once. Default 32. */
  batchSize: z.int().min(1).max(4096).default(32),
};

/** Options of the check `harmlessness`. */
export type HarmlessnessOptions = OptionsInput<typeof harmlessnessShape>;

/**
 * Whether a row has words of a list, personal data or secrets, or what a classifier refuses.
 *
 * Score: 0 with a word of the list, personal data or a secret; 0.6 with what is personal only
 * perhaps (addresses of machines) or what is nobody's (example.com, 555-0100); 1 minus the score of
 * the classifier; the lowest of these, else 1. Reasons: "harmful word", "classified as harmful",
 * and for personal data its kind: "email", "phone", "iban", "credit-card", "ssn", "national-id",
 * "api-key", "ip-address", "mac-address". A detail never repeats personal data.
 */
export const harmlessness = defineQualityCheck({
  name: 'harmlessness',
  options: z.strictObject(harmlessnessShape),
  start({ words, obfuscated, pii, redact, classifier, batchSize }, context: QualityContext) {
    const finder = wordFinder(words, { isObfuscated: obfuscated });
    const kinds: readonly PiiKind[] = pii ?? PII_KINDS;
    const redacted = { rows: 0 };
    const judgeOne = (row: QualityRow): Verdict => {
      const word = words.length === 0 ? null : finder.find(row.text);
      const found: Verdict[] =
        word === null ? [] : [{ score: 0, reason: 'harmful word', detail: `"${word}"` }];
      if (redact) return { ...worstOf(found), ...redactedRow(row, kinds, redacted) };
      if (kinds.length > 0) found.push(...findPii(row.text, kinds).map((f) => piiVerdict(f, pii)));
      return worstOf(found);
    };
    return {
      ...(classifier && { batchSize }),
      async judge(rows) {
        const verdicts = rows.map(judgeOne);
        if (!classifier) return verdicts;
        const texts = rows.map((row, i) =>
          verdicts[i]!.row ? qualityRow(verdicts[i]!.row).text : row.text,
        );
        const scores = await askClassifier(classifier, texts, context);
        return verdicts.map((verdict, i) => lower(verdict, scores[i]!));
      },
      facts: () => (redact ? { rowsRedacted: redacted.rows } : {}),
    };
  },
});

function redactedRow(
  row: QualityRow,
  kinds: readonly PiiKind[],
  count: { rows: number },
): Partial<Verdict> {
  const changed = redactRow(row.row, kinds);
  if (changed === row.row) return {};
  count.rows++;
  return { row: changed };
}

/** Kinds that belong to machines more often than to persons. */
const OF_MACHINES: ReadonlySet<PiiKind> = new Set(['ip-address', 'mac-address']);

function piiVerdict(
  { kind, what, isReserved }: PiiFinding,
  chosen: readonly PiiKind[] | undefined,
): Verdict {
  const isWeak = isReserved || (chosen === undefined && OF_MACHINES.has(kind));
  return { score: isWeak ? 0.6 : 0, reason: kind, ...(what && { detail: what }) };
}

function lower(verdict: Verdict, harm: number): Verdict {
  const score = 1 - harm;
  if (score >= verdict.score) return verdict;
  const found =
    score < 1
      ? { score, reason: 'classified as harmful', detail: `score ${harm.toFixed(3)}` }
      : FAULTLESS;
  return { ...found, ...(verdict.row && { row: verdict.row }) };
}
