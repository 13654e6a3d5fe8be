import type { RawConfig } from '@attune/core/io';
import type { MergeConfig } from '../config/mergeConfig.js';
import type { TensorTask } from '../contract/tensorTask.js';

/** A file of the output beside the weights. */
export interface OutputFile {
  readonly name: string;
  /** What is in it; or the file that is copied. */
  readonly contents: string | { readonly copyOf: string };
}

/** Everything that is known before a weight is read. */
export interface MergePlan {
  readonly config: MergeConfig;
  /** In the order of the output. */
  readonly tasks: readonly TensorTask[];
  /** config.json of the output. */
  readonly outConfig: RawConfig;
  /** Tokenizer, chat template, generation_config.json. Not config.json, weights, model card. */
  readonly files: readonly OutputFile[];
  /** Folders of the inputs, by the key of the model. */
  readonly folders: ReadonlyMap<string, string>;
  /** What a user should know, a sentence each. */
  readonly warnings: readonly string[];
  readonly seed: number;
}
