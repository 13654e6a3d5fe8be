import type { Engine } from '../tensor/engine.js';
import { concat } from '../tensor/ops/movement.js';
import { adamw, clipFactor, sumSquares } from '../tensor/ops/optimizer.js';
import { formatShape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import { type ArenaChunk, ParameterArena } from './arena.js';
import type { Optimizer, ReadState, StateTensor } from './optimizer.js';
import type { ParameterGroup } from './parameterGroups.js';

export interface AdamWOptions {
  /** Decay rate of the first moment. Default 0.9. */
  readonly beta1?: number;
  /** Decay rate of the second moment. Default 0.999. */
  readonly beta2?: number;
  /** Added to the root of the second moment. Default 1e-8. */
  readonly eps?: number;
  /** Largest flat tensor in bytes. Default 64 MiB, or what the device binds if that is less. */
  readonly maxChunkBytes?: number;
}

interface Chunk extends ArenaChunk {
  readonly weightDecay: number;
  readonly first: Tensor;
  readonly second: Tensor;
}

/** Adam's two states under torch's names. */
const moments = (first: Tensor, second: Tensor) =>
  [
    ['exp_avg', first],
    ['exp_avg_sq', second],
  ] as const;

/**
 * AdamW (Loshchilov and Hutter, arXiv:1711.05101), as torch.optim.AdamW:
 *
 *     p *= 1 - lr wd;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
 *     p -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)
 *
 * Parameters move into flat float32 arenas, one set for each group; gradients and both moments lie
 * beside them, so a step is one fused dispatch for each 64 MiB.
 *
 * Two things differ from torch. A parameter that no loss of the step reached has gradient zero here
 * (its moments decay on); torch leaves it out. And an update that the device skips, because the
 * gradient norm was not finite, still counts in t: the host does not wait to learn of it.
 */
export class AdamW implements Optimizer {
  readonly #chunks: Chunk[] = [];
  readonly #arenas: ParameterArena[] = [];
  readonly #beta1: number;
  readonly #beta2: number;
  readonly #eps: number;
  #step = 0;

  /** @throws OPTIMIZER_DTYPE, OPTIMIZER_EMPTY */
  constructor(
    private readonly engine: Engine,
    groups: readonly ParameterGroup[],
    options: AdamWOptions = {},
  ) {
    this.#beta1 = options.beta1 ?? 0.9;
    this.#beta2 = options.beta2 ?? 0.999;
    this.#eps = options.eps ?? 1e-8;
    if (groups.every((group) => group.parameters.length === 0))
      throw new AttuneError('OPTIMIZER_EMPTY', 'there is no trainable parameter.', {
        remedy: 'Pass a peftConfig, or set `parameter.trainable = true` on what should learn.',
      });
    for (const { parameters, weightDecay } of groups) {
      const arena = new ParameterArena(engine, parameters, options.maxChunkBytes);
      this.#arenas.push(arena);
      for (const chunk of arena.chunks)
        this.#chunks.push({
          ...chunk,
          weightDecay,
          first: engine.keep(engine.zeros([chunk.length])),
          second: engine.keep(engine.zeros([chunk.length])),
        });
    }
  }

  get stepCount(): number {
    return this.#step;
  }

  clipGradNorm(maxNorm: number, lossScale: Tensor | null = null): Tensor {
    for (const arena of this.#arenas) arena.zeroStale();
    return this.engine.noGrad(() => {
      const clip = this.engine.scope('clipGradNorm', () =>
        clipFactor(
          concat(
            this.#chunks.map((chunk) => sumSquares(chunk.grads)),
            0,
          ),
          maxNorm,
          lossScale,
        ),
      );
      return this.engine.keep(clip);
    });
  }

  step({ lr, clip }: { readonly lr: number; readonly clip: Tensor }): void {
    this.#step++;
    for (const { values, grads, first, second, weightDecay } of this.#chunks)
      adamw({ parameter: values, first, second }, grads, clip, {
        lr,
        beta1: this.#beta1,
        beta2: this.#beta2,
        eps: this.#eps,
        weightDecay,
        biasCorrection1: 1 - this.#beta1 ** this.#step,
        biasCorrection2: 1 - this.#beta2 ** this.#step,
      });
  }

  zeroGrad(): void {
    for (const arena of this.#arenas) arena.markStale();
  }

  exportState(): StateTensor[] {
    return this.#chunks.flatMap(({ slots, first, second }) =>
      slots.flatMap(({ name, parameter, offset }) =>
        moments(first, second).map(([kind, flat]) => ({
          name: `${kind}.${name}`,
          dtype: 'float32' as const,
          shape: parameter.shape,
          data: async () => {
            const window = this.engine.window(flat, offset, [parameter.size]);
            try {
              return (await window.data()) as Float32Array;
            } finally {
              window.dispose();
            }
          },
        })),
      ),
    );
  }

  async importState(stepCount: number, read: ReadState): Promise<void> {
    this.#step = stepCount;
    for (const { slots, length, first, second } of this.#chunks)
      for (const [kind, flat] of moments(first, second)) {
        const values = new Float32Array(length);
        for (const { name, parameter, offset } of slots) {
          const saved = await read(`${kind}.${name}`);
          if (saved?.length !== parameter.size)
            throw new AttuneError(
              'OPTIMIZER_STATE',
              `the saved optimizer state has ${saved ? `${saved.length} numbers` : 'nothing'} for "${kind}.${name}"; the model's parameter is ${formatShape(parameter.shape)}.`,
              { remedy: 'Resume with the model, peftConfig and freezing of the saved run.' },
            );
          values.set(saved, offset);
        }
        this.engine.backend.write(flat.storage.buffer, flat.byteOffset, values);
      }
  }

  dispose(): void {
    for (const arena of this.#arenas) arena.dispose();
    for (const { first, second } of this.#chunks) {
      first.dispose();
      second.dispose();
    }
  }
}
