import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { defineQualityCheck, type Verdict } from '../qualityCheck.js';
import type { QualityRow } from '../qualityRow.js';
import { detectLanguage } from './detectLanguage.js';

const languageShape = {
  /** Languages that stay, as ISO 639-1 has them: ['en', 'de']. */
  languages: z
    .array(z.string().regex(/^[a-z]{2,3}$/, 'expected a code of ISO 639-1 such as "en"'))
    .min(1),
  /** What is read: the last answer, the prompt, or all text of the row. Default 'answer'. */
  of: z.enum(['answer', 'prompt', 'text']).default('answer'),
  /** Rows of which the language is not known ("und"): too short, code alone. Default 'keep'. */
  unknown: z.enum(['keep', 'drop']).default('keep'),
};

/** Options of the check `language`. */
export type LanguageOptions = OptionsInput<typeof languageShape>;

/**
 * Whether a row is written in one of the languages.
 *
 * Score: 1 for one of the languages, 1 minus the confidence for another one; 1 or 0 for an unknown
 * one, as `unknown` says. Reasons: "other language", "unknown language".
 */
export const language = defineQualityCheck({
  name: 'language',
  options: z.strictObject(languageShape),
  start: ({ languages, of, unknown }) => {
    const wanted = new Set(languages);
    return (row): Verdict => {
      const found = detectLanguage(read(row, of));
      if (wanted.has(found.language)) return { score: 1 };
      if (found.language === 'und')
        return unknown === 'keep' ? { score: 1 } : { score: 0, reason: 'unknown language' };
      return {
        score: 1 - found.confidence,
        reason: 'other language',
        detail: `${found.language}, confidence ${found.confidence.toFixed(2)}`,
      };
    };
  },
});

const read = (row: QualityRow, of: 'answer' | 'prompt' | 'text'): string =>
  of === 'text' ? row.text : ((of === 'prompt' ? row.prompt : row.answer) ?? '');
