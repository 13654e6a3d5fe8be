import type { LanguageModel } from '../models/languageModel.js';
import type { Module } from '../nn/module.js';
import type { Tensor } from '../tensor/tensor.js';
import type { PlainJson } from '../util/json.js';
import type { DeviceBatch, HostBatch, HostTensor } from './batch.js';
import type { Fingerprint, RowRules } from './rowRules.js';
import type { Update, UpdateContext } from './updates.js';

/** What an objective records of one micro-batch. */
export interface LossOutput {
  /** One element: the SUM of the loss over the batch's items, never its mean. */
  readonly loss: Tensor;
  /**
   * Further sums to log as `sum / count`, e.g. correct tokens. One element each; count is by
   * default the batch's items.
   */
  readonly metrics?: Readonly<Record<string, { readonly sum: Tensor; readonly count?: number }>>;
  /**
   * Items of the sums beside those that `countItems` counts: first tokens of rows that a virtual
   * token predicts. Training divides the loss without them, as transformers counts; evaluation with
   * them, and so all metrics. Default 0.
   */
  readonly extraItems?: number;
}

/**
 * What is trained for: SFT, a preference loss, a reward model. There is one Trainer; methods differ
 * in this.
 *
 * `loss` returns a sum over items and the Trainer divides by the items of the whole accumulated
 * batch, so k micro-batches of b rows give the gradient of one batch of k*b rows.
 */
export interface Objective<Example = unknown> {
  readonly name: string;
  /** Rows of a data set -> examples. Without them, rows are examples as they are. */
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
   * The label smoothing of its loss, if it has any: what `labelSmoothingFactor` asks for must be
   * this.
   */
  readonly labelSmoothing?: number;
  /** Examples -> padded arrays. Pure host work; called ahead of the step by the loader. */
  collate(examples: readonly Example[]): HostBatch;
  /** How many items `loss` sums over in this batch (tokens for SFT, pairs for DPO). */
  countItems(batch: HostBatch): number;
  /**
   * The updates that are made of a group of micro-batches. May await: rollouts, reference
   * log-probs. Each is asked for when the one before it has been recorded; what stands behind the
   * last `yield` runs before a checkpoint of the group's end. Checkpoints are written at the ends
   * of groups only. Default: one update, of the group as it is.
   *
   * An evaluation asks for the first update of each batch, and evaluates that. Where the signal
   * makes it throw, `state` must be what it was before the group.
   */
  updates?(group: readonly HostBatch[], context: UpdateContext): AsyncIterable<Update>;
  /** How many updates a group gives: from it the updates of an epoch are counted. Default 1. */
  readonly updatesPerGroup?: number;
  /**
   * The batch with what `updates` would add to it, contents aside, so that `planMemory` can record
   * the loss without waiting. Only where the loss reads arrays that `collate` does not make.
   */
  standIn?(batch: HostBatch): HostBatch;
  /** Records the forward pass. Must not wait for the device. */
  loss(model: LanguageModel, batch: DeviceBatch): LossOutput;
  /** For `computeMetrics` and `trainer.predict`; without it they are refused. */
  readonly prediction?: PredictionParts | undefined;
  /**
   * Modules of its own by name, e.g. a value head. Their trainable parameters are trained with the
   * model's, counted by `planMemory`, and lie in each checkpoint (`objective.safetensors`).
   * `saveModel` does not write them: it writes what inference needs. They are the caller's to
   * dispose.
   */
  readonly modules?: Readonly<Record<string, Module>>;
  /** What else changes: checkpoints hold it, and a resumed run finds it as it was, bit for bit. */
  readonly state?: ObjectiveState;
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
