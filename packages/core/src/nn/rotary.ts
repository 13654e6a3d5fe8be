import type { Engine } from '../tensor/engine.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';

/** How the frequencies of rotary embeddings are made; `type` as in Hugging Face's `rope_type`. */
export type RopeScaling =
  | { readonly type: 'default' }
  | { readonly type: 'linear'; readonly factor: number }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositionEmbeddings: number;
    };

export interface RotaryOptions {
  /** Features of a head; all of them turn. Even. */
  readonly headDim: number;
  /** Base of the frequencies: `rope_theta`. */
  readonly theta: number;
  readonly scaling: RopeScaling;
  /** Positions 0 .. maxPositions-1 get a row. */
  readonly maxPositions: number;
}

/**
 * The tables cos and sin [positions, headDim/2] of rotary embeddings.
 *
 * Not parameters: no checkpoint holds them. Their owner disposes them.
 */
export class RotaryTables {
  readonly cos: Tensor;
  readonly sin: Tensor;

  constructor(engine: Engine, options: RotaryOptions) {
    const { cos, sin } = rotaryAngles(options);
    const shape = [options.maxPositions, options.headDim / 2];
    this.cos = engine.keep(engine.tensor(cos, shape));
    this.sin = engine.keep(engine.tensor(sin, shape));
  }

  dispose(): void {
    this.cos.dispose();
    this.sin.dispose();
  }
}

/** cos and sin of position * frequency, float32, row by row. */
export function rotaryAngles(options: RotaryOptions): { cos: Float32Array; sin: Float32Array } {
  const frequencies = inverseFrequencies(options);
  const half = frequencies.length;
  const cos = new Float32Array(options.maxPositions * half);
  const sin = new Float32Array(options.maxPositions * half);
  for (let position = 0; position < options.maxPositions; position++)
    for (let i = 0; i < half; i++) {
      // The product is rounded to float32 before the cosine, as torch does: at position 10,000 that
      // is visible in the fourth digit, and checkpoints were trained with it.
      const angle = Math.fround(position * frequencies[i]!);
      cos[position * half + i] = Math.cos(angle);
      sin[position * half + i] = Math.sin(angle);
    }
  return { cos, sin };
}

/**
 * 1 / theta^(2i/D), then scaled; float32 after every step, as transformers' modeling_rope_utils.py.
 *
 * @throws ROPE_HEAD_DIM
 */
export function inverseFrequencies({ headDim, theta, scaling }: RotaryOptions): Float32Array {
  if (headDim % 2 !== 0)
    throw new AttuneError(
      'ROPE_HEAD_DIM',
      `rotary embeddings turn pairs of features; head_dim is ${headDim}.`,
      { remedy: 'Use an even head_dim (hidden_size / num_attention_heads).' },
    );
  const base = Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const power = Math.fround(theta ** Math.fround((2 * i) / headDim));
    return 1 / power;
  });
  switch (scaling.type) {
    case 'default':
      return base;
    case 'linear':
      return base.map((f) => f / scaling.factor);
    case 'llama3':
      return base.map((f) => llama3Frequency(f, scaling));
  }
}

/** Long waves are stretched by `factor`, short ones stay, the ones between are blended. */
function llama3Frequency(
  frequency: number,
  scaling: Extract<RopeScaling, { type: 'llama3' }>,
): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings: old } = scaling;
  const wavelength = Math.fround((2 * Math.PI) / frequency);
  if (wavelength > old / lowFreqFactor) return frequency / factor;
  if (wavelength < old / highFreqFactor) return frequency;
  const turns = Math.fround(old / wavelength);
  const smooth = Math.fround((turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor));
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}
