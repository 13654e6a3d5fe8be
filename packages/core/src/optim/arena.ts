import type { Parameter } from '../nn/module.js';
import type { Engine } from '../tensor/engine.js';
import { assign, fill } from '../tensor/ops/update.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';

/** A parameter under its dotted checkpoint name. */
export interface NamedParameter {
  readonly name: string;
  readonly parameter: Parameter;
  /** Whether it is a table of embeddings, whose rows see few gradients each. Default false. */
  readonly isEmbedding?: boolean;
}

/** Where a parameter lies in its chunk; `offset` in elements. */
export interface Slot extends NamedParameter {
  readonly offset: number;
}

/** A run of parameters in one flat tensor, with their gradients in another of the same layout. */
export interface ArenaChunk {
  readonly slots: readonly Slot[];
  /** Elements, padding between parameters included. */
  readonly length: number;
  /** `[length]`: the weights. */
  readonly values: Tensor;
  /** `[length]`: their gradients; zero in the padding, so that norms are right. */
  readonly grads: Tensor;
}

/**
 * A window starts at a multiple of 64 float32 elements: 256 bytes, WebGPU's largest offset
 * alignment.
 */
const ALIGNMENT = 64;
/** One optimizer dispatch covers at most this much, whatever the device could bind. */
const MAX_CHUNK_BYTES = 64 * 2 ** 20;

/**
 * Parameters moved into a few flat tensors, so that an optimizer step is one dispatch for each
 * chunk instead of one for each parameter. The parameters become windows of the chunk; so do their
 * gradients, into which `engine.backward` writes.
 *
 * A chunk holds at most 64 MiB (or what the device binds, if that is less); a larger parameter has
 * a chunk of its own.
 */
export class ParameterArena {
  readonly chunks: readonly ArenaChunk[];

  /** @throws OPTIMIZER_DTYPE when a parameter is not float32 */
  constructor(
    private readonly engine: Engine,
    parameters: readonly NamedParameter[],
    maxChunkBytes: number = MAX_CHUNK_BYTES,
    /**
     * Elements that no two parameters share: each parameter starts with a block, a chunk is whole
     * blocks.
     */
    private readonly block = 1,
  ) {
    for (const { name, parameter } of parameters)
      if (parameter.dtype !== 'float32')
        throw new AttuneError(
          'OPTIMIZER_DTYPE',
          `"${name}" is trainable and stored as ${parameter.dtype}; small updates would be rounded away.`,
          {
            remedy:
              'Load the model with dtype "float32", or freeze this parameter and train an adapter (peftConfig).',
          },
        );
    const maxElements = Math.min(engine.bindingBytes, maxChunkBytes) / 4;
    this.chunks = layOut(parameters, maxElements, Math.max(block, ALIGNMENT)).map((slots) =>
      this.#move(slots),
    );
  }

  #move(slots: readonly Slot[]): ArenaChunk {
    const last = slots.at(-1)!;
    const length = roundUp(last.offset + last.parameter.size, this.block);
    const values = this.engine.keep(this.engine.zeros([length]));
    const grads = this.engine.keep(this.engine.zeros([length]));
    for (const { parameter, offset } of slots) {
      this.engine.noGrad(() =>
        this.engine.scope('move', () => {
          const window = this.engine.window(values, offset, parameter.shape);
          assign(window, parameter.tensor); // from host memory, if it lay there
          parameter.replace(window);
        }),
      );
      parameter.tensor.grad = this.engine.keep(this.engine.window(grads, offset, parameter.shape));
      parameter.tensor.gradIsStale = true;
    }
    return { slots, length, values, grads };
  }

  /** The next backward overwrites every gradient. */
  markStale(): void {
    this.#checkAttached();
    for (const { parameter } of this.#slots()) parameter.tensor.gradIsStale = true;
  }

  /** A parameter that this step's losses did not reach counts as one with gradient zero. */
  zeroStale(): void {
    this.#checkAttached();
    for (const { parameter } of this.#slots()) {
      if (!parameter.tensor.gradIsStale) continue;
      fill(parameter.tensor.grad!, 0);
      parameter.tensor.gradIsStale = false;
    }
  }

  *#slots(): Generator<Slot> {
    for (const chunk of this.chunks) yield* chunk.slots;
  }

  /** Weights exchanged behind the optimizer's back would silently stop training. */
  #checkAttached(): void {
    for (const chunk of this.chunks)
      for (const { name, parameter } of chunk.slots) {
        const { tensor } = parameter;
        const attached =
          !tensor.isDisposed &&
          tensor.storage === chunk.values.storage &&
          tensor.grad?.storage === chunk.grads.storage;
        if (!attached)
          throw new AttuneError(
            'OPTIMIZER_DETACHED',
            `"${name}" was replaced, frozen or freed after the optimizer took it over.`,
            {
              remedy:
                'Change a model (merge, unload, freeze, load weights) before or after training, not from a callback during it.',
            },
          );
      }
  }

  /** Frees the gradients. The parameters keep living in the chunks. */
  dispose(): void {
    for (const chunk of this.chunks) {
      for (const { parameter } of chunk.slots)
        if (parameter.tensor.grad?.storage === chunk.grads.storage) parameter.clearGrad();
      chunk.grads.dispose();
      chunk.values.dispose();
    }
  }
}

const roundUp = (n: number, unit: number): number => Math.ceil(n / unit) * unit;

function layOut(
  parameters: readonly NamedParameter[],
  maxElements: number,
  alignment: number,
): Slot[][] {
  const chunks: Slot[][] = [];
  let end = 0;
  for (const named of parameters) {
    const { parameter } = named;
    if (parameter.size === 0) continue;
    const offset = roundUp(end, alignment);
    if (chunks.length === 0 || offset + parameter.size > maxElements) {
      chunks.push([{ ...named, offset: 0 }]);
      end = parameter.size;
    } else {
      chunks.at(-1)!.push({ ...named, offset });
      end = offset + parameter.size;
    }
  }
  return chunks;
}
