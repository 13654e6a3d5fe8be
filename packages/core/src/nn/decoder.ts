import type { DType } from '../tensor/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { matmul } from '../tensor/ops/matmul.js';
import type { Tensor } from '../tensor/tensor.js';
import { type AttentionContext, type KvCache, SelfAttention } from './attention.js';
import { Embedding } from './embedding.js';
import { isLinear, Linear, type LinearLike } from './linear.js';
import { GatedMlp } from './mlp.js';
import { Module, type Parameter } from './module.js';
import { addThenNorm, type NormLike, RMSNorm } from './norm.js';
import { type RopeScaling, RotaryTables } from './rotary.js';

/** The sizes of a pre-norm decoder with rotary positions and a gated feed-forward block. */
export interface DecoderOptions {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling;
  readonly maxPositionEmbeddings: number;
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** The output layer reads the embedding's weight; the model then has no `lm_head`. */
  readonly tieWordEmbeddings: boolean;
  /** Storage of every weight. */
  readonly dtype: DType;
}

/** An embedding, or an adapter around one. A tied head multiplies with its `weight` [V, D]. */
export interface EmbeddingLike extends Module {
  readonly weight: Parameter;
  forward(ids: Tensor): Tensor;
}

/** Inputs of a decoder, complete: positions are given, what is cached is known. */
export interface DecoderInput {
  /** int32 [B, T] */
  readonly inputIds: Tensor;
  /** int32 [B, T] */
  readonly positions: Tensor;
  readonly segments: Tensor | null;
  readonly cache: KvCache | null;
}

/** A decoder with its output layer: what a model family builds. The root of the module tree. */
export interface CausalDecoder extends Module {
  /** [B, T, hidden], after the final norm. */
  hiddenStates(input: DecoderInput): Tensor;
  /** [..., hidden] -> [..., V] */
  head(hidden: Tensor): Tensor;
  /** The weight [V, hidden] of a head that is one plain product; else null. */
  headWeight(): Tensor | null;
  /** Keep the input of each layer alone for the backward pass: `engine.checkpoint`. Default false. */
  gradientCheckpointing: boolean;
}

/** x + attention(norm(x)), then + mlp(norm(.)). */
export class DecoderLayer extends Module {
  constructor(engine: Engine, layer: number, options: DecoderOptions) {
    super();
    const { hiddenSize, rmsNormEps, dtype } = options;
    this.addChild(
      'self_attn',
      new SelfAttention(engine, layer, { ...options, numHeads: options.numAttentionHeads }),
    );
    this.addChild('mlp', new GatedMlp(engine, { ...options, bias: options.mlpBias }));
    this.addChild('input_layernorm', new RMSNorm(engine, hiddenSize, rmsNormEps, dtype));
    this.addChild('post_attention_layernorm', new RMSNorm(engine, hiddenSize, rmsNormEps, dtype));
  }

  /** [B, T, hidden] -> [B, T, hidden] */
  forward(x: Tensor, context: AttentionContext): Tensor {
    const normed = this.child<NormLike>('input_layernorm').forward(x);
    const attention = this.child<SelfAttention>('self_attn').forward(normed, context);
    const norm = this.child<NormLike>('post_attention_layernorm');
    const [attended, between] = addThenNorm(x, attention, norm);
    return attended.add(this.child<GatedMlp>('mlp').forward(between));
  }
}

/** Modules under the names "0", "1", ..., as torch's ModuleList. */
export class ModuleList<M extends Module> extends Module {
  constructor(modules: readonly M[]) {
    super();
    for (const [i, module] of modules.entries()) this.addChild(String(i), module);
  }

  *[Symbol.iterator](): Generator<M> {
    yield* this.children.values() as Iterable<M>;
  }
}

/** Embedding, layers, final norm: `model` in the checkpoint's names. */
class Decoder extends Module {
  gradientCheckpointing = false;

  constructor(engine: Engine, options: DecoderOptions) {
    super();
    const { vocabSize, hiddenSize, numHiddenLayers, rmsNormEps, dtype } = options;
    this.addChild('embed_tokens', new Embedding(engine, vocabSize, hiddenSize, dtype));
    const layers = Array.from(
      { length: numHiddenLayers },
      (_, i) => new DecoderLayer(engine, i, options),
    );
    this.addChild('layers', new ModuleList(layers));
    this.addChild('norm', new RMSNorm(engine, hiddenSize, rmsNormEps, dtype));
  }

  forward(inputIds: Tensor, context: AttentionContext): Tensor {
    let x = this.child<EmbeddingLike>('embed_tokens').forward(inputIds); // [B, T, hidden]
    // A cache that a layer appends to would be appended to twice.
    for (const layer of this.child<ModuleList<DecoderLayer>>('layers'))
      x =
        this.gradientCheckpointing && !context.cache
          ? checkpointed(layer, x, context)
          : x.engine.scope('layer', () => layer.forward(x, context));
    return this.child<NormLike>('norm').forward(x);
  }
}

function checkpointed(layer: DecoderLayer, x: Tensor, context: AttentionContext): Tensor {
  const { positions, segments } = context;
  return x.engine.checkpoint(
    segments ? [x, positions, segments] : [x, positions],
    ([x, positions, segments = null]) =>
      layer.forward(x!, { ...context, positions: positions!, segments }),
  );
}

/**
 * The decoder of Llama and its relatives, named as in their checkpoints: `model.embed_tokens`,
 * `model.layers.N.self_attn.q_proj`, ..., `model.norm`, and `lm_head` unless it is tied.
 */
export class RotaryDecoder extends Module implements CausalDecoder {
  readonly #rotary: RotaryTables;

  constructor(
    engine: Engine,
    readonly options: DecoderOptions,
  ) {
    super();
    const { hiddenSize, vocabSize, dtype } = options;
    this.addChild('model', new Decoder(engine, options));
    if (!options.tieWordEmbeddings)
      this.addChild(
        'lm_head',
        new Linear(engine, { inFeatures: hiddenSize, outFeatures: vocabSize, dtype }),
      );
    this.#rotary = new RotaryTables(engine, {
      headDim: options.headDim,
      theta: options.ropeTheta,
      scaling: options.ropeScaling,
      maxPositions: options.maxPositionEmbeddings,
    });
  }

  hiddenStates({ inputIds, ...input }: DecoderInput): Tensor {
    return this.child<Decoder>('model').forward(inputIds, { ...input, rotary: this.#rotary });
  }

  head(hidden: Tensor): Tensor {
    if (!this.options.tieWordEmbeddings) return this.child<LinearLike>('lm_head').forward(hidden);
    return matmul(hidden, this.#embedding.weight.tensor, { transposeB: true });
  }

  get gradientCheckpointing(): boolean {
    return this.child<Decoder>('model').gradientCheckpointing;
  }

  set gradientCheckpointing(value: boolean) {
    this.child<Decoder>('model').gradientCheckpointing = value;
  }

  headWeight(): Tensor | null {
    if (this.options.tieWordEmbeddings) return this.#embedding.weight.tensor;
    const head = this.child<LinearLike>('lm_head');
    return isLinear(head) && !head.bias ? head.weight.tensor : null;
  }

  get #embedding(): EmbeddingLike {
    return this.submodule<EmbeddingLike>('model.embed_tokens');
  }

  override dispose(): void {
    super.dispose();
    this.#rotary.dispose();
  }
}
