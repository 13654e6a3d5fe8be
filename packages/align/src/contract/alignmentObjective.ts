import { type ExtensionPoint, extensionPoint, type HostTensor, type Tensor } from '@attune/core';
import type { z } from 'zod';
import type { PairValues } from '../losses/pairLogProbs.js';

/** What every alignment objective says of itself. */
interface ObjectiveFacts<Options> {
  /** What `AlignmentTrainer({ objective })` names. */
  readonly name: string;
  /** Checks and completes its options, which stand among the `args` of a trainer. */
  readonly options: z.ZodObject;
  /** Defaults of training arguments that differ from those of every alignment trainer. */
  readonly defaults?: Readonly<Record<string, unknown>>;
  /** Whether the loss compares the model with a reference. */
  readonly needsReference: boolean;
  /** Refuses options that have no meaning together. */
  check?(options: Options): void;
}

/** What a loss over pairs reads of a micro-batch of B pairs, on the device. */
export interface PairBatch {
  /** log p(answer | prompt) of the policy, summed over answer tokens, nats: float32 [B]. */
  readonly chosen: Tensor;
  readonly rejected: Tensor;
  /** The same of the reference, without a gradient; null where the objective needs none. */
  readonly reference: PairValues | null;
  /** Answer tokens, at least 1: float32 [B]. */
  readonly chosenCounts: Tensor;
  readonly rejectedCounts: Tensor;
  /** log p of the chosen answer where `tokenWeights` weigh `chosen`: the plain sum, float32 [B]. */
  readonly chosenTokens: Tensor;
  /**
   * Tokens of a chosen answer, the mean over all pairs of the accumulated batch: one number.
   * `chosenTokens.neg().div(tokensPerPair)` summed over pairs is the mean over tokens.
   */
  readonly tokensPerPair: Tensor;
  /**
   * -log p of all tokens of prompt and chosen answer but the first, float32 [B], for an objective
   * that `readsPrompt`; else null.
   */
  readonly promptNll: Tensor | null;
  /** `tokensPerPair` with the prompt's tokens, for an objective that `readsPrompt`; else null. */
  readonly promptTokensPerPair: Tensor | null;
  /** Weights of WPO, float32 [B], without a gradient; null where `weighs` is not true. */
  readonly weights: Tensor | null;
}

/** A metric: one number for each pair or answer, or a sum with its count. */
export type Measured = Tensor | { readonly sum: Tensor; readonly count: Tensor | number };

/** What a loss over pairs gives. */
export interface PairOutput {
  /** One loss for each pair, float32 [B]. */
  readonly losses: Tensor;
  /** What the loss takes the answers to be worth, logged as `rewards/...`: float32 [B] each. */
  readonly rewards: PairValues;
  /** What is logged as `logps/...`, where it is not `chosen` and `rejected`. */
  readonly logProbs?: PairValues;
  /** Further metrics by name. */
  readonly metrics?: Readonly<Record<string, Measured>>;
}

/** A loss over preference pairs. */
export interface PairObjective<Options> extends ObjectiveFacts<Options> {
  readonly format: 'pairs';
  /** Whether it reads `promptNll`. Default false. */
  readonly readsPrompt?: boolean;
  /** Whether pairs are weighed as in WPO. Default false. */
  weighs?(options: Options): boolean;
  /**
   * Weights of answer tokens before they are summed, [2B, T]; null: 1 each. Work of the host.
   *
   * @param labels int32 [2B, T] of [chosen; rejected], -100 where there is no answer token
   */
  tokenWeights?(labels: HostTensor, options: Options): HostTensor | null;
  /** Whether the prompt and answer are tokenised as TRL's CPO and ORPO do. Default false. */
  readonly tokenizesAsCpo?: boolean;
  /** Records the loss: a pure function of log-probabilities. */
  loss(batch: PairBatch, options: Options): PairOutput;
}

/** What a loss over labelled answers reads of a micro-batch of B answers, on the device. */
export interface UnpairedBatch {
  /** log p(answer | prompt) of the policy, summed over answer tokens, nats: float32 [B]. */
  readonly logProbs: Tensor;
  /** The same of the reference, without a gradient. */
  readonly reference: Tensor | null;
  /** 1 for a desirable answer, 0 for an undesirable one: float32 [B]. */
  readonly labels: Tensor;
  /** Answer tokens, at least 1: float32 [B]. */
  readonly counts: Tensor;
  /** log p / p_ref of answers to other prompts, float32 [B], no gradient; null: not asked for. */
  readonly mismatched: Tensor | null;
}

/** What a loss over labelled answers gives. */
export interface UnpairedOutput {
  /** One loss for each answer, float32 [B]. */
  readonly losses: Tensor;
  /** What the loss takes the answers to be worth: float32 [B]. */
  readonly rewards: Tensor;
  readonly metrics?: Readonly<Record<string, Measured>>;
}

/** A loss over answers that are labelled desirable or not. */
export interface UnpairedObjective<Options> extends ObjectiveFacts<Options> {
  readonly format: 'unpaired';
  /** Whether it reads `mismatched`. Default false. */
  readsMismatched?(options: Options): boolean;
  /** Records the loss: a pure function of log-probabilities. */
  loss(batch: UnpairedBatch, options: Options): UnpairedOutput;
}

/** An alignment objective, as `AlignmentObjectives` holds it. */
export type AlignmentObjective<Options = Readonly<Record<string, unknown>>> =
  | PairObjective<Options>
  | UnpairedObjective<Options>;

/** Types the options of an objective where it is written: they are what its schema gives. */
export function defineAlignmentObjective<S extends z.ZodObject>(
  definition: AlignmentObjective<z.output<S>> & { readonly options: S },
): DefinedObjective<S> {
  return definition as unknown as DefinedObjective<S>;
}

/** An objective with the schema of its options. */
export type DefinedObjective<S extends z.ZodObject = z.ZodObject> = AlignmentObjective & {
  readonly options: S;
};

/**
 * What `objective` of an `AlignmentTrainer` may name:
 * `context.add(AlignmentObjectives, defineAlignmentObjective({ ... }))`.
 */
export const AlignmentObjectives: ExtensionPoint<AlignmentObjective> = extensionPoint(
  'alignment objective',
  (objective) => objective.name,
);
