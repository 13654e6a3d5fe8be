import type { RawConfig } from '@attune/core/io';
import type { JsonValue } from '@attune/core/util';
import type { MergeConfig } from '../config/mergeConfig.js';
import type { ParameterRequest } from '../config/resolveParameters.js';
import type { MergeMethod } from '../contract/mergeMethod.js';
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
  readonly method: MergeMethod;
  /** In the order of the output. */
  readonly tasks: readonly TensorTask[];
  /** What the parameters of a task were resolved from, by its name; none for what is copied. */
  readonly requests: ReadonlyMap<string, ParameterRequest>;
  /** config.json of the output. */
  readonly outConfig: RawConfig;
  /** The config.json that it was made from, for the spelling of numbers. */
  readonly outConfigSource: JsonValue;
  /** Tokenizer, chat template, generation_config.json. Not config.json, weights, model card. */
  readonly files: readonly OutputFile[];
  /** What became of the vocabulary, a sentence each. */
  readonly tokenizerChanges: readonly string[];
  /** Folders of the inputs, by the key of the model. */
  readonly folders: ReadonlyMap<string, string>;
  /** What a user should know, a sentence each. */
  readonly warnings: readonly string[];
  readonly seed: number;
}
