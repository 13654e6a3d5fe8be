import type { Tensor } from '@attune/core';
import type { PeftConfig } from '../contract/config.js';
import type { LayerInfo } from '../contract/layerInfo.js';
import type { GivenAs, LayerMethod, PromptEncoder, PromptMethod } from '../contract/methodKinds.js';
import type { Init } from '../contract/paramSpec.js';

/**
 * One tensor of an adapter, as its config means it on one model. All that is known of it by name is
 * here.
 */
export interface PlannedParameter {
  /** The module of the base model that it is about. */
  readonly path: string;
  /** What its method calls it, or the base does: "A", "bias". */
  readonly name: string;
  /** What it is called in its slot, where the adapter's name is put in: "lora_A.weight". */
  readonly key: string;
  /**
   * Its name in files, within the base model: `<path>.lora_A.weight`; null: it is made anew
   * instead.
   */
  readonly fileName: string | null;
  readonly shape: readonly number[];
  /** Trained while the adapter is active; else it never changes. */
  readonly isTrained: boolean;
  /** All layers of the adapter have the same tensor. */
  readonly isShared: boolean;
}

/** One that its method gives first values; others are copies of the base's. */
export interface NewParameter extends PlannedParameter {
  readonly init: Init;
}

/**
 * The value that a tensor has already, in a file or for all layers; undefined: it starts as it was
 * planned.
 */
export type Given = (planned: PlannedParameter) => Tensor | undefined;

/** A layer that a method adapts. */
export interface PlannedLayer {
  readonly kind: 'layer';
  readonly path: string;
  readonly method: LayerMethod;
  readonly layer: LayerInfo;
  /** The options of this layer. */
  readonly config: PeftConfig;
  readonly parameters: readonly NewParameter[];
}

/** A module whose bias is trained. */
export interface PlannedBias {
  readonly kind: 'bias';
  readonly path: string;
  readonly parameters: readonly [PlannedParameter];
}

/**
 * A module of which parameters are trained as copies: of modulesToSave, or selected by the method.
 */
export interface PlannedCopy {
  readonly kind: 'copy';
  readonly path: string;
  readonly parameters: readonly PlannedParameter[];
}

/** Virtual tokens. */
export interface PlannedPrompt {
  readonly kind: 'prompt';
  readonly method: PromptMethod;
  readonly config: PeftConfig;
  readonly gives: GivenAs;
  /** Makes the virtual tokens of the parameters; null: the one parameter is them. */
  readonly encoder: PromptEncoder | null;
  readonly parameters: readonly NewParameter[];
  /** [V, width] */
  readonly shape: readonly [number, number];
  /** Sizes of keys and values in the layers: `keyValues` are [V, layers, 2, kvHeads, headDim]. */
  readonly heads: { readonly layers: number; readonly kvHeads: number; readonly headDim: number };
}

/** A place where an adapter puts parameters. */
export type PlannedSlot = PlannedLayer | PlannedBias | PlannedCopy | PlannedPrompt;
