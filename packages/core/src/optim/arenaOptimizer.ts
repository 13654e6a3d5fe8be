import { z } from 'zod';
import type { Engine } from '../tensor/engine.js';
import { concat } from '../tensor/ops/movement.js';
import { clipFactor, sumSquares } from '../tensor/ops/optimizer.js';
import { numel } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import type { OptionsInput } from '../util/options.js';
import { type ArenaChunk, ParameterArena } from './arena.js';
import type { Optimizer, ReadState, StateTensor } from './optimizer.js';
import type { ParameterGroup } from './parameterGroups.js';
import { asWords, checkedState } from './savedState.js';

/** A run of parameters that one dispatch may update, with the settings of their group. */
export interface OptimizerChunk extends ArenaChunk {
  readonly weightDecay: number;
}

/** The numbers of an update. `lr` is that of the chunk's group. */
export interface UpdateStep {
  readonly lr: number;
  /** Updates with this one: 1 for the first. */
  readonly step: number;
  /** [norm, coefficient, finite], see `ops.clipFactor`. */
  readonly clip: Tensor;
}

/** A part of a chunk's state that belongs to one parameter, as a checkpoint names it. */
export interface StateArray {
  readonly name: string;
  readonly dtype: 'float32' | 'U8';
  readonly shape: readonly number[];
  /** The tensor that it lies in; a U8 array lies in uint32 words, four to a word. */
  readonly flat: Tensor;
  /** Where it starts in `flat`. */
  readonly byteOffset: number;
}

/** What makes one optimizer different from another: the state of a chunk, and its update. */
export interface UpdateRule<State> {
  /** Elements that share something (a scale): no two parameters may. Default 1. */
  readonly block?: number;
  init(engine: Engine, chunk: OptimizerChunk): State;
  /** Records the update; the device skips it where `clip` says that the norm is not finite. */
  update(chunk: OptimizerChunk, state: State, step: UpdateStep): void;
  /** The tensors of a chunk's state, to be freed. */
  tensors(state: State): readonly Tensor[];
  /** What a checkpoint holds of it. */
  arrays(chunk: OptimizerChunk, state: State): readonly StateArray[];
}

/** What every optimizer of arenas takes. */
export const arenaShape = {
  /** Largest flat tensor in bytes. Default 64 MiB, or what the device binds if that is less. */
  maxChunkBytes: z.number().positive().optional().meta({ aka: 'chunkbytes' }),
};

/** Options of an {@link ArenaOptimizer}. */
export type ArenaOptions = OptionsInput<typeof arenaShape>;

/**
 * What all optimizers share: parameters moved into flat float32 arenas, a set for each group, with
 * gradients and state beside them, so that an update is a dispatch for each 64 MiB; the gradient
 * norm; state into a checkpoint and back.
 *
 * Two things differ from torch. A parameter that no loss of the step reached has gradient zero here
 * (its moments decay on); torch leaves it out. And an update that the device skips, because the
 * gradient norm was not finite, still counts as a step: the host does not wait to learn of it.
 */
export class ArenaOptimizer<State> implements Optimizer {
  readonly #arenas: ParameterArena[] = [];
  readonly #chunks: { chunk: OptimizerChunk; state: State; lrScale: number }[] = [];
  #step = 0;

  /** @throws OPTIMIZER_DTYPE, OPTIMIZER_EMPTY */
  constructor(
    private readonly engine: Engine,
    groups: readonly ParameterGroup[],
    private readonly rule: UpdateRule<State>,
    { maxChunkBytes }: ArenaOptions = {},
  ) {
    if (groups.every((group) => group.parameters.length === 0))
      throw new AttuneError('OPTIMIZER_EMPTY', 'there is no trainable parameter.', {
        remedy: 'Pass a peftConfig, or set `parameter.trainable = true` on what should learn.',
      });
    for (const { parameters, weightDecay, lrScale = 1 } of groups) {
      const arena = new ParameterArena(engine, parameters, maxChunkBytes, rule.block);
      this.#arenas.push(arena);
      for (const part of arena.chunks) {
        const chunk = { ...part, weightDecay };
        this.#chunks.push({ chunk, state: rule.init(engine, chunk), lrScale });
      }
    }
  }

  get stepCount(): number {
    return this.#step;
  }

  gradients(): readonly Tensor[] {
    for (const arena of this.#arenas) arena.zeroStale();
    return this.#chunks.map(({ chunk }) => chunk.grads);
  }

  clipGradNorm(maxNorm: number, lossScale: Tensor | null = null): Tensor {
    for (const arena of this.#arenas) arena.zeroStale();
    return this.engine.noGrad(() => {
      const clip = this.engine.scope('clipGradNorm', () =>
        clipFactor(
          concat(
            this.#chunks.map(({ chunk }) => sumSquares(chunk.grads)),
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
    const step = ++this.#step;
    for (const { chunk, state, lrScale } of this.#chunks)
      this.rule.update(chunk, state, { lr: lr * lrScale, step, clip });
  }

  zeroGrad(): void {
    for (const arena of this.#arenas) arena.markStale();
  }

  exportState(): StateTensor[] {
    const { backend } = this.engine;
    return this.#arrays().map(({ name, dtype, shape, flat, byteOffset }) => ({
      name,
      dtype,
      shape,
      data: async () => {
        const first = flat.byteOffset + byteOffset;
        const size = numel(shape);
        // Devices read whole words.
        const bytes = Math.ceil((dtype === 'U8' ? size : 4 * size) / 4) * 4;
        const read = await backend.read(flat.storage.buffer, first, bytes);
        return dtype === 'U8' ? new Uint8Array(read, 0, size) : new Float32Array(read, 0, size);
      },
    }));
  }

  async importState(stepCount: number, read: ReadState): Promise<void> {
    this.#step = stepCount;
    for (const { name, dtype, shape, flat, byteOffset } of this.#arrays()) {
      const saved = await read(name);
      const { backend } = this.engine;
      const words = asWords(checkedState({ name, dtype, shape }, saved));
      backend.write(flat.storage.buffer, flat.byteOffset + byteOffset, words);
    }
  }

  #arrays(): StateArray[] {
    return this.#chunks.flatMap(({ chunk, state }) => [...this.rule.arrays(chunk, state)]);
  }

  dispose(): void {
    for (const arena of this.#arenas) arena.dispose();
    for (const { state } of this.#chunks)
      for (const tensor of this.rule.tensors(state)) tensor.dispose();
  }
}
