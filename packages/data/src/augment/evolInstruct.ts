import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import type { DataRow } from '../contract/dataRow.js';
import { defineDataStage } from '../contract/dataStage.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import { type Asking, providerFingerprint, type SpentFact } from '../providers/asking.js';
import type { LLMFinishReason } from '../providers/llmProvider.js';
import { orderedMap } from '../providers/orderedMap.js';
import type { Refusal } from '../providers/refusal.js';
import { askOf, madeRow, rngOf } from './askOf.js';
import { askingOf, askingShape, leaveOut } from './augmentShape.js';
import {
  EVOL_OPERATIONS,
  EVOL_PROMPT_VERSION,
  type EvolOperation,
  equalPrompt,
  evolPrompt,
  PROMPT_WORDS,
  readEquality,
} from './evolPrompts.js';
import { bareText, isRefusal, textFault, unwrapped } from './textRules.js';

const evolShape = {
  ...askingShape,
  /** Evolutions one after the other, each of the last that was good. Default 1; the paper has 4. */
  rounds: z.int().min(1).default(1).meta({ aka: 'numevolutions epochs generations' }),
  /** One of them is drawn each time, all equally likely. Default: all six. */
  operations: z
    .array(z.enum(EVOL_OPERATIONS))
    .min(1)
    .default([...EVOL_OPERATIONS]),
  /** Whether each evolution is answered, and weak answers eliminate it. Default true. */
  answer: z.boolean().default(true).meta({ aka: 'generateanswers' }),
  /** Whether the model is asked if an evolution asks the same as before. Default true. */
  judgeEqual: z.boolean().default(true),
  /** Words of a prompt of one's own. Default: ours. */
  prompt: z
    .custom<(operation: EvolOperation, instruction: string) => string>(
      (value) => typeof value === 'function',
      'expected a function of an operation and an instruction',
    )
    .optional(),
};

/** What the report of `evolInstruct` has beside its counts. */
export type EvolInstructReport = {
  readonly spent: SpentFact;
  /** Rows that only passed. Absent: none did. */
  readonly rowsWithoutRequest?: number;
  /** Answers to "do these ask the same?" that say neither. Absent: there were none. */
  readonly unreadableComparisons?: number;
};

/** Options of {@link evolInstruct}. */
export type EvolInstructOptions = OptionsInput<typeof evolShape>;

const options = z.strictObject(evolShape);
type Options = z.output<typeof options>;

const WHERE = 'evolInstruct';

/** An evolution, and why it is left out; null: it is good. */
interface Evolution {
  readonly operation: EvolOperation;
  readonly round: number;
  readonly instruction: string;
  readonly answer: string | null;
  readonly model: string;
  readonly fault: string | Refusal | null;
}

/** Adds harder and rarer versions of instructions. */
export const evolInstructStage = defineDataStage({
  name: WHERE,
  options,
  isCostly: true,
  fingerprint: async ({ provider, prompt }) => ({
    provider: await providerFingerprint(provider),
    prompt: prompt ? String(prompt) : EVOL_PROMPT_VERSION,
  }),
  async *run(rows, parsed, context) {
    const asking = askingOf(parsed.provider, parsed.onRefusal, context, WHERE);
    const seed = parsed.seed ?? context.seed;
    let withoutRequest = 0;
    let unreadable = 0;
    const evolved = orderedMap(rows, asking.provider.maxConcurrent, async (item) => {
      const ask = askOf(item.row);
      return {
        item,
        ask,
        evolutions: ask
          ? await evolve(asking, ask.instruction, parsed, seed, () => unreadable++)
          : [],
      };
    });
    for await (const { item, ask, evolutions } of evolved) {
      yield item;
      if (!ask) withoutRequest++;
      for (const { operation, round, instruction, answer, model, fault } of evolutions) {
        const made: DataRow = {
          ...item,
          row: madeRow(ask!.write(instruction, answer), {
            method: WHERE,
            operation,
            round,
            model,
            promptVersion: parsed.prompt ? null : EVOL_PROMPT_VERSION,
          }),
        };
        context.added(made, 'evolved');
        if (fault === null) yield made;
        else if (typeof fault === 'string') context.drop(made, fault, operation);
        else leaveOut(context, parsed.onRefusal, made, fault);
      }
    }
    context.fact('spent', asking.spentFact);
    if (withoutRequest > 0) context.fact('rowsWithoutRequest', withoutRequest);
    if (unreadable > 0) context.fact('unreadableComparisons', unreadable);
  },
});

/** The evolutions of one instruction. One that is eliminated is not gone on from. */
async function evolve(
  asking: Asking,
  first: string,
  options: Options,
  seed: number,
  onUnreadable: () => void,
): Promise<Evolution[]> {
  const { rounds, operations } = options;
  const found: Evolution[] = [];
  let current = first;
  for (let round = 1; round <= rounds; round++) {
    const rng = rngOf(seed, WHERE, first, String(round));
    const operation = operations[rng.below(operations.length)]!;
    const evolution = await evolveOnce(asking, current, { ...options, operation, round, seed });
    const isNew =
      evolution.fault !== null ||
      !options.judgeEqual ||
      (await differs(asking, current, evolution.instruction, seed, onUnreadable));
    found.push(isNew ? evolution : { ...evolution, fault: 'evolution asks the same' });
    if (isNew && evolution.fault === null) current = evolution.instruction;
  }
  return found;
}

async function evolveOnce(
  asking: Asking,
  before: string,
  {
    operation,
    round,
    seed,
    answer: wantsAnswer,
    prompt = evolPrompt,
    temperature,
    maxTokens,
  }: Options & { readonly operation: EvolOperation; readonly round: number; readonly seed: number },
): Promise<Evolution> {
  const request = (content: string) =>
    asking.ask({
      messages: [{ role: 'user', content }],
      temperature,
      maxTokens,
      seed: seed + round,
    });
  const { completion: written, refusal } = await request(prompt(operation, before));
  if (refusal) {
    const model = asking.provider.name;
    return { operation, round, instruction: before, model, answer: null, fault: refusal };
  }
  const instruction = unwrapped(written.texts[0]!);
  const common = { operation, round, instruction, model: written.model };
  const fault = faultOf(before, instruction, written.finishReasons[0]);
  if (fault !== null || !wantsAnswer) return { ...common, answer: null, fault };
  const answered = await request(instruction);
  if (answered.refusal) return { ...common, answer: null, fault: answered.refusal };
  const answer = answered.completion.texts[0]!.trim();
  const wrong = textFault(answer, answered.completion.finishReasons[0]);
  return { ...common, answer, fault: wrong && `answer is ${wrong}` };
}

/** Elimination of the paper's section 3.3, by what can be seen without a model. */
function faultOf(before: string, after: string, reason: LLMFinishReason | undefined) {
  const fault = textFault(after, reason, isRefusal(before));
  if (fault !== null) return `evolution is ${fault}`;
  if (bareText(after) === bareText(before)) return 'evolution is unchanged';
  const lower = after.toLowerCase();
  const copied = PROMPT_WORDS.some(
    (words) => lower.includes(words) && !before.toLowerCase().includes(words),
  );
  return copied ? 'evolution copies its prompt' : null;
}

/** No reply, or one that is neither word, says nothing against the evolution: it is counted. */
async function differs(
  asking: Asking,
  before: string,
  after: string,
  seed: number,
  onUnreadable: () => void,
): Promise<boolean> {
  const { completion } = await asking.ask({
    messages: [{ role: 'user', content: equalPrompt(before, after) }],
    temperature: 0,
    maxTokens: 64,
    seed,
  });
  const word = completion && readEquality(completion.texts[0]!);
  if (word === null) onUnreadable();
  return word !== 'equal';
}

/**
 * Adds evolutions of each instruction behind its row: harder ones (constraints, deepen, concretise,
 * reasoning, complicate-input) or another one of the same field (breadth), each answered by the
 * model.
 *
 * The row itself stays. Evolutions have its format, its origin, its part and its other columns (a
 * `document_id` too, so that a grouped split keeps them together), and a column `augmentation` that
 * says operation, round and model. Rows with more than one request, or none, only pass.
 *
 * Eliminated are evolutions that say nothing, are cut off, are unchanged, copy words of the prompt,
 * refuse, or ask the same by the model's own word; and those whose answer says nothing, is cut off
 * or is a refusal ("sorry" and its like in fewer than 80 words); and those whose requests the
 * provider refuses, as `onRefusal` says. They count as added and as dropped.
 *
 * @see Xu et al., "WizardLM: Empowering large language models to follow complex instructions",
 *   arXiv:2304.12244
 * @example const { rows: more } = await evolInstruct(rows, { provider, rounds: 2 });
 */
export const evolInstruct = stageFunction<EvolInstructOptions, EvolInstructReport>(
  evolInstructStage,
);
