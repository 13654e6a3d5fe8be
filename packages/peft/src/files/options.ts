import type { HubOptions } from '@attune/core';

export interface LoadAdapterOptions extends HubOptions {
  /** What to call it. Default "default". */
  readonly adapterName?: string;
  /** Whether training goes on with it. Default false. */
  readonly isTrainable?: boolean;
  /** Options to have in the place of those in its file, e.g. `{ loraplusLrRatio: 16 }`, which files do not hold. Default: all as in the file. */
  readonly config?: Readonly<Record<string, unknown>>;
}

export interface SaveAdapterOptions {
  /** Which adapters are written. Default all. */
  readonly selectedAdapters?: readonly string[];
  /**
   * Adapters of PiSSA and OLoRA as plain LoRA of twice the rank, which needs no decomposition of the base to be loaded:
   * what to share. Training cannot go on from it as it was. Default false.
   */
  readonly plainLora?: boolean;
  /**
   * As PEFT, vLLM and llama.cpp all read it rightly: one rank, no patterns, no rsLoRA, the scale in B; PiSSA and OLoRA as
   * plain LoRA. What one of them cannot read (other methods, DoRA, biases, embeddings, whole modules) is refused. It
   * computes the same; training cannot go on from it as it was. Default false.
   */
  readonly portable?: boolean;
  /** Read the files back and compare names, shapes, dtypes and bytes with what was meant. Default true. */
  readonly verify?: boolean;
}
