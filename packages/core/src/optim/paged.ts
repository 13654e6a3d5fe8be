import { z } from 'zod';
import type { Engine } from '../tensor/engine.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import { adamwRule } from './adamw.js';
import {
  ArenaOptimizer,
  type ElementwiseRule,
  type OptimizerChunk,
  type UpdateRule,
  type UpdateStep,
} from './arenaOptimizer.js';
import { defineOptimizer } from './definition.js';
import { lionRule } from './lion.js';
import type { ReadState, StateTensor } from './optimizer.js';
import type { ParameterGroup } from './parameterGroups.js';

/** Elements of a page: 4 MiB of float32. */
const PAGE = 2 ** 20;
/** Pages on the device at one time: one is updated while the one before it is read back. */
const RING = 2;

/** The state of a chunk, in host memory. */
interface HostState {
  readonly chunk: OptimizerChunk;
  /** One array as long as the chunk for each state of the rule. */
  readonly arrays: readonly Float32Array[];
}

interface PendingUpdate extends HostState {
  readonly step: UpdateStep;
}

/** A place for one page of state on the device. */
interface Slot {
  readonly tensors: readonly Tensor[];
  /** Resolves when what was in it is back in host memory. */
  busy: Promise<unknown>;
}

/**
 * An optimizer whose state lies in host memory. `step` notes what is to be done; `settle` does it, page
 * by page: upload the state, update, read the state back, through two pages on the device. Weights and
 * gradients stay there. Every number is that of the optimizer without paging.
 *
 * These are the only read-backs of training besides logs: 4 bytes for each number of state and update,
 * and a wait for the device in each update. bitsandbytes pages through CUDA's unified memory instead, when memory runs
 * out; WebGPU has none, so the state is always on the host.
 *
 * @see Dettmers et al. 2023 (QLoRA), https://arxiv.org/abs/2305.14314, section 3
 */
export class PagedOptimizer extends ArenaOptimizer<HostState> {
  readonly #rule: ElementwiseRule;
  readonly #states: readonly HostState[];
  readonly #pending: PendingUpdate[];
  readonly #ring: readonly Slot[];
  readonly #device: Engine;

  /** @throws OPTIMIZER_DTYPE, OPTIMIZER_EMPTY */
  constructor(
    engine: Engine,
    groups: readonly ParameterGroup[],
    rule: ElementwiseRule,
    pageElements: number = PAGE,
  ) {
    const states: HostState[] = [];
    const pending: PendingUpdate[] = [];
    super(engine, groups, onHost(rule, states, pending));
    this.#device = engine;
    this.#rule = rule;
    this.#states = states;
    this.#pending = pending;
    const longest = Math.max(...states.map(({ chunk }) => chunk.length));
    const length = Math.min(longest, Math.ceil(pageElements / 64) * 64);
    this.#ring = Array.from({ length: RING }, () => ({
      tensors: rule.names.map(() => engine.keep(engine.zeros([length]))),
      busy: Promise.resolve(),
    }));
  }

  /** Does what `step` noted: a wait for the device. */
  async settle(): Promise<void> {
    let turn = 0;
    for (const update of this.#pending.splice(0))
      for (let at = 0; at < update.chunk.length; at += this.#pageLength) {
        const slot = this.#ring[turn++ % RING]!;
        await slot.busy;
        this.#updatePage(slot, update, at);
      }
    await Promise.all(this.#ring.map(({ busy }) => busy));
  }

  get #pageLength(): number {
    return this.#ring[0]!.tensors[0]!.size;
  }

  #updatePage(slot: Slot, { chunk, arrays, step }: PendingUpdate, at: number): void {
    const engine = this.#device;
    const { backend } = engine;
    const length = Math.min(this.#pageLength, chunk.length - at);
    slot.tensors.forEach(({ storage, byteOffset }, i) => {
      backend.write(storage.buffer, byteOffset, arrays[i]!.subarray(at, at + length));
    });
    engine.scope('page', () => {
      const part = (flat: Tensor, from: number) => engine.window(flat, from, [length]);
      const page = {
        ...chunk,
        length,
        values: part(chunk.values, at),
        grads: part(chunk.grads, at),
      };
      this.#rule.update(
        page,
        slot.tensors.map((tensor) => part(tensor, 0)),
        step,
      );
    });
    slot.busy = Promise.all(
      slot.tensors.map(async ({ storage, byteOffset }, i) => {
        const bytes = await backend.read(storage.buffer, byteOffset, 4 * length);
        arrays[i]!.set(new Float32Array(bytes), at);
      }),
    );
    slot.busy.catch(() => undefined); // awaited when its turn comes
  }

  override exportState(): StateTensor[] {
    return this.#slots().map(({ name, shape, values }) => ({
      name,
      dtype: 'float32',
      shape,
      data: async () => values,
    }));
  }

  override async importState(stepCount: number, read: ReadState): Promise<void> {
    await super.importState(stepCount, read);
    for (const { name, values } of this.#slots()) {
      const saved = await read(name);
      if (!(saved instanceof Float32Array) || saved.length !== values.length)
        throw new AttuneError(
          'OPTIMIZER_STATE',
          `the saved optimizer state has ${saved ? `${saved.length} numbers` : 'nothing'} for "${name}"; expected float32 [${values.length}].`,
          { remedy: 'Resume with the model, peftConfig, optim and freezing of the saved run.' },
        );
      values.set(saved);
    }
  }

  /** The parts of the host arrays that belong to parameters, as `exp_avg.<parameter>`. */
  #slots() {
    return this.#states.flatMap(({ chunk, arrays }) =>
      chunk.slots.flatMap(({ name, parameter, offset }) =>
        this.#rule.names.map((kind, i) => ({
          name: `${kind}.${name}`,
          shape: parameter.shape,
          values: arrays[i]!.subarray(offset, offset + parameter.size),
        })),
      ),
    );
  }

  override dispose(): void {
    super.dispose();
    for (const { tensors } of this.#ring) for (const tensor of tensors) tensor.dispose();
  }
}

/** The rule with its state in host memory, and its updates put off. */
const onHost = (
  rule: ElementwiseRule,
  states: HostState[],
  pending: PendingUpdate[],
): UpdateRule<HostState> => ({
  init: (_engine, chunk) => {
    const state = { chunk, arrays: rule.names.map(() => new Float32Array(chunk.length)) };
    states.push(state);
    return state;
  },
  update: (_chunk, state, step) => void pending.push({ ...state, step }),
  tensors: () => [],
  arrays: () => [],
});

/** `optim: "paged_adamw_32bit"`: "adamw_torch" with its moments in host memory. */
export const pagedAdamwDefinition = defineOptimizer({
  name: 'paged_adamw_32bit',
  options: z.strictObject({}),
  stateBytes: () => 0,
  create: (engine, groups, { adamBeta1, adamBeta2, adamEpsilon }) =>
    new PagedOptimizer(
      engine,
      groups,
      adamwRule({ beta1: adamBeta1, beta2: adamBeta2, eps: adamEpsilon }),
    ),
});

/** `optim: "paged_lion_32bit"`: "lion_32bit" with its moment in host memory. */
export const pagedLionDefinition = defineOptimizer({
  name: 'paged_lion_32bit',
  options: z.strictObject({}),
  stateBytes: () => 0,
  create: (engine, groups, { adamBeta1, adamBeta2 }) =>
    new PagedOptimizer(engine, groups, lionRule({ beta1: adamBeta1, beta2: adamBeta2 })),
});
