import type { HostArray } from '../backend/dtype.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Preflight } from '../text/preflight/preflight.js';
import type { TextTokenizer } from '../text/tokenizeRow.js';

/** One array of a batch on the host, ready to upload. */
export interface HostTensor {
  readonly data: HostArray;
  readonly shape: readonly number[];
  readonly dtype: 'float32' | 'int32';
  /**
   * Of positions: one more than the highest that a token has, padding left out. Rotary embeddings of type dynamic and
   * longrope take their frequencies from it. Default: the width of the rows.
   */
  readonly reach?: number;
  /** Uploaded only where a virtual token predicts the first token of rows (`AdapterHost.predictsFirstToken`). Default false. */
  readonly ofFirstTokens?: boolean;
}

/** What `collate` makes of a few examples: named arrays that the Trainer uploads. */
export type HostBatch = Readonly<Record<string, HostTensor>>;

/** The same names on the device, alive for one micro-batch. */
export type DeviceBatch = Readonly<Record<string, Tensor>>;

export interface LossOutput {
  /** One element: the SUM of the loss over the batch's items, never its mean. */
  readonly loss: Tensor;
  /** Further sums to log as `sum / count`, e.g. correct tokens. One element each; count is by default the batch's items. */
  readonly metrics?: Readonly<Record<string, { readonly sum: Tensor; readonly count?: number }>>;
  /**
   * Items of the sums beside those that `countItems` counts: first tokens of rows that a virtual token predicts. Training divides
   * the loss without them, as transformers counts; evaluation with them, and so all metrics. Default 0.
   */
  readonly extraItems?: number;
}

/** What rows are for. */
export type RowUse = 'training' | 'evaluation';

/** What `encode` may need beside the row. */
export interface EncodeContext {
  readonly model: LanguageModel;
  readonly tokenizer: TextTokenizer | null;
  /** Where the row came from, for errors: "train.jsonl:12". */
  readonly origin: string;
  /** Default 'training'. */
  readonly use?: RowUse;
  /** To be shown what each row becomes, where the objective has a preflight. */
  readonly preflight?: Preflight | null;
}

export interface EncodedRow<Example> {
  /** null: the row has nothing to learn from; it is left out and counted. */
  readonly example: Example | null;
  /** Remarks such as "cut off after 160 tokens"; the Trainer counts equal ones and reports each once. */
  readonly notes?: readonly string[];
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
  /** The label smoothing of its loss, if it has any: what `labelSmoothingFactor` asks for must be this. */
  readonly labelSmoothing?: number;
  /**
   * Row of a data set -> example: formats, tokens, masks, truncation. Once for each row, before the
   * first step. Without it, rows are examples as they are.
   */
  encode?(row: unknown, context: EncodeContext): EncodedRow<Example>;
  /**
   * Watches the rows of one set being encoded, for `Trainer.preview()` and the check before the first step.
   *
   * @param title what messages call the rows: "training rows", `evaluation rows "math"`
   */
  preflight?(
    model: LanguageModel,
    tokenizer: TextTokenizer | null,
    use: RowUse,
    title: string,
  ): Preflight;
  /** Whether `train()` shows what the preflight saw, and refuses what cannot be meant. Default true. */
  readonly isPreflightOn?: boolean;
  /**
   * Examples in their order -> fewer and fuller ones. Called with at most `PACKING_WINDOW` of them at a
   * time. Without it examples stay as they are.
   */
  pack?(examples: readonly Example[]): readonly Example[];
  /** Whether rows of this use go through `pack`. Default: all do. */
  isPacked?(use: RowUse): boolean;
  /** Tokens of an example, for `groupByLength`. Without it, the length of its `inputIds`. */
  lengthOf?(example: Example): number;
  /** Examples -> padded arrays. Pure host work; called ahead of the step by the loader. */
  collate(examples: readonly Example[]): HostBatch;
  /** How many items `loss` sums over in this batch (tokens for SFT, pairs for DPO). */
  countItems(batch: HostBatch): number;
  /** Work that must wait for the device or for the outside before the losses: rollouts, reference log-probs. */
  prepare?(model: LanguageModel, group: readonly HostBatch[]): Promise<readonly HostBatch[]>;
  /**
   * The batch with what `prepare` would add to it, contents aside, so that `planMemory` can record the
   * loss without waiting. Only where the loss reads arrays that `collate` does not make.
   */
  standIn?(batch: HostBatch): HostBatch;
  /** Records the forward pass. Must not wait for the device. */
  loss(model: LanguageModel, batch: DeviceBatch): LossOutput;
  /** For `computeMetrics` and `trainer.predict`; without it they are refused. */
  readonly prediction?: PredictionParts | undefined;
}

/** What `computeMetrics` compares. */
export interface PredictionParts {
  /** Outputs of the model for a batch, its examples along the first axis: logits [B, T, V] or [B, C]. Must not wait. */
  outputs(model: LanguageModel, batch: DeviceBatch): Tensor;
  /** What they should have been, aligned as Hugging Face aligns it: ids [B, T] or classes [B]; -100 where nothing is asked. */
  labelIds(batch: HostBatch): HostTensor;
}
