import type { HostArray } from '../backend/dtype.js';
import type { Tensor } from '../tensor/tensor.js';

/** One array of a batch on the host, ready to upload. */
export interface HostTensor {
  readonly data: HostArray;
  readonly shape: readonly number[];
  readonly dtype: 'float32' | 'int32';
  /**
   * Positions have it: one more than the highest that a token has, padding left out. Rotary
   * embeddings of type dynamic and longrope take their frequencies from it. Default: the width of
   * the rows.
   */
  readonly reach?: number;
  /**
   * Uploaded only where a virtual token predicts the first token of rows
   * (`AdapterHost.predictsFirstToken`). Default false.
   */
  readonly ofFirstTokens?: boolean;
}

/** What `collate` makes of the examples of a micro-batch: named arrays that the Trainer uploads. */
export type HostBatch = Readonly<Record<string, HostTensor>>;

/** A batch on the device, under the same names. It lives for one micro-batch. */
export type DeviceBatch = Readonly<Record<string, Tensor>>;
