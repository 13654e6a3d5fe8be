import {
  AttuneError,
  countLabels,
  type DeviceBatch,
  type LanguageModel,
  type LossOutput,
  type Objective,
} from '@attune/core';
import { longestInput } from '@attune/core/models';
import { preflightSetting, type TextTokenizer } from '@attune/core/text';
import { collatePredictions, predictedRows, type RowRules } from '@attune/core/training';
import { type OptionsInput, parseOptions, z } from '@attune/core/util';
import { headJsd } from '../losses/generalizedJsd.js';
import { Teacher, type TeacherChoice } from '../reference/teacher.js';
import type { RolloutFunction } from '../rollout/rollout.js';
import { completionRows } from '../rows/completionRows.js';
import { promptRows } from '../rows/promptRows.js';
import { type DistillationExample, tokensOf, writtenCompletions } from './writtenCompletions.js';

const count = z.int().min(1);

/** What distillation takes beside the arguments of every trainer, as in TRL. */
export const distillationShape = {
  /**
   * Which divergence: 0 is forward KL(teacher || student), which covers all that the teacher may
   * say; 1 is reverse KL(student || teacher), which keeps to what it likes best; 0.5 is
   * Jensen-Shannon. Default 1, as TRL's DistillationConfig; GKDConfig has 0.5.
   */
  beta: z.number().min(0).max(1).default(1),
  /** Divides the logits of both, in the divergence and where completions are drawn. Default 1. */
  temperature: z.number().positive().default(1).meta({ aka: 'temp' }),
  /**
   * The share of groups whose completions the student writes itself; the others take those of the
   * rows. Default 1, where rows are prompts alone; GKDConfig has 0.5.
   */
  lmbda: z.number().min(0).max(1).default(1).meta({ aka: 'lambda onpolicyshare' }),
  /**
   * The teacher writes the completions that the student does not (sequence-level distillation), so
   * that rows are prompts alone. Default false.
   */
  seqKd: z.boolean().default(false).meta({ aka: 'sequencekd' }),
  /** Tokens of a written completion at most. Default 512; GKDConfig has 128. */
  maxCompletionLength: count.default(512).meta({ aka: 'maxnewtokens maxtokens' }),
  /** Draw from the fewest tokens whose probabilities reach this; above 0 to 1. Default 1: all. */
  topP: z.number().positive().max(1).default(1),
  /** Draw from the k likeliest tokens; 0: from all. Default 0. */
  topK: z.int().min(0).default(0),
  /** Leave out tokens less likely than this times the likeliest; null: none. Default null. */
  minP: z.number().min(0).max(1).nullable().default(null),
  /** Above 1 makes tokens that were there less likely. Default 1. */
  repetitionPenalty: z.number().positive().default(1),
  /** Further options of `model.generate`, which come before those above. Default {}. */
  generationKwargs: z.custom<Readonly<Record<string, unknown>>>().default({}),
  /** Completions that are written side by side; the others wait. null: all. Default null. */
  generationMicroBatch: count.nullable().default(null),
  /** What the chat template is given beside the messages. Default {}. */
  chatTemplateKwargs: z.custom<Readonly<Record<string, unknown>>>().default({}),
  /** Train without dropout, the adapters' too. Default false; GKDConfig has true. */
  disableDropout: z.boolean().default(false),
  /** What is shown and refused before the first step, of rows with completions. Default 'on'. */
  preflight: preflightSetting.default('on'),
};

const distillationOptions = z.strictObject({
  ...distillationShape,
  /** Whom the model learns from: another model of its vocabulary, or 'base', its adapters off. */
  teacher: z.custom<TeacherChoice>(),
  /** Tokens of a row with its completion, beyond which its end is cut off. */
  maxLength: count,
  /** For ids that end a completion. Default: those of the model's files alone. */
  tokenizer: z.custom<TextTokenizer>().nullable().default(null),
  /** Writes the completions in the place of the student's generator. Default: the generator. */
  rollout: z.custom<RolloutFunction>().nullable().default(null),
});

/** Options of {@link distillationObjective}. */
export type DistillationOptions = OptionsInput<(typeof distillationOptions)['shape']>;

/**
 * Distillation: at each token of a completion the model shall give the distribution that its
 * teacher gives there. The loss is the generalised Jensen-Shannon divergence, nats; items are
 * tokens of completions. It logs `entropy`, that of the student, and where completions are written
 * their lengths as `completions/...`.
 *
 * An evaluation takes the completions of the rows, where these have them; else it draws as a
 * training step does.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION, CAUSAL_LM_NEEDED, TEACHER; ARGUMENTS_INVALID where no
 *   prompt has room beside a completion
 * @see arXiv 2306.13649
 */
export function distillationObjective(
  model: LanguageModel,
  options: DistillationOptions,
): Objective<DistillationExample> {
  const checked = parseOptions(distillationOptions, options, { where: 'distillationObjective' });
  const { beta, temperature, lmbda, seqKd, maxLength, preflight } = checked;
  if (model.taskType !== 'CAUSAL_LM')
    throw new AttuneError(
      'CAUSAL_LM_NEEDED',
      `distillation compares what comes next, and the model is for the task "${model.taskType}".`,
      { remedy: 'Load it with AutoModelForCausalLM.fromPretrained(path, { attune }).' },
    );
  const teacher = Teacher.of(model, checked.teacher);
  const readsCompletions = lmbda < 1 && !seqKd;
  const isWriting = lmbda > 0 || seqKd;
  const maxPromptLength = isWriting
    ? roomForPrompts(model, checked.maxCompletionLength)
    : Number.POSITIVE_INFINITY;
  return {
    name: 'distillation',
    disableDropout: checked.disableDropout,
    fingerprint: {
      teacher: teacher.kind,
      ...{ beta, temperature, lmbda, seqKd },
      ...(isWriting && {
        maxCompletionLength: checked.maxCompletionLength,
        topP: checked.topP,
        topK: checked.topK,
        minP: checked.minP,
        repetitionPenalty: checked.repetitionPenalty,
        generationKwargs: JSON.stringify(checked.generationKwargs),
        rollout: checked.rollout ? 'own' : 'generate',
      }),
    },
    rows: (readsCompletions
      ? completionRows({ maxLength, maxPromptLength, preflight })
      : promptRows({
          maxLength: maxPromptLength,
          chatTemplateKwargs: checked.chatTemplateKwargs,
        })) as RowRules<DistillationExample>,
    collate: (examples) => collatePredictions(examples.map(tokensOf), maxLength),
    countItems: ({ labels }) => countLabels(labels!.data),
    ...(isWriting && writtenCompletions({ ...checked, model, teacher, readsCompletions })),
    loss: (student, batch) => distillationLoss(student, batch, teacher, { beta, temperature }),
  };
}

function distillationLoss(
  student: LanguageModel,
  { firstRows: _, firstLabels: __, ...batch }: DeviceBatch,
  teacher: Teacher,
  options: { readonly beta: number; readonly temperature: number },
): LossOutput {
  const { engine, config } = student;
  return engine.scope('distillation', () => {
    // Before the student's pass, whose layers wait for the backward pass.
    const seen = teacher.record((own) => predictedRows(own, batch).rows); // [R, D of the teacher]
    const { rows, targets } = predictedRows(student, batch); // [R, D], [R]
    const { losses, entropy } = headJsd(
      { rows, head: (hidden) => student.head(hidden) },
      { rows: seen, head: (hidden) => teacher.record((own) => own.head(hidden)) },
      targets,
      { ...options, vocabSize: config.vocabSize },
    );
    return { loss: losses.sum(), metrics: { entropy: { sum: entropy.sum() } } };
  });
}

/** @throws ARGUMENTS_INVALID where no prompt has room */
function roomForPrompts(model: LanguageModel, maxCompletionLength: number): number {
  const allowed = longestInput(model);
  if (maxCompletionLength < allowed) return allowed - maxCompletionLength;
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    `maxCompletionLength is ${maxCompletionLength}, and the model allows ${allowed} tokens of prompt and completion together.`,
    { remedy: `Lower it below ${allowed}.` },
  );
}
