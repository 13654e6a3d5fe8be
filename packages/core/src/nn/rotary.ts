import type { Backend } from '../backend/backend.js';
import type { Engine } from '../tensor/engine.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import { type RopeScaling, scaledFrequencies } from './ropeScaling.js';

export type { RopeScaling } from './ropeScaling.js';

/** Sizes and frequencies of rotary embeddings. */
export interface RotaryOptions {
  /** Features of a head that turn: all of them, or the first (`partial_rotary_factor`). Even. */
  readonly headDim: number;
  /** Base of the frequencies: `rope_theta`. */
  readonly theta: number;
  readonly scaling: RopeScaling;
  /** Positions 0 .. maxPositions-1 get a row. */
  readonly maxPositions: number;
}

/** cos and sin, [positions, headDim/2]. */
interface Tables {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

interface Held extends Tables {
  /** Where they lie: the device, or what counts memory in its place (`engine.rehearse`). */
  readonly backend: Backend;
}

/** Numbers in both tables at most: 2 million positions of 128 features, 1 GiB. */
const MAX_TABLE = 2 ** 28;

/**
 * The tables cos and sin [positions, headDim/2] of rotary embeddings.
 *
 * Not parameters: no checkpoint holds them. Their owner disposes them.
 */
export class RotaryTables {
  /**
   * By the length that their frequencies belong to; most scalings have one set for every length.
   */
  readonly #tables = new Map<number, Held>();
  readonly #device: Backend;

  constructor(
    private readonly engine: Engine,
    private readonly options: RotaryOptions,
  ) {
    this.#device = engine.backend;
    const { maxPositions, headDim } = options;
    if (maxPositions * headDim > MAX_TABLE)
      throw new AttuneError(
        'CONFIG_INVALID',
        `max_position_embeddings is ${maxPositions}: tables of the rotary embeddings for so many positions of ${headDim} features do not fit into memory.`,
        {
          remedy: `Set it to the longest text that you need; at most ${Math.floor(MAX_TABLE / headDim)}.`,
        },
      );
    this.at(1);
  }

  /** The tables for a sequence of `length` tokens. */
  at(length: number): Tables {
    const { engine, options } = this;
    const { backend } = engine;
    const key = lengthClass(options.scaling, length);
    const found = this.#tables.get(key);
    if (found && (found.backend === backend || found.backend === this.#device)) return found;
    // What a rehearsal left has no contents.
    if (found) this.#drop(key);
    // A growing sequence (dynamic) would leave a set behind with each token; that of short ones
    // stays.
    if (options.scaling.type === 'dynamic')
      for (const old of [...this.#tables.keys()]) if (old > 0) this.#drop(old);
    const { cos, sin } = rotaryAngles(options, length);
    const shape = [options.maxPositions, options.headDim / 2];
    const made = {
      cos: engine.keep(engine.tensor(cos, shape)),
      sin: engine.keep(engine.tensor(sin, shape)),
      backend,
    };
    this.#tables.set(key, made);
    return made;
  }

  dispose(): void {
    for (const key of [...this.#tables.keys()]) this.#drop(key);
  }

  #drop(key: number): void {
    this.#tables.get(key)?.cos.dispose();
    this.#tables.get(key)?.sin.dispose();
    this.#tables.delete(key);
  }
}

/** Lengths with one number share their frequencies; 0 is that of a short sequence. */
function lengthClass(scaling: RopeScaling, length: number): number {
  if (scaling.type !== 'dynamic' && scaling.type !== 'longrope') return 0;
  if (length <= scaling.originalMaxPositionEmbeddings) return 0;
  return scaling.type === 'dynamic' ? length : 1;
}

/**
 * cos and sin of position * frequency, times the attention factor; float32, row by row.
 *
 * @param length of the sequence, for scalings that follow it. Default: a short one
 */
export function rotaryAngles(
  options: RotaryOptions,
  length = 1,
): { cos: Float32Array; sin: Float32Array } {
  const frequencies = inverseFrequencies(options, length);
  const { scaling } = options;
  const factor = 'attentionFactor' in scaling ? scaling.attentionFactor : 1;
  const half = frequencies.length;
  const cos = new Float32Array(options.maxPositions * half);
  const sin = new Float32Array(options.maxPositions * half);
  for (let position = 0; position < options.maxPositions; position++)
    for (let i = 0; i < half; i++) {
      // The product is rounded to float32 before the cosine, as torch does: at position 10,000 that
      // is visible in the fourth digit, and checkpoints were trained with it.
      const angle = Math.fround(position * frequencies[i]!);
      cos[position * half + i] = Math.cos(angle) * factor;
      sin[position * half + i] = Math.sin(angle) * factor;
    }
  return { cos, sin };
}

/**
 * 1 / theta^(2i/D), then scaled; float32 after every step, as transformers' modeling_rope_utils.py.
 *
 * @throws ROPE_HEAD_DIM
 */
export function inverseFrequencies(
  { headDim, theta, scaling }: RotaryOptions,
  length = 1,
): Float32Array {
  if (headDim % 2 !== 0 || headDim <= 0)
    throw new AttuneError(
      'ROPE_HEAD_DIM',
      `rotary embeddings turn pairs of features; head_dim is ${headDim}.`,
      { remedy: 'Use an even head_dim (hidden_size / num_attention_heads).' },
    );
  return scaledFrequencies(scaling, { features: headDim, theta, length });
}
