import type { DType } from '../backend/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { matmul } from '../tensor/ops/matmul.js';
import type { Tensor } from '../tensor/tensor.js';
import type { AttentionContext, AttentionLike, KvCache } from './attention.js';
import { isLinear, Linear, type LinearLike } from './linear.js';
import type { MlpLike } from './mlp.js';
import { Module, type Parameter } from './module.js';
import { addThenNorm, type NormLike } from './norm.js';
import { before, type KeyValues, type VirtualTokens } from './virtualTokens.js';

/** An embedding, or an adapter around one. A tied head multiplies with its `weight` [V, D]. */
export interface EmbeddingLike extends Module {
  readonly weight: Parameter;
  forward(ids: Tensor): Tensor;
}

/** Inputs of a decoder, complete: positions are given, what is cached is known. */
export interface DecoderInput {
  /** int32 [B, T] */
  readonly inputIds: Tensor;
  /** int32 [B, T]; [B, V + T] with virtual embeddings, theirs first. */
  readonly positions: Tensor;
  /** What stands before the tokens and is not cached yet. Default: nothing. */
  readonly virtual?: VirtualTokens | null;
  readonly segments: Tensor | null;
  readonly cache: KvCache | null;
  /**
   * Tokens of the longest sequence, those virtual and cached included. Default: by the width of the
   * rows.
   */
  readonly length?: number | undefined;
}

/**
 * What is kept for the backward pass. false: everything; true: the input of each layer; n: the
 * input of every n-th layer, and the n layers behind it are computed again together.
 */
export type Checkpointing = boolean | number;

/**
 * An output layer that is softcap tanh(x / softcap) of the product x with its weight [V, hidden].
 */
export interface CappedHead {
  readonly weight: Tensor;
  readonly softcap: number;
}

/** A decoder with its output layer: what a model family builds. The root of the module tree. */
export interface CausalDecoder extends Module {
  /** [B, T, hidden], after the final norm; [B, V + T, hidden] with virtual embeddings. */
  hiddenStates(input: DecoderInput): Tensor;
  /** [..., hidden] -> [..., V] */
  head(hidden: Tensor): Tensor;
  /** The weight [V, hidden] of a head that is one plain product; else null. */
  headWeight(): Tensor | null;
  /** Weight and cap of a head that is the capped product; else null. Absent: it is none. */
  cappedHead?(): CappedHead | null;
  /** Default false. See `engine.checkpoint`. */
  gradientCheckpointing: Checkpointing;
}

/** One layer of a decoder: [B, T, hidden] -> [B, T, hidden]. */
export interface DecoderLayerLike extends Module {
  forward(x: Tensor, context: AttentionContext): Tensor;
}

/** The modules of a {@link DecoderLayer}. */
export interface DecoderLayerParts {
  readonly attention: AttentionLike;
  readonly mlp: MlpLike;
  readonly norm: () => NormLike;
}

/** x + attention(norm(x)), then + mlp(norm(.)): the pre-norm layer of Llama and its relatives. */
export class DecoderLayer extends Module implements DecoderLayerLike {
  constructor({ attention, mlp, norm }: DecoderLayerParts) {
    super();
    this.addChild('self_attn', attention);
    this.addChild('mlp', mlp);
    this.addChild('input_layernorm', norm());
    this.addChild('post_attention_layernorm', norm());
  }

  forward(x: Tensor, context: AttentionContext): Tensor {
    const normed = this.child<NormLike>('input_layernorm').forward(x);
    const attention = this.child<AttentionLike>('self_attn').forward(normed, context);
    const norm = this.child<NormLike>('post_attention_layernorm');
    const [attended, between] = addThenNorm(x, attention, norm);
    return attended.add(this.child<MlpLike>('mlp').forward(between));
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

/** A decoder below its output layer. */
export interface DecoderBody extends Module {
  gradientCheckpointing: Checkpointing;
  /** Read it each time: an adapter may have taken its place. */
  readonly embedding: EmbeddingLike;
  /** [B, T, hidden], after the final norm; [B, V + T, hidden] with virtual embeddings. */
  forward(input: DecoderInput): Tensor;
}

/**
 * What the layers of a decoder begin with, [B, T, hidden]: embeddings of the tokens, virtual ones
 * before them.
 */
export function embedded(embedding: EmbeddingLike, { inputIds, virtual }: DecoderInput): Tensor {
  const tokens = embedding.forward(inputIds);
  return virtual?.embeddings ? before(virtual.embeddings, tokens) : tokens;
}

/** Embedding, layers, final norm, under the names that Llama's checkpoints have below `model`. */
export class Decoder extends Module implements DecoderBody {
  gradientCheckpointing: Checkpointing = false;

  constructor(parts: { embedding: EmbeddingLike; layers: DecoderLayerLike[]; norm: NormLike }) {
    super();
    this.addChild('embed_tokens', parts.embedding);
    this.addChild('layers', new ModuleList(parts.layers));
    this.addChild('norm', parts.norm);
  }

  get embedding(): EmbeddingLike {
    return this.child<EmbeddingLike>('embed_tokens');
  }

  forward(input: DecoderInput): Tensor {
    const x = embedded(this.embedding, input); // [B, T, hidden]
    const layers = this.child<ModuleList<DecoderLayerLike>>('layers');
    const hidden = runLayers(layers, x, input, this.gradientCheckpointing);
    return this.child<NormLike>('norm').forward(hidden);
  }
}

/**
 * One layer after the other, each in a scope of its own; with `checkpointing` in pieces that are
 * computed again.
 */
export function runLayers(
  layers: Iterable<DecoderLayerLike>,
  x: Tensor,
  input: DecoderInput,
  checkpointing: Checkpointing,
): Tensor {
  const { positions, segments, cache, virtual: tokens } = input;
  const virtual = tokens?.layers ?? null;
  const width = (cache?.length ?? 0) + (virtual ? tokens!.count : 0) + x.shape[1]!;
  const { length = width } = input;
  let hidden = x;
  // A cache that a layer appends to would be appended to twice.
  if (!checkpointing || cache) {
    const context = { positions, segments, cache, virtual, length };
    const run = (layer: DecoderLayerLike) => layer.forward(hidden, context);
    for (const layer of layers) hidden = x.engine.scope('layer', run, layer);
    return hidden;
  }
  const all = [...layers];
  const span = Number(checkpointing);
  for (let first = 0; first < all.length; first += span)
    hidden = checkpointed(all.slice(first, first + span), first, hidden, { ...input, length });
  return hidden;
}

function checkpointed(
  layers: readonly DecoderLayerLike[],
  first: number,
  x: Tensor,
  input: DecoderInput,
): Tensor {
  const { positions, segments, virtual: tokens } = input;
  // Gradients pass to inputs alone.
  const own = tokens?.layers?.slice(first, first + layers.length) ?? [];
  const inputs = [x, positions, ...own.flatMap(({ keys, values }) => [keys, values])];
  return x.engine.checkpoint(segments ? [...inputs, segments] : inputs, (held) => {
    const virtual: KeyValues[] = [];
    own.forEach((_, i) => {
      virtual[first + i] = { keys: held[2 + 2 * i]!, values: held[3 + 2 * i]! };
    });
    const again: DecoderInput = {
      ...input,
      positions: held[1]!,
      segments: segments ? held.at(-1)! : null,
      virtual: tokens?.layers ? { count: tokens.count, layers: virtual } : null,
    };
    return runLayers(layers, held[0]!, again, false);
  });
}

/** Options of {@link DecoderWithHead}. */
export interface DecoderWithHeadOptions {
  /** The body's name: the first part of its tensors' names in checkpoints. Default "model". */
  readonly bodyName?: string;
  readonly hiddenSize: number;
  readonly vocabSize: number;
  readonly dtype: DType;
  /** The output layer reads the embedding's weight; there is then no `lm_head`. */
  readonly tieWordEmbeddings: boolean;
  /** false: no `lm_head` is made; for a body that gets another head. Default true. */
  readonly outputHead?: boolean | undefined;
  /**
   * c tanh(logits / c) in place of the logits (Gemma 2, arXiv:2408.00118). Default 0: as they are.
   */
  readonly logitSoftcap?: number;
  /** Device memory beside the parameters, disposed with the model: tables of rotary embeddings. */
  readonly owned?: readonly { dispose(): void }[];
}

/** A body as one tower of several: the others are not there. */
class Nest extends Module {
  constructor(
    private readonly name: string,
    body: DecoderBody,
  ) {
    super();
    this.addChild(name, body);
  }

  get content(): DecoderBody {
    return this.child<DecoderBody>(this.name);
  }
}

/** A body and its output layer: `lm_head`, or the embedding once more. */
export class DecoderWithHead extends Module implements CausalDecoder {
  readonly #options: Required<Omit<DecoderWithHeadOptions, 'outputHead' | 'dtype'>>;

  constructor(engine: Engine, body: DecoderBody, options: DecoderWithHeadOptions) {
    super();
    this.#options = { bodyName: 'model', logitSoftcap: 0, owned: [], ...options };
    this.addChild(this.#options.bodyName, body);
    const { hiddenSize, vocabSize, dtype, tieWordEmbeddings, outputHead = true } = options;
    if (outputHead && !tieWordEmbeddings)
      this.addChild(
        'lm_head',
        new Linear(engine, { inFeatures: hiddenSize, outFeatures: vocabSize, dtype }),
      );
  }

  get body(): DecoderBody {
    const body = this.child(this.#options.bodyName);
    return body instanceof Nest ? body.content : (body as DecoderBody);
  }

  /**
   * Puts the body one level deeper, under `name` within `model`: where it is one tower of several.
   *
   * @returns false: its names do not begin with `model`
   */
  nestBody(name: string): boolean {
    const { bodyName } = this.#options;
    if (bodyName !== 'model') return false;
    this.replaceSubmodule(bodyName, new Nest(name, this.body));
    return true;
  }

  hiddenStates(input: DecoderInput): Tensor {
    return this.body.forward(input);
  }

  head(hidden: Tensor): Tensor {
    const { logitSoftcap: cap } = this.#options;
    const logits = this.#logits(hidden);
    return cap > 0
      ? logits
          .mul(1 / cap)
          .tanh()
          .mul(cap)
      : logits;
  }

  #logits(hidden: Tensor): Tensor {
    if (!this.#options.tieWordEmbeddings) return this.child<LinearLike>('lm_head').forward(hidden);
    return matmul(hidden, this.body.embedding.weight.tensor, { transposeB: true });
  }

  headWeight(): Tensor | null {
    return this.#options.logitSoftcap > 0 ? null : this.#plainWeight();
  }

  cappedHead(): CappedHead | null {
    const { logitSoftcap: softcap } = this.#options;
    const weight = softcap > 0 ? this.#plainWeight() : null;
    return weight && { weight, softcap };
  }

  #plainWeight(): Tensor | null {
    if (this.#options.tieWordEmbeddings) return this.body.embedding.weight.tensor;
    const head = this.child<LinearLike>('lm_head');
    return isLinear(head) && !head.bias ? head.weight.tensor : null;
  }

  get gradientCheckpointing(): Checkpointing {
    return this.body.gradientCheckpointing;
  }

  set gradientCheckpointing(value: Checkpointing) {
    this.body.gradientCheckpointing = value;
  }

  override dispose(): void {
    super.dispose();
    for (const one of this.#options.owned) one.dispose();
  }
}
