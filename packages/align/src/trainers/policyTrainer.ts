import {
  AttuneError,
  type Objective,
  Trainer,
  type TrainerOptions,
  type TrainerState,
} from '@attune/core';
import type { GenerativeModel, LanguageModel } from '@attune/core/models';
import type { TextTokenizer } from '@attune/core/text';
import { checkTrainerOptions, trainerOptions } from '@attune/core/training';
import { type OptionsInput, z } from '@attune/core/util';
import type { PolicyParts } from '../objectives/policyObjective.js';
import { Reference, type ReferenceChoice } from '../reference/reference.js';
import type { CompletionsTable } from '../rollout/completions.js';
import { RewardScorer, type RewardSource } from '../rollout/rewards.js';
import type { RolloutFunction } from '../rollout/rollout.js';
import { roomForPrompts } from '../rollout/roomForPrompts.js';
import { CompletionsCallback } from '../watch/completions.js';
import {
  checkEvaluation,
  type PolicyArguments,
  samplingOf,
  scheduleOf,
} from './policyArguments.js';

const { objective: _, objectiveOptions: __, ...ofEveryTrainer } = trainerOptions.shape;

const policyOptionsShape = {
  /**
   * What rates completions, one or several: functions `({ prompts, completions, ...columns }) =>
   * numbers`, sync or async, null for no opinion; reward models. Needed.
   */
  rewardFuncs: z
    .custom<RewardSource | readonly RewardSource[]>()
    .meta({ aka: 'rewardfunction rewardfunctions rewardfunc reward rewards rewardmodel' }),
  /**
   * The tokenizer of each reward model, null for functions. Default: the reward model reads with
   * that of the policy.
   */
  rewardTokenizers: z
    .custom<TextTokenizer | readonly (TextTokenizer | null)[]>()
    .optional()
    .meta({ aka: 'rewardprocessingclasses rewardtokenizer' }),
  /**
   * Draws completions in the place of the model's own generator: `async ({ prompts, promptIds,
   * numGenerations, seed, signal }) => ({ completionIds, logProbs? })`. Default: the generator.
   */
  rollout: z.custom<RolloutFunction>().optional().meta({ aka: 'rolloutfunc rolloutfunction' }),
  /**
   * What the KL is measured to: "base", "initial" or another model. Default: "base" with
   * peftConfig, else "initial". Without one where beta is 0.
   */
  reference: z
    .custom<Exclude<ReferenceChoice, { readonly precomputed: string }>>()
    .optional()
    .meta({ aka: 'refmodel referencemodel ref' }),
};
/** What GRPOTrainer and RLOOTrainer take. */
const policyTrainerOptions = z.strictObject({ ...ofEveryTrainer, ...policyOptionsShape });

/** Options of a GRPOTrainer or an RLOOTrainer. */
export type PolicyTrainerOptions<Args extends PolicyArguments, ArgsInput extends object> = Omit<
  TrainerOptions<Args, ArgsInput>,
  'objective' | 'objectiveOptions'
> &
  OptionsInput<typeof policyOptionsShape>;

/** How a trainer makes its objective. */
interface PolicyFlavor<Args> {
  readonly schema: z.ZodObject;
  readonly defaults: Readonly<Record<string, unknown>>;
  objective(
    parts: Omit<PolicyParts, 'method'> & { readonly reference: Reference | null },
    args: Args,
  ): Objective;
}

/** What GRPOTrainer and RLOOTrainer share: completions are drawn, rated and learned from. */
export class PolicyTrainer<Args extends PolicyArguments, ArgsInput extends object> extends Trainer<
  Args,
  ArgsInput
> {
  /** The model as it was given, with the adapter of `peftConfig`. */
  declare readonly model: GenerativeModel;
  readonly #last: { completions: CompletionsTable | null };

  /**
   * @throws UNKNOWN_OPTION, TRAINER_OPTION, ARGUMENTS_INVALID, CAUSAL_LM_NEEDED, REWARD_OPTION,
   *   REWARD_MODEL, REWARD_TOKENIZER
   */
  constructor(options: PolicyTrainerOptions<Args, ArgsInput>, flavor: PolicyFlavor<Args>) {
    checkTrainerOptions(new.target.name, options, policyTrainerOptions, flavor.schema);
    const { rewardFuncs, rewardTokenizers, rollout, reference, ...rest } = options;
    checkGiven(new.target.name, options);
    const last: { completions: CompletionsTable | null; state?: TrainerState } = {
      completions: null,
    };
    const objective = (args: Args, model: LanguageModel): Objective => {
      const schedule = scheduleOf(args);
      if (options.evalDataset) checkEvaluation(schedule);
      const tokenizer = options.tokenizer ?? null;
      const scorer = new RewardScorer(
        {
          rewardFuncs: [rewardFuncs].flat(),
          rewardWeights: args.rewardWeights,
          rewardTokenizers: rewardTokenizers ? [rewardTokenizers].flat() : null,
          rewardTimeout: args.rewardTimeout,
          batchSize: args.perDeviceTrainBatchSize,
        },
        { model, tokenizer },
      );
      const sampling = samplingOf(args);
      const { maskTruncatedCompletions, temperature, disableDropout, chatTemplateKwargs } = args;
      const { generationMicroBatch: ___, generationKwargs, ...drawn } = sampling;
      return flavor.objective(
        {
          schedule,
          reference:
            args.beta === 0
              ? null
              : Reference.of(model, reference ?? (rest.peftConfig ? 'base' : 'initial')),
          maxPromptLength: roomForPrompts(model, 'maxCompletionLength', args.maxCompletionLength),
          temperature,
          disableDropout,
          chatTemplateKwargs,
          setup: {
            sampling,
            rollout: rollout ?? null,
            scorer,
            tokenizer,
            maskTruncatedCompletions,
            fingerprint: {
              ...drawn,
              generationKwargs: JSON.stringify(generationKwargs),
              rollout: rollout ? 'own' : 'generate',
              rewards: [...scorer.names],
              rewardWeights: [...scorer.weights],
              maskTruncatedCompletions,
            },
            trainerState: () => last.state,
          },
          onCompletions(table) {
            last.completions = table;
          },
        },
        args,
      );
    };
    super({ ...rest, objective } as TrainerOptions<Args, ArgsInput>, {
      schema: flavor.schema as never,
      defaults: flavor.defaults,
    });
    this.#last = last;
    last.state = this.state;
    const { logCompletions, numCompletionsToPrint } = this.args;
    if (logCompletions) this.addCallback(new CompletionsCallback({ numCompletionsToPrint }));
  }

  /** The completions of the last rollout with rewards and advantages; null before the first. */
  get completions(): CompletionsTable | null {
    return this.#last.completions;
  }
}

function checkGiven(
  trainer: string,
  { rewardFuncs, rollout, model }: Partial<PolicyTrainerOptions<PolicyArguments, object>>,
): void {
  if (model && model.taskType !== 'CAUSAL_LM')
    throw new AttuneError(
      'CAUSAL_LM_NEEDED',
      `${trainer} draws completions, and the model is for the task "${model.taskType}".`,
      { remedy: 'Load it with AutoModelForCausalLM.' },
    );
  const invalid = (found: string, remedy: string) =>
    new AttuneError('TRAINER_OPTION', `${trainer}: ${found}.`, { remedy });
  const sources = rewardFuncs === undefined ? [] : [rewardFuncs].flat();
  const bad = sources.findIndex(
    (source) =>
      typeof source !== 'function' &&
      !(typeof source === 'object' && source !== null && 'root' in source),
  );
  if (sources.length === 0 || bad >= 0)
    throw invalid(
      bad >= 0 ? `rewardFuncs[${bad}] is neither a function nor a model` : 'rewardFuncs is missing',
      'Pass a function ({ prompts, completions }) => numbers, or a loaded reward model.',
    );
  if (rollout !== undefined && typeof rollout !== 'function')
    throw invalid(
      'rollout is no function',
      'Pass async ({ promptIds, ... }) => ({ completionIds }).',
    );
}
