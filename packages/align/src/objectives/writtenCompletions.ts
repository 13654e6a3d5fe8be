import {
  collatePredictions,
  type HostBatch,
  IGNORE_INDEX,
  type LanguageModel,
  type Objective,
  type TokenExample,
  type UpdateContext,
} from '@attune/core';
import type { TextTokenizer } from '@attune/core/text';
import { philox } from '@attune/core/util';
import type { Teacher } from '../reference/teacher.js';
import { completionBatch } from '../rollout/completionBatch.js';
import {
  drawCompletions,
  eosTokenIds,
  type RolloutFunction,
  type SamplingOptions,
} from '../rollout/rollout.js';
import { lengthMetrics, PromptBatches } from '../rollout/scoredRollout.js';
import { promptLengthOf } from '../rows/completionRows.js';
import type { PromptExample } from '../rows/promptRows.js';

/** A prompt, of which a completion is written; or a prompt with its completion. */
export type DistillationExample = PromptExample | TokenExample;

/** Its tokens; labels are on a completion. */
export const tokensOf = (example: DistillationExample): TokenExample =>
  'labels' in example
    ? example
    : {
        inputIds: example.promptIds,
        labels: new Int32Array(example.promptIds.length).fill(IGNORE_INDEX),
      };

/** Its prompt. */
function promptOf(example: DistillationExample): PromptExample {
  if (!('labels' in example)) return example;
  const promptIds = Int32Array.from(example.inputIds).subarray(0, promptLengthOf(example));
  return { prompt: null, promptIds, columns: {} };
}

/** Who writes completions, and how. */
export interface WritingOptions extends SamplingOptions {
  /** The student. */
  readonly model: LanguageModel;
  readonly teacher: Teacher;
  /** The share of groups that the student writes. */
  readonly lmbda: number;
  /** Whether the teacher writes the others. */
  readonly seqKd: boolean;
  /** Whether rows have completions, which are the others'. */
  readonly readsCompletions: boolean;
  readonly maxLength: number;
  readonly tokenizer: TextTokenizer | null;
  readonly rollout: RolloutFunction | null;
}

/** The completions of a whole group are written before its update, by one of them. */
export function writtenCompletions(
  options: WritingOptions,
): Pick<Objective<DistillationExample>, 'collate' | 'updates' | 'standIn' | 'generation'> {
  const { lmbda, readsCompletions, maxLength, maxCompletionLength } = options;
  const prompts = new PromptBatches();
  const withCompletions = (
    examples: readonly PromptExample[],
    completionIds: (n: number) => readonly number[],
  ): HostBatch => {
    const longest = Math.max(...examples.map(({ promptIds }) => promptIds.length));
    return completionBatch(
      examples.map(({ promptIds }, n) => ({
        promptIds,
        completionIds: completionIds(n),
        counts: true,
      })),
      longest + maxCompletionLength,
    );
  };
  return {
    collate(examples) {
      const tokens = examples.map(tokensOf);
      const longest = Math.max(...tokens.map(({ inputIds }) => inputIds.length));
      const batch = collatePredictions(tokens, readsCompletions ? maxLength : longest);
      return prompts.add(batch, examples.map(promptOf));
    },
    async *updates(group, context) {
      const isRead = readsCompletions && context.use === 'evaluation';
      const writer = isRead ? 'rows' : writerOf(options, context.seed);
      if (writer === 'rows') {
        yield { batches: group };
        return;
      }
      const each = group.map((batch) => prompts.of(batch));
      const { completionIds, metrics } = await write(options, writer, each.flat(), context);
      let first = 0;
      const batches = each.map((examples) => {
        const own = completionIds.slice(first, first + examples.length);
        first += examples.length;
        return withCompletions(examples, (n) => own[n]!);
      });
      yield { batches, metrics };
    },
    standIn(batch) {
      const longest = Array<number>(maxCompletionLength).fill(0);
      const full = withCompletions(prompts.of(batch), () => longest);
      const isLonger = batch.inputIds!.data.length > full.inputIds!.data.length;
      return readsCompletions && isLonger ? batch : full;
    },
    // The plan knows nothing of what a teacher takes beside its weights.
    ...(lmbda > 0 &&
      options.rollout === null && {
        generation: (examples: readonly DistillationExample[]) => ({
          batchSize: options.generationMicroBatch ?? examples.length,
          promptLength: Math.max(...examples.map((example) => promptOf(example).promptIds.length)),
          maxNewTokens: maxCompletionLength,
        }),
      }),
  };
}

/** Who writes the completions of a group: TRL throws the same coin. */
function writerOf({ lmbda, seqKd }: WritingOptions, seed: number): 'student' | 'teacher' | 'rows' {
  const [drawn] = philox([0, 0, 0, COIN], [seed, 0]);
  if (drawn / 2 ** 32 < lmbda) return 'student';
  return seqKd ? 'teacher' : 'rows';
}

/** Its numbers are no others that are drawn from the seed of a group. */
const COIN = 0x636f696e;

/** @throws what `drawCompletions` throws */
async function write(
  options: WritingOptions,
  writer: 'student' | 'teacher',
  examples: readonly PromptExample[],
  { seed, signal }: UpdateContext,
) {
  const { model, teacher, tokenizer } = options;
  const endings = eosTokenIds(model, tokenizer);
  const draw = (own: LanguageModel, rollout: RolloutFunction | null) =>
    drawCompletions(
      own,
      { examples, numGenerations: 1, seed, signal },
      { ...options, rollout, eosTokenIds: endings },
    );
  const { completionIds } = await (writer === 'student'
    ? draw(model, options.rollout)
    : teacher.using((own) => draw(own, null)));
  const isEnd = new Set([...endings, tokenizer?.padTokenId ?? -1]);
  const metrics = lengthMetrics(
    completionIds.map(({ length }) => length),
    completionIds.map((ids) => !isEnd.has(ids.at(-1)!)),
  );
  return { completionIds, metrics };
}
