import {
  AttuneError,
  Trainer,
  type TrainerOptions,
  type TrainerState,
  type TrainingStep,
  type TrainOptions,
  type TrainOutput,
} from '@attune/core';
import { type GenerativeModel, generative, type LanguageModel } from '@attune/core/models';
import type { TextTokenizer } from '@attune/core/text';
import { checkTrainerOptions, trainerOptions } from '@attune/core/training';
import { keysToCamel, type OptionsInput, z } from '@attune/core/util';
import { ppoObjective } from '../objectives/ppo.js';
import { criticOf } from '../objectives/ppoCritic.js';
import { Reference, type ReferenceChoice } from '../reference/reference.js';
import type { CompletionsTable } from '../rollout/completions.js';
import { truncateAnswer } from '../rollout/ppoRewards.js';
import { RewardScorer, type RewardSource } from '../rollout/rewards.js';
import { eosTokenIds, type RolloutFunction } from '../rollout/rollout.js';
import { roomForPrompts } from '../rollout/roomForPrompts.js';
import {
  type PpoArguments,
  type PpoArgumentsInput,
  ppoArguments,
  ppoController,
  ppoDefaults,
  ppoSampling,
  ppoSchedule,
} from './ppoArguments.js';

const { objective: _, objectiveOptions: __, model, trainDataset, ...others } = trainerOptions.shape;

const ppoShape = {
  /** The model that is trained; `model` is another name for it. One of them is needed. */
  policy: z.custom<LanguageModel>().optional(),
  model: model.optional(),
  /** Rows of `{ prompt }` with any further columns; `trainDataset` is another name for it. */
  prompts: trainDataset,
  trainDataset,
  /**
   * What rates answers: a reward model or a function `({ prompts, completions, ...columns }) =>
   * numbers`, sync or async, null for no opinion. `reward`, `rewardModel` and `rewardFuncs` add up;
   * one of them is needed.
   */
  reward: z.custom<RewardSource | readonly RewardSource[]>().optional(),
  rewardModel: z.custom<LanguageModel>().optional(),
  rewardFuncs: z
    .custom<RewardSource | readonly RewardSource[]>()
    .optional()
    .meta({ aka: 'rewardfunction rewardfunctions rewardfunc rewards' }),
  /**
   * The tokenizer of each reward model, null for functions, in the order reward, rewardModel,
   * rewardFuncs. Default: that of the policy.
   */
  rewardTokenizers: z
    .custom<TextTokenizer | readonly (TextTokenizer | null)[]>()
    .optional()
    .meta({ aka: 'rewardprocessingclasses rewardtokenizer' }),
  /**
   * What the KL is measured to: "base", the model with its adapters off; "initial", a frozen copy
   * of what the policy was when the trainer was made; another model. Default: "base" with
   * peftConfig, else "initial".
   */
  reference: z
    .custom<Exclude<ReferenceChoice, { readonly precomputed: string }>>()
    .optional()
    .meta({ aka: 'refmodel referencemodel ref' }),
  /**
   * A second model as critic: one with a value head, or with one score, which is read at every
   * token. Default: the policy's value head, else a new one on its trunk.
   */
  valueModel: z.custom<LanguageModel>().optional().meta({ aka: 'critic valuenetwork' }),
  /**
   * Draws answers in the place of the model's own generator: `async ({ prompts, promptIds,
   * numGenerations: 1, seed, signal }) => ({ completionIds })`. Default: the generator.
   */
  rollout: z.custom<RolloutFunction>().optional().meta({ aka: 'rolloutfunc rolloutfunction' }),
};
const ppoTrainerOptions = z.strictObject({ ...others, ...ppoShape });

/** Options of a {@link PPOTrainer}. */
export type PpoTrainerOptions = Omit<
  TrainerOptions<PpoArguments, PpoArgumentsInput>,
  'objective' | 'objectiveOptions' | 'model' | 'trainDataset'
> &
  OptionsInput<typeof ppoShape>;

/** What `ppo.steps()` tells of the group whose last update was made; nothing of an evaluation. */
export interface PpoStats {
  /** Answers drawn so far. */
  readonly episode?: number;
  /** Answers a second since the run began. */
  readonly eps?: number;
  /** The learning rate of the group's last update, where a row of the log was due. */
  readonly lr?: number;
  /** What was logged of the group, under the names of TRL: 'objective/scores', 'loss/value_avg'. */
  readonly [metric: `${string}/${string}`]: number | undefined;
}

/** What `ppo.steps()` tells of: a group of answers that is learned, or an evaluation. */
export type PpoStep = TrainingStep & PpoStats;

interface Last {
  completions: CompletionsTable | null;
  stats: Readonly<Record<string, number>> | null;
  groups: number;
  state?: TrainerState;
}

/**
 * Proximal policy optimisation with rewards by functions, reward models, or both. Policy, reference
 * (adapters off) and value head share one base.
 *
 * A group is `batchSize` answers, one to each prompt. It gives `ppoEpochs` times `batchSize` /
 * `miniBatchSize` updates; `maxSteps`, `saveSteps` and `evalSteps` count updates, as everywhere.
 * Gradients are clipped (`maxGradNorm`, default 1), and the rate follows its schedule with every
 * update; TRL 1.12 clips nothing, and moves the rate once a group. `policy/approxkl_avg`,
 * `policy/entropy_avg` and `val/ratio` are means over answer tokens, where TRL counts padding, too.
 * `val/ratio_var` is the mean of (ratio - 1)² over tokens; TRL's is the variance of the means of
 * micro-batches.
 *
 * @example
 * const ppo = new PPOTrainer({
 *   policy, rewardFuncs, tokenizer, prompts, peftConfig,
 *   args: { outputDir: 'out', batchSize: 64, miniBatchSize: 16 },
 * });
 * for await (const stats of ppo.steps()) console.log(stats['objective/scores']);
 */
export class PPOTrainer extends Trainer<PpoArguments, PpoArgumentsInput> {
  /** The policy as it was given, with the adapter of `peftConfig`. */
  declare readonly model: GenerativeModel;
  readonly #last: Last;
  readonly #batchSize: number;

  /**
   * @throws UNKNOWN_OPTION, TRAINER_OPTION, ARGUMENTS_INVALID, GENERATE_OPTION, REWARD_OPTION,
   *   REWARD_MODEL, REWARD_TOKENIZER, VALUE_MODEL, VALUE_HEAD, REFERENCE, NO_TRAINABLE
   */
  constructor(given: PpoTrainerOptions) {
    const { rewards, options } = readOptions(new.target.name, given);
    const { rewardTokenizers, reference, valueModel, rollout } = given;
    const written = new Set(
      Object.entries(keysToCamel((given.args ?? {}) as Record<string, unknown>))
        .filter(([, value]) => value !== undefined)
        .map(([name]) => name),
    );
    const last: Last = { completions: null, stats: null, groups: 0 };
    let batchSize = 0;
    const objective = (args: PpoArguments, policy: LanguageModel) => {
      generative(policy, new.target.name);
      checkTrained(policy);
      const schedule = ppoSchedule(args, written);
      batchSize = schedule.batchSize;
      const tokenizer = options.tokenizer ?? null;
      const stopIds = stopIdsOf(args, policy, tokenizer);
      const sampling = ppoSampling(args, stopIds);
      const scorer = new RewardScorer(
        {
          rewardFuncs: rewards,
          rewardWeights: args.rewardWeights,
          rewardTokenizers: rewardTokenizers ? [rewardTokenizers].flat() : null,
          rewardTimeout: args.rewardTimeout,
          batchSize: schedule.microBatch,
        },
        { model: policy, tokenizer },
      );
      const { klEstimator, gamma, lam, whitenRewards } = args;
      const { cliprange, cliprangeValue, vfCoef, temperature, ratioThreshold } = args;
      const { topK, topP, maxNewTokens } = args;
      return ppoObjective({
        loss: { cliprange, cliprangeValue, vfCoef, temperature, ratioThreshold },
        rating: { klEstimator, gamma, lam, whitenRewards },
        schedule,
        setup: {
          sampling,
          rollout: rollout ? ending(rollout, stopIds) : null,
          scorer,
          tokenizer,
          maskTruncatedCompletions: false,
          fingerprint: {
            topK,
            topP,
            maxNewTokens,
            rollout: rollout ? 'own' : 'generate',
            rewards: [...scorer.names],
            rewardWeights: [...scorer.weights],
            kl: [args.klCoef, args.initKlCoef, args.adapKlCtrl, args.targetKl, args.horizon],
          },
          trainerState: () => last.state,
        },
        controller: ppoController(args, written),
        critic: criticOf(policy, valueModel ?? null),
        reference: Reference.of(policy, reference ?? (given.peftConfig ? 'base' : 'initial')),
        maxPromptLength: roomForPrompts(policy, 'maxNewTokens', maxNewTokens),
        stopIds,
        missingEosPenalty: args.missingEosPenalty,
        onGroup(table, stats) {
          last.completions = table;
          last.stats = stats;
          last.groups++;
        },
      });
    };
    super({ ...options, objective } as never, {
      schema: ppoArguments as never,
      defaults: ppoDefaults(given.args),
    });
    this.#last = last;
    last.state = this.state;
    this.#batchSize = batchSize;
  }

  /** The answers of the last group with rewards and mean advantages; null before the first. */
  get completions(): CompletionsTable | null {
    return this.#last.completions;
  }

  /**
   * `train` as a loop: tells of each group when its last update is made, and of each evaluation.
   * Numbers of the updates themselves (`loss/policy_avg`, ...) are there when a row of the log was
   * due, which by default is at the end of each group; those of the answers (`objective/...`)
   * always.
   *
   * @throws as `train`
   */
  override async *steps(options: TrainOptions = {}): AsyncGenerator<PpoStep, TrainOutput, void> {
    const begun = performance.now();
    const first = this.#last.groups;
    const steps = super.steps(options);
    const size = this.objective.updatesPerGroup ?? 1;
    try {
      while (true) {
        const { done, value } = await steps.next();
        if (done) return value;
        if (value.kind === 'evaluation') {
          yield value as PpoStep;
          continue;
        }
        if (value.step % size !== 0 && value.step !== this.state.maxSteps) continue;
        const drawn = (this.#last.groups - first) * this.#batchSize;
        yield {
          ...value,
          ...this.#last.stats,
          ...numbersOf(value.logs),
          episode: Math.ceil(value.step / size) * this.#batchSize,
          eps: drawn / ((performance.now() - begun) / 1000),
        };
      }
    } finally {
      await steps.return(undefined as never);
    }
  }
}

/** The rows of a log that are of TRL's names, and the rate. */
function numbersOf(logs: Readonly<Record<string, unknown>> | null): Record<string, number> {
  const entries = Object.entries(logs ?? {}).filter(([name]) => name.includes('/'));
  const rate = logs?.learningRate;
  return {
    ...(Object.fromEntries(entries) as Record<string, number>),
    ...(typeof rate === 'number' && { lr: rate }),
  };
}

/** One spelling of what has two, and everything that rates. @throws TRAINER_OPTION */
function readOptions(trainer: string, given: PpoTrainerOptions) {
  const invalid = (found: string, remedy: string) =>
    new AttuneError('TRAINER_OPTION', `${trainer}: ${found}.`, { remedy });
  const { policy, model, prompts, trainDataset, reward, rewardModel, rewardFuncs, ...rest } =
    (given ?? {}) as PpoTrainerOptions;
  const { rewardTokenizers: ___, reference: ____, valueModel, rollout, ...plain } = rest;
  for (const [a, b, names] of [
    [policy, model, 'policy and model'],
    [prompts, trainDataset, 'prompts and trainDataset'],
  ] as const)
    if (a !== undefined && b !== undefined)
      throw invalid(`${names} are both given`, 'They are two names of one thing: give one.');
  const checked = { ...given, model: policy ?? model, trainDataset: prompts ?? trainDataset };
  checkTrainerOptions(trainer, checked, ppoTrainerOptions, ppoArguments);
  const rewards = [reward, rewardModel, rewardFuncs]
    .flatMap((source) => source ?? [])
    .flat() as RewardSource[];
  const isModel = (value: unknown) =>
    typeof value === 'object' && value !== null && 'root' in value;
  const bad = rewards.find((source) => typeof source !== 'function' && !isModel(source));
  if (rewards.length === 0 || bad !== undefined)
    throw invalid(
      bad === undefined
        ? 'no reward is given'
        : `a reward is ${typeof bad}, no function and no model`,
      'Pass reward: a loaded reward model, or rewardFuncs: ({ completions }) => numbers.',
    );
  if (rollout !== undefined && typeof rollout !== 'function')
    throw invalid('rollout is no function', 'Pass async ({ promptIds }) => ({ completionIds }).');
  if (valueModel !== undefined && !isModel(valueModel))
    throw invalid('valueModel is no model', 'Load it, or leave it out.');
  const options = { ...plain, model: checked.model, trainDataset: checked.trainDataset };
  return { rewards, options };
}

/** A critic alone that learns would look like a run. @throws NO_TRAINABLE */
function checkTrained({ root }: LanguageModel): void {
  for (const [path, { trainable }] of root.namedParameters())
    if (trainable && !path.startsWith('v_head')) return;
  throw new AttuneError('NO_TRAINABLE', 'the policy is frozen: only its critic would learn.', {
    remedy: "Pass peftConfig: { peftType: 'LORA', r: 8 }, or leave its parameters trainable.",
  });
}

function stopIdsOf(
  { stopToken, stopTokenId }: PpoArguments,
  policy: LanguageModel,
  tokenizer: TextTokenizer | null,
): ReadonlySet<number> {
  if (stopTokenId !== null) return new Set([stopTokenId].flat());
  return stopToken === 'eos' ? eosTokenIds(policy, tokenizer) : new Set();
}

/** What stands behind an end belongs to no answer. */
const ending =
  (rollout: RolloutFunction, stopIds: ReadonlySet<number>): RolloutFunction =>
  async (input) => {
    const output = await rollout(input);
    const { completionIds } = (output ?? {}) as Partial<typeof output>;
    if (!Array.isArray(completionIds)) return output; // said to be wrong where it is read
    return {
      completionIds: completionIds.map((ids: ArrayLike<number> | null) =>
        truncateAnswer(Array.from(ids ?? []), stopIds),
      ),
    };
  };
