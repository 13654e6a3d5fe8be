import type { Tensor } from '@attune/core';
import type { Rng } from '@attune/core/util';

/**
 * How a new parameter starts.
 *
 * `kaimingUniform` is PyTorch's default for a linear layer, kaiming_uniform(a = sqrt 5): uniform in
 * +-1/sqrt(fan in), the fan in being the last dimension. `uniform` is the bound, `normal` the
 * standard deviation; both have mean 0. Draws come from the engine's seed. `values` makes the
 * values itself, row-major, with that seed's random numbers or without.
 */
export type Init =
  | 'zeros'
  | 'ones'
  | 'kaimingUniform'
  | { readonly constant: number }
  | { readonly uniform: number }
  | { readonly normal: number }
  | { readonly values: (rng: Rng) => Float32Array }
  | {
      /**
       * Virtual tokens start as what the model's embedding gives for these ids. `uniform` draws
       * from [0, 1).
       */
      readonly tokens: (uniform: () => number) => readonly number[];
    }
  | {
      /**
       * Computed from the layer's weight [out, in], float32 (dequantised, if it is held so), and
       * the parameters listed before. Records ops, without history.
       */
      readonly fromBase: (weight: Tensor, before: Readonly<Record<string, Tensor>>) => Tensor;
    };

/** One trainable tensor that a method adds to a layer: float32, whatever the base is stored in. */
export interface ParamSpec {
  readonly shape: readonly number[];
  readonly init: Init;
  /**
   * Its name in adapter_model.safetensors, after the layer's path, e.g. `lora_A.weight`. The model
   * tree has the adapter's name after the first part: `lora_A.default.weight`. Default: the name
   * here.
   */
  readonly key?: string;
  /**
   * Not trained and not in files: made anew, by `init` or `start`, when the adapter is loaded.
   * Default false.
   */
  readonly frozen?: boolean;
}

/** The parameters of a method, by name. */
export type ParamSpecs = Readonly<Record<string, ParamSpec>>;

/**
 * A frozen tensor that all layers of an adapter read: there is one of it in memory. Its `key` has
 * no layer's path before it.
 */
export interface SharedSpec extends ParamSpec {
  /**
   * Whether it is in adapter_model.safetensors; else it starts anew when the adapter is loaded.
   * Default true.
   */
  readonly saved?: boolean;
}

/** The shared tensors of a method, by name. */
export type SharedSpecs = Readonly<Record<string, SharedSpec>>;
