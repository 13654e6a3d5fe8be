import type { Row } from '@attune/core';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import type { DataRow } from '../contract/dataRow.js';
import { defineDataStage } from '../contract/dataStage.js';
import { askUntilRead, type Finding } from '../judge/askJudge.js';
import { readScore } from '../judge/readVerdict.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import { type Asking, providerFingerprint, type SpentFact } from '../providers/asking.js';
import { orderedMap } from '../providers/orderedMap.js';
import { providerChoice } from '../providers/providerChoice.js';
import type { Refusal } from '../providers/refusal.js';
import { askOf, madeRow } from './askOf.js';
import { askingOf, askingShape, leaveOut } from './augmentShape.js';
import {
  BACK_INSTRUCT_VERSION,
  CURATE_FORM,
  curateMessages,
  writeMessages,
} from './backInstructPrompts.js';
import { bareText, isRefusal, textFault, unwrapped } from './textRules.js';

const backInstructShape = {
  ...askingShape,
  /** The column with the text. Rows without it pass, and those that ask already. Default "text". */
  column: z.string().min(1).default('text').meta({ aka: 'textcolumn textfield outputcolumn' }),
  /** Whether each pair is scored, 1 to 5, and weak ones are dropped. Default true. */
  curate: z.boolean().default(true).meta({ aka: 'selfcuration score' }),
  /** Who scores. Default: `provider`. */
  curator: providerChoice.optional().meta({ aka: 'judge scorer' }),
  /** Least score of a pair that stays. Default 5, as in the paper. */
  minScore: z.number().min(1).max(5).default(5).meta({ aka: 'threshold k' }),
  /** Times that the curator is asked again whose words hold no score. Default 2. */
  maxParseRetries: z.int().min(0).default(2),
};

/** What the report of `backInstruct` has beside its counts. */
export type BackInstructReport = {
  readonly spent: SpentFact;
  /** What the curator took, where it is another one. */
  readonly spentByCurator?: SpentFact;
  /** Pairs by their scores, 1 to 5, rounded down. Absent: none was scored. */
  readonly scores?: Readonly<Record<string, number>>;
  /** Rows that only passed. Absent: none did. */
  readonly rowsWithoutText?: number;
};

/** Options of {@link backInstruct}. */
export type BackInstructOptions = OptionsInput<typeof backInstructShape>;

const options = z.strictObject(backInstructShape);
type Options = z.output<typeof options>;

const WHERE = 'backInstruct';

/** Makes pairs of texts: a model writes the instruction that each would answer. */
export const backInstructStage = defineDataStage({
  name: WHERE,
  options,
  isCostly: true,
  fingerprint: async ({ provider, curator }) => ({
    provider: await providerFingerprint(provider),
    curator: curator ? await providerFingerprint(curator) : null,
    prompt: BACK_INSTRUCT_VERSION,
  }),
  async *run(rows, parsed, context) {
    const { column, minScore, onRefusal } = parsed;
    const asking = askingOf(parsed.provider, onRefusal, context, WHERE);
    const curating = parsed.curator ? askingOf(parsed.curator, onRefusal, context, WHERE) : asking;
    const seed = parsed.seed ?? context.seed;
    let withoutText = 0;
    const scores = [0, 0, 0, 0, 0];
    const found = orderedMap(rows, asking.provider.maxConcurrent, async (item) => {
      const text = textOf(item.row, column);
      return { item, text, pair: text && (await pairOf(asking, curating, text, parsed, seed)) };
    });
    for await (const { item, text, pair } of found) {
      if (!text || !pair) {
        withoutText++;
        yield item;
        continue;
      }
      const { fault, finding } = pair;
      if (finding?.verdict) scores[Math.floor(finding.verdict) - 1]!++;
      if (typeof fault === 'string') context.drop(item, fault);
      else if (fault) leaveOut(context, onRefusal, item, fault);
      else if (finding?.refusal) leaveOut(context, onRefusal, item, finding.refusal);
      else if (finding && finding.verdict === null)
        context.drop(item, 'score could not be read', finding.words.slice(0, 200));
      else if (finding && finding.verdict! < minScore)
        context.drop(item, 'score is too low', String(finding.verdict));
      else yield pairRow(item, column, text, pair);
    }
    context.fact('spent', asking.spentFact);
    if (curating !== asking) context.fact('spentByCurator', curating.spentFact);
    if (scores.some((count) => count > 0))
      context.fact('scores', Object.fromEntries(scores.map((count, i) => [i + 1, count])));
    if (withoutText > 0) context.fact('rowsWithoutText', withoutText);
  },
});

/** null: the row has no text, or asks something already. */
function textOf(row: Row, column: string): string | null {
  const text = row[column];
  return typeof text === 'string' && text.trim() !== '' && !askOf(row) ? text : null;
}

interface Paired {
  readonly instruction: string;
  readonly model: string;
  readonly fault: string | Refusal | null;
  /** null: it was not scored. */
  readonly finding: Finding<number> | null;
}

async function pairOf(
  asking: Asking,
  curating: Asking,
  text: string,
  { temperature, maxTokens, maxParseRetries, curate }: Options,
  seed: number,
): Promise<Paired> {
  const { completion, refusal } = await asking.ask({
    messages: writeMessages(text),
    temperature,
    maxTokens,
    seed,
  });
  if (refusal)
    return { instruction: '', model: asking.provider.name, fault: refusal, finding: null };
  const instruction = unwrapped(completion.texts[0]!);
  const wrong = textFault(instruction, completion.finishReasons[0], isRefusal(text));
  const repeats = bareText(instruction).includes(bareText(text));
  const fault = wrong ? `instruction is ${wrong}` : repeats ? 'instruction repeats its text' : null;
  const pair = { instruction, model: completion.model, fault, finding: null };
  if (fault !== null || !curate) return pair;
  const finding = await askUntilRead(
    curating,
    curateMessages(instruction, text),
    CURATE_FORM,
    (words) => readScore(words, 5),
    { temperature: 0, maxTokens: 512, seed, maxParseRetries },
  );
  return { ...pair, finding };
}

function pairRow(
  item: DataRow,
  column: string,
  text: string,
  { instruction, model, finding }: Paired,
) {
  const { [column]: _, ...others } = item.row;
  const row = {
    ...others,
    prompt: instruction,
    completion: text,
    ...(finding && { instruction_score: finding.verdict }),
  };
  return {
    ...item,
    row: madeRow(row, { method: WHERE, model, promptVersion: BACK_INSTRUCT_VERSION }),
  };
}

/**
 * Makes a pair of each text: a model writes the instruction that the text would answer, and scores
 * how well it does, from 1 to 5; pairs with a 5 stay. It is instruction back-translation with
 * self-curation, in words of our own.
 *
 * A row `{ text }` becomes `{ prompt, completion, instruction_score, augmentation }` with its other
 * columns; the text is not changed. Rows without a text, and those that ask something already,
 * pass. Dropped are rows whose "instruction is empty", "filtered", "cut off" or "a refusal", or
 * "repeats its text"; whose "score is too low" or "could not be read"; and those that the provider
 * refuses, as `onRefusal` says.
 *
 * @see Li et al., "Self-Alignment with Instruction Backtranslation", arXiv:2308.06259
 * @example
 * const { rows: pairs } = await backInstruct([{ text: 'Boil the eggs for ...' }], { provider });
 */
export const backInstruct = stageFunction<BackInstructOptions, BackInstructReport>(
  backInstructStage,
);
