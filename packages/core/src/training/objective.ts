import type { LanguageModel } from '../models/languageModel.js';
import type { Module } from '../nn/module.js';
import type { Tensor } from '../tensor/tensor.js';
import type { PlainJson } from '../util/json.js';
import type { Logger } from '../util/logger.js';
import type { DeviceBatch, HostBatch, HostTensor } from './batch.js';
import type { Fingerprint, RowRules, RowUse } from './rowRules.js';
import type { Update, UpdateContext } from './updates.js';

/** What an objective records of one micro-batch. */
export interface LossOutput {
  /** The SUM of the loss over the items of the batch, never its mean. One element. */
  readonly loss: Tensor;
  /**
   * Further sums, of one element each, which are logged as `sum / count`: correct tokens, for one.
   * The count is by default that of the batch's items. Where the device alone knows it (rows of one
   * class), it is a tensor of one element. A metric whose counts add up to 0 is left out of a log.
   */
  readonly metrics?: Readonly<
    Record<string, { readonly sum: Tensor; readonly count?: number | Tensor }>
  >;
  /**
   * Items of the sums beside those that `countItems` counts: first tokens of rows that a virtual
   * token predicts. Training divides the loss without them, as transformers does. Evaluation and
   * all metrics are divided with them. Default 0.
   */
  readonly extraItems?: number;
}

/** What `Objective.prepare` is told. */
export interface PrepareContext {
  readonly model: LanguageModel;
  readonly logger: Logger;
}

/**
 * What a model is trained for: SFT, a preference loss, a reward model. There is one Trainer;
 * methods differ in their objective.
 *
 * `loss` returns a sum over items, and the Trainer divides by the items of the whole accumulated
 * batch. So k micro-batches of b rows give the gradient of one batch of k b rows.
 */
export interface Objective<Example = unknown> {
  readonly name: string;
  /** How rows of a data set become examples. Without rules, rows are examples as they are. */
  readonly rows?: RowRules<Example>;
  /**
   * What defines the objective beside its name and its rows: coefficients, the kind of loss. A
   * checkpoint holds it, and a run with another one does not go on from that checkpoint. Default
   * {}.
   */
  readonly fingerprint?: Fingerprint;
  /**
   * Whether the loss is the sum of -log p over tokens, in nats, so that exp(loss per item) is a
   * perplexity: only then do evaluations give `evalPerplexity`. Default false.
   */
  readonly isLogLikelihood?: boolean;
  /**
   * Whether the model trains without dropout, its own and that of its adapters, as TRL trains on
   * preferences: the log-ratio to a reference is noise otherwise. Default false.
   */
  readonly disableDropout?: boolean;
  /**
   * The label smoothing of its loss. What `labelSmoothingFactor` asks for must be this. Default 0.
   */
  readonly labelSmoothing?: number;
  /**
   * Makes what is made once, of the model as it is when its trainer is made: a frozen copy to
   * compare with. It is awaited once for a trainer, before whatever comes first: an evaluation, a
   * prediction, a memory plan, a profile, a run. A run has not read the weights of its checkpoint
   * yet, so a resumed run prepares what the first one did. Optional.
   *
   * It changes nothing of the model that is trained or saved. Whoever made what it makes disposes
   * it. Where it throws, it is asked again the next time.
   */
  prepare?(context: PrepareContext): Promise<void>;
  /**
   * Makes padded arrays of examples. It is work of the host alone, and the loader calls it ahead of
   * the step.
   */
  collate(examples: readonly Example[]): HostBatch;
  /** How many items `loss` sums over in this batch (tokens for SFT, pairs for DPO). */
  countItems(batch: HostBatch): number;
  /**
   * Makes the updates of a group of micro-batches. It may await rollouts or reference log-probs.
   * Each update is asked for when the one before it has been recorded. What stands behind the last
   * `yield` runs before a checkpoint of the group's end; there are none within a group. Default:
   * one update, of the group as it is.
   *
   * An evaluation asks for the first update of each batch, and evaluates it. Where the signal makes
   * this throw, `state` must be what it was before the group.
   */
  updates?(group: readonly HostBatch[], context: UpdateContext): AsyncIterable<Update>;
  /** How many updates a group gives. The updates of an epoch are counted by it. Default 1. */
  readonly updatesPerGroup?: number;
  /**
   * Examples that a group is made of, where micro-batches are made in `updates` alone: prompts, of
   * each of which it draws several completions. `updates` is then given one batch of so many
   * examples, in an evaluation too. Default: in training `gradientAccumulationSteps` micro-batches
   * of `perDeviceTrainBatchSize`, in an evaluation one of `perDeviceEvalBatchSize`.
   */
  readonly examplesPerGroup?: Readonly<Record<RowUse, number>>;
  /**
   * What `updates` generates at once, so that `planMemory` counts it as the phase "generate". It is
   * given the examples that the plan is made for. Default: nothing.
   */
  generation?(examples: readonly Example[]): PlannedGeneration;
  /**
   * Gives a batch the arrays that `updates` would add to it, whatever they hold, so that
   * `planMemory` can record the loss without waiting. Needed where the loss reads arrays that
   * `collate` does not make.
   */
  standIn?(batch: HostBatch): HostBatch;
  /** Records the forward pass. Must not wait for the device. */
  loss(model: LanguageModel, batch: DeviceBatch): LossOutput;
  /**
   * What it has to show of the run, for the HTML report: the last answers that it drew, for one. It
   * is asked when the run is over. Optional.
   */
  tables?(): readonly ReportTable[];
  /** What `computeMetrics` and `trainer.predict` ask for. Without it they are refused. */
  readonly prediction?: PredictionParts | undefined;
  /**
   * Modules of its own by name, e.g. a value head. Their trainable parameters are trained with
   * those of the model, counted by `planMemory`, and written into each checkpoint
   * (`objective.safetensors`). `saveModel` does not write them: it writes what inference needs.
   * Whoever made them disposes them.
   */
  readonly modules?: Readonly<Record<string, Module>>;
  /** What else changes. Checkpoints hold it, and a resumed run finds it as it was, bit for bit. */
  readonly state?: ObjectiveState;
}

/** A table for people. */
export interface ReportTable {
  readonly title: string;
  readonly columns: readonly string[];
  /** A cell for each column. Texts are shown as they are, numbers briefly, null as nothing. */
  readonly rows: readonly (readonly (string | number | null)[])[];
}

/** Tokens that an objective generates at once. */
export interface PlannedGeneration {
  /** Rows at a time. */
  readonly batchSize: number;
  /** Tokens of the longest prompt. */
  readonly promptLength: number;
  /** Tokens of an answer at most. */
  readonly maxNewTokens: number;
}

/** What changes in an objective while it trains, beside its modules. */
export interface ObjectiveState {
  /** Coefficients and counters, which the objective changes in place. */
  readonly values?: Record<string, PlainJson>;
  /**
   * Small tensors that the objective made with `engine.keep` and writes in place: running moments.
   */
  readonly tensors?: Readonly<Record<string, Tensor>>;
}

/** What `computeMetrics` compares. */
export interface PredictionParts {
  /**
   * Outputs of the model for a batch, its examples along the first axis: logits [B, T, V] or [B,
   * C]. Must not wait.
   */
  outputs(model: LanguageModel, batch: DeviceBatch): Tensor;
  /**
   * What they should have been, aligned as Hugging Face aligns it: ids [B, T] or classes [B]; -100
   * where nothing is asked.
   */
  labelIds(batch: HostBatch): HostTensor;
}
