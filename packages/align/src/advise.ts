import { AttuneError } from '@attune/core';
import { type OptionsInput, parseOptions, z } from '@attune/core/util';

/** What {@link adviseAlignment} may name. */
export type AlignmentMethod =
  | 'dpo'
  | 'ipo'
  | 'kto'
  | 'orpo'
  | 'simpo'
  | 'cpo'
  | 'grpo'
  | 'rloo'
  | 'ppo'
  | 'sft';

const count = z.number().min(0);

const shape = {
  /** Preference pairs: a prompt, a better and a worse answer. Default 0. */
  pairs: count.default(0).meta({ aka: 'numpairs preferences' }),
  /** Answers that are labelled one by one, good or bad. Default 0. */
  labels: count.default(0).meta({ aka: 'numlabels unpaired thumbs' }),
  /** The share of `labels` that is good, 0 to 1; null: not known. Default null. */
  goodShare: z.number().min(0).max(1).nullable().default(null).meta({ aka: 'desirable' }),
  /** Share of pairs or labels that are wrong, 0 to below 0.5. Default 0. */
  noise: z.number().min(0).default(0).meta({ aka: 'labelnoise flipped' }),
  /**
   * What can rate an answer while it trains: a "function" (tests, a rule, a format), a reward
   * "model", or null: nothing. Default null.
   */
  reward: z.enum(['function', 'model']).nullable().default(null).meta({ aka: 'rewardfunction' }),
  /**
   * What the device has room for. "ample": a second copy of the model; "one-copy": the model and an
   * adapter; "tight": that, and nothing else is read beside it. Default "one-copy".
   */
  memory: z
    .enum(['ample', 'one-copy', 'tight'])
    .default('one-copy')
    .meta({ aka: 'gpumemory vram' }),
  /** Whether the model can already do the task: SFT came before, or a chat model. Default true. */
  hasSftModel: z.boolean().default(true).meta({ aka: 'sft issft' }),
};
const options = z.strictObject(shape);
type Situation = z.output<typeof options>;

/** Options of {@link adviseAlignment}. */
export type AdviseAlignmentOptions = OptionsInput<typeof shape>;

/** Another method that would do, and when. */
export interface AlignmentAlternative {
  readonly method: AlignmentMethod;
  readonly when: string;
}

/** What {@link adviseAlignment} says. */
export interface AlignmentAdvice {
  readonly method: AlignmentMethod;
  /** The class that trains it: "DPOTrainer". */
  readonly trainer: string;
  /** `args` to start from, beside sizes and folders. */
  readonly args: Readonly<Record<string, unknown>>;
  /** Whether `peftConfig` should be given: the reference is then the model without its adapter. */
  readonly withAdapter: boolean;
  /** Why, a sentence each. */
  readonly reasons: readonly string[];
  readonly alternatives: readonly AlignmentAlternative[];
  /** All of it as text. */
  toString(): string;
}

type Choice = Pick<AlignmentAdvice, 'method' | 'args' | 'reasons' | 'alternatives'>;

/** Pairs below which a preference loss mostly learns them by heart. */
const FEW = 200;
/** Share of wrong labels from which on a loss should expect them. */
const NOISY = 0.1;

const trainers: Readonly<Record<AlignmentMethod, string>> = {
  dpo: 'DPOTrainer',
  ipo: 'IPOTrainer',
  kto: 'KTOTrainer',
  orpo: 'ORPOTrainer',
  simpo: 'SimPOTrainer',
  cpo: 'CPOTrainer',
  grpo: 'GRPOTrainer',
  rloo: 'RLOOTrainer',
  ppo: 'PPOTrainer',
  sft: 'SFTTrainer',
};

/**
 * A method to begin with, by what there is to learn from: rules of thumb with their reasons, not a
 * measurement. It reads nothing but its options.
 *
 * 1. Something that rates new answers comes first: they are the policy's own. A function -> GRPO,
 *    a reward model -> PPO.
 * 2. More labels than pairs -> KTO.
 * 3. Pairs without an SFT model -> ORPO, which learns the task and the preference at once.
 * 4. Noisy pairs -> DPO with a loss that expects them.
 * 5. A tight device -> SimPO, which compares with no reference.
 * 6. Otherwise -> DPO.
 *
 * @example console.log(String(adviseAlignment({ pairs: 5000, noise: 0.2 })));
 * @throws UNKNOWN_OPTION, INVALID_OPTION; ADVISE_INVALID where nothing can be learned from
 */
export function adviseAlignment(given: AdviseAlignmentOptions): AlignmentAdvice {
  const situation = parseOptions(options, given, { where: 'adviseAlignment' });
  check(situation);
  const choice = choose(situation);
  const { method, args, alternatives } = choice;
  const trainer = trainers[method];
  const withAdapter = situation.memory !== 'ample';
  const reasons = [...choice.reasons, ...warnings(situation, method)];
  return {
    ...choice,
    ...{ trainer, withAdapter, reasons },
    toString: () =>
      [
        `${trainer}${withAdapter ? ' with peftConfig' : ''}, args: ${JSON.stringify(args)}`,
        ...reasons.map((reason) => `- ${reason}`),
        ...alternatives.map((other) => `  or ${trainers[other.method]}: ${other.when}`),
      ].join('\n'),
  };
}

function choose(situation: Situation): Choice {
  const { pairs, labels, reward, hasSftModel, noise, memory } = situation;
  if (reward) return hasSftModel ? online(reward) : sftFirst(reward);
  if (labels > pairs) return byLabels(situation);
  if (!hasSftModel) return orpo(noise);
  if (noise >= NOISY) return noisy(noise);
  return memory === 'tight' ? simpo() : dpo(memory);
}

const online = (reward: 'function' | 'model'): Choice =>
  reward === 'function'
    ? {
        method: 'grpo',
        args: { numGenerations: 8, beta: 0, lossType: 'dapo', learningRate: 1e-5 },
        reasons: [
          'A function rates every answer that the model writes: GRPO draws several for each prompt and learns from the better ones. It needs no value head and no pairs.',
        ],
        alternatives: [
          { method: 'rloo', when: 'the KL to the reference shall stand in the reward' },
          {
            method: 'ppo',
            when: 'prompts are so many and different that one answer each is better',
          },
        ],
      }
    : {
        method: 'ppo',
        args: { klCoef: 0.05, adapKlCtrl: true, targetKl: 6, ppoEpochs: 4, learningRate: 1e-5 },
        reasons: [
          'A reward model gives one score for each answer: PPO with a KL that follows a target keeps the policy where the model can still judge.',
        ],
        alternatives: [
          { method: 'rloo', when: 'there is no room for a value head, or PPO is hard to tune' },
          { method: 'dpo', when: 'the pairs that the reward model was trained on are at hand' },
        ],
      };

const sftFirst = (reward: 'function' | 'model'): Choice => ({
  method: 'sft',
  args: {},
  reasons: [
    'Rewards teach a model to choose among answers that it already gives. Where it never gives a good one, all rewards of a prompt are equal and nothing is learned: first SFT, on some hundred good answers.',
  ],
  alternatives: [
    {
      method: reward === 'function' ? 'grpo' : 'ppo',
      when: 'some of 8 answers to most prompts are good already',
    },
  ],
});

function byLabels({ goodShare, hasSftModel }: Situation): Choice {
  const args = { beta: 0.1, learningRate: 5e-6, ...balance(goodShare) };
  return {
    method: 'kto',
    args,
    reasons: [
      'Answers are labelled one by one, which KTO learns from as they are; pairs that there are become two labels each.',
      ...('desirableWeight' in args || 'undesirableWeight' in args
        ? [
            'Good and bad answers differ in number: the weights make their products equal, the middle of what the paper asks for being 1 to 4/3.',
          ]
        : []),
      ...(hasSftModel ? [] : ['The paper begins without SFT in large models only: compare both.']),
    ],
    alternatives: [
      { method: 'dpo', when: 'good and bad answers to the same prompts can be paired' },
    ],
  };
}

/** n_good * w_good / (n_bad * w_bad) = 1 where it would be outside of 1 to 4/3. */
function balance(goodShare: number | null): Readonly<Record<string, number>> {
  if (goodShare === null || goodShare === 0 || goodShare === 1) return {};
  const ratio = goodShare / (1 - goodShare);
  if (ratio >= 1 && ratio <= 4 / 3) return {};
  const rounded = (x: number) => Number(x.toPrecision(3));
  return ratio < 1
    ? { desirableWeight: rounded(1 / ratio) }
    : { undesirableWeight: rounded(ratio) };
}

const orpo = (noise: number): Choice => ({
  method: 'orpo',
  args: { beta: 0.1, learningRate: 8e-6 },
  reasons: [
    'There is no SFT model: ORPO learns the chosen texts and the preference in one run, and compares with no reference.',
    ...(noise >= NOISY
      ? [
          'It has no rule for wrong labels: SFT on the chosen answers, then DPO with labelSmoothing, has.',
        ]
      : []),
  ],
  alternatives: [
    {
      method: 'sft',
      when: 'two runs are possible: SFT on the chosen answers, then DPO, is steadier',
    },
    { method: 'cpo', when: 'the prompts shall not be learned, only the answers' },
  ],
});

const noisy = (noise: number): Choice => ({
  method: 'dpo',
  args: { beta: 0.1, lossType: 'robust', labelSmoothing: noise, learningRate: 5e-6 },
  reasons: [
    `About ${Math.round(100 * noise)} % of the pairs are wrong: DPO drives their margins without bound. lossType "robust" with that share as labelSmoothing is unbiased under such noise (arXiv:2403.00409).`,
  ],
  alternatives: [
    {
      method: 'dpo',
      when: 'the share is a guess: lossType "sigmoid" with labelSmoothing (conservative DPO) has a bounded optimum and no variance to pay',
    },
    { method: 'ipo', when: 'no share is known: its margin has a target, which no pair exceeds' },
  ],
});

const simpo = (): Choice => ({
  method: 'simpo',
  args: { beta: 2, gamma: 1, learningRate: 1e-6 },
  reasons: [
    'The device is tight: SimPO compares with no reference, which saves a forward pass and its buffers. An adapter keeps gradients and moments small.',
  ],
  alternatives: [
    {
      method: 'dpo',
      when: 'with peftConfig: the reference is the same base without its adapter, at no weights more; or reference: { precomputed } reads it once',
    },
    { method: 'orpo', when: 'the chosen answers shall be learned as well' },
    { method: 'cpo', when: 'SimPO wanders off: the likelihood of chosen answers holds it' },
  ],
});

const dpo = (memory: Situation['memory']): Choice => ({
  method: 'dpo',
  args: { beta: 0.1, lossType: 'sigmoid', learningRate: memory === 'ample' ? 1e-6 : 5e-6 },
  reasons: [
    'Pairs and a model that can do the task: DPO is the plain choice, with the most experience behind it.',
    ...(memory === 'ample'
      ? []
      : ['With an adapter its reference is the model without it: one copy of the base.']),
  ],
  alternatives: [
    { method: 'ipo', when: 'the pairs are few and are learned by heart' },
    { method: 'simpo', when: 'answers get longer and longer: its reward is a mean over tokens' },
  ],
});

/** What holds whatever the method. */
function warnings({ pairs, labels, goodShare }: Situation, method: AlignmentMethod): string[] {
  const isOffline = method !== 'grpo' && method !== 'ppo' && method !== 'sft';
  const rows = Math.max(pairs, labels);
  return [
    ...(isOffline && rows < FEW
      ? [
          `${rows} rows are few, and are soon learned by heart: one epoch, evalDataset of unseen prompts, and EarlyStoppingCallback.`,
        ]
      : []),
    ...(method === 'kto' && (goodShare === 0 || goodShare === 1)
      ? ['All labels are the same: KTO needs both kinds, so collect some of the other.']
      : []),
  ];
}

/** @throws ADVISE_INVALID */
function check({ pairs, labels, reward, noise }: Situation): void {
  const invalid = (found: string, remedy: string) =>
    new AttuneError('ADVISE_INVALID', `adviseAlignment: ${found}`, { remedy });
  if (noise >= 0.5)
    throw invalid(
      `noise is ${noise}.`,
      'At one half labels say nothing, and above it the opposite: give less than 0.5, or swap them.',
    );
  if (pairs === 0 && labels === 0 && reward === null)
    throw invalid(
      'there are no pairs, no labels and nothing that rates answers.',
      'Give pairs, labels or reward: "function" | "model". To learn from good answers alone take SFTTrainer.',
    );
}
