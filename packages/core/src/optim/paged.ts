import { z } from 'zod';
import type { Engine } from '../tensor/engine.js';
import { numel } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { adamwRule } from './adamw.js';
import {
  ArenaOptimizer,
  type OptimizerChunk,
  type UpdateRule,
  type UpdateStep,
} from './arenaOptimizer.js';
import { defineOptimizer } from './definition.js';
import { lionRule } from './lion.js';
import type { ReadState, StateTensor } from './optimizer.js';
import {
  everywhere,
  type Lane,
  laneArray,
  type PageableRule,
  type RuleChoice,
} from './pageableRule.js';
import type { ParameterGroup } from './parameterGroups.js';
import { asWords, checkedState } from './savedState.js';

/** Numbers of a page: 4 MiB of float32. */
const PAGE = 2 ** 20;
/**
 * Pages on the device at one time, at most: one is updated while the one before it is read back.
 */
const RING = 2;

/** A chunk whose state lies in host memory: an array for each lane of its rule. */
interface HostState {
  readonly rule: PageableRule<unknown>;
  readonly lanes: readonly Lane[];
  readonly arrays: readonly (Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>)[];
}

/** An update that was put off. */
interface Pending {
  readonly chunk: OptimizerChunk;
  readonly step: UpdateStep;
}

/** A place for one page of state on the device. */
interface Place {
  readonly state: unknown;
  /** Resolves when what was in it is back in host memory. */
  busy: Promise<unknown>;
}

/** The places that the chunks of one rule share. */
interface Ring {
  /** Numbers of a page. */
  readonly length: number;
  readonly places: readonly Place[];
}

/**
 * An optimizer whose state lies in host memory. `step` notes what is to be done; `settle` does it,
 * page by page: upload the state, update, read the state back, through two pages on the device.
 * Weights and gradients stay there. Every number is that of the optimizer without paging.
 *
 * These are the only read-backs of training besides logs: the bytes of the state in each update,
 * and a wait for the device. bitsandbytes pages through CUDA's unified memory instead, when memory
 * runs out; WebGPU has none, so the state is always on the host.
 *
 * @see Dettmers et al. 2023 (QLoRA), https://arxiv.org/abs/2305.14314, section 3
 */
export class PagedOptimizer extends ArenaOptimizer<null> {
  readonly #states = new Map<OptimizerChunk, HostState>();
  readonly #rings = new Map<PageableRule<unknown>, Ring>();
  readonly #pending: Pending[];
  readonly #device: Engine;

  /** @throws OPTIMIZER_DTYPE, OPTIMIZER_EMPTY */
  constructor(
    engine: Engine,
    groups: readonly ParameterGroup[],
    rules: RuleChoice,
    pageElements: number = PAGE,
  ) {
    const chunks: OptimizerChunk[] = [];
    const pending: Pending[] = [];
    super(engine, groups, putOff(rules, chunks, pending));
    this.#device = engine;
    this.#pending = pending;
    // A page starts where a window may, and at a block of the rules.
    const unit = Math.max(64, rules.block ?? 1);
    const largest = Math.ceil(pageElements / unit) * unit;
    for (const rule of new Set(chunks.map(rules.ruleOf))) {
      const own = chunks.filter((chunk) => rules.ruleOf(chunk) === rule);
      const length = Math.min(largest, Math.max(...own.map((chunk) => chunk.length)));
      const pages = own.reduce((n, chunk) => n + Math.ceil(chunk.length / length), 0);
      const places = Array.from({ length: Math.min(RING, pages) }, () => ({
        state: rule.init(engine, { length }),
        busy: Promise.resolve(),
      }));
      this.#rings.set(rule, { length, places });
      const lanes = rule.lanes(places[0]!.state, length);
      for (const chunk of own)
        this.#states.set(chunk, {
          rule,
          lanes,
          arrays: lanes.map(({ dtype, block }) =>
            dtype === 'U8'
              ? new Uint8Array(chunk.length / block)
              : new Float32Array(chunk.length / block),
          ),
        });
    }
  }

  /** Does what `step` noted: a wait for the device. */
  async settle(): Promise<void> {
    let turn = 0;
    for (const { chunk, step } of this.#pending.splice(0)) {
      const host = this.#states.get(chunk)!;
      const { length, places } = this.#rings.get(host.rule)!;
      for (let at = 0; at < chunk.length; at += length) {
        const place = places[turn++ % places.length]!;
        await place.busy;
        const values = { ...chunk, length: Math.min(length, chunk.length - at) };
        this.#updatePage(place, host, values, at, step);
      }
    }
    const places = [...this.#rings.values()].flatMap((ring) => ring.places);
    await Promise.all(places.map(({ busy }) => busy));
  }

  /** @param chunk with the page's length, and the values and gradients of the whole */
  #updatePage(
    place: Place,
    { rule, arrays }: HostState,
    chunk: OptimizerChunk,
    at: number,
    step: UpdateStep,
  ): void {
    const engine = this.#device;
    const { backend } = engine;
    const { length } = chunk;
    engine.scope('page', () => {
      const part = (flat: Tensor) => engine.window(flat, at, [length]);
      const state = rule.part(engine, place.state, length);
      const copies = rule.lanes(state, length).map(({ flat, byteOffset, block }, i) => ({
        held: arrays[i]!.subarray(at / block, (at + length) / block),
        buffer: flat.storage.buffer,
        first: flat.byteOffset + byteOffset,
      }));
      for (const { held, buffer, first } of copies) backend.write(buffer, first, asWords(held));
      rule.update({ ...chunk, values: part(chunk.values), grads: part(chunk.grads) }, state, step);
      place.busy = Promise.all(
        copies.map(async ({ held, buffer, first }) => {
          const bytes = await backend.read(buffer, first, held.byteLength);
          held.set(held instanceof Uint8Array ? new Uint8Array(bytes) : new Float32Array(bytes));
        }),
      );
    });
    place.busy.catch(() => undefined); // awaited when its turn comes
  }

  override exportState(): StateTensor[] {
    return this.#arrays().map(({ values, ...array }) => ({ ...array, data: async () => values }));
  }

  override async importState(stepCount: number, read: ReadState): Promise<void> {
    await super.importState(stepCount, read);
    for (const { values, ...array } of this.#arrays())
      values.set(checkedState(array, await read(array.name)));
  }

  /** What a checkpoint holds: the parts of the host arrays that belong to parameters. */
  #arrays() {
    return [...this.#states].flatMap(([{ slots }, { lanes, arrays }]) =>
      slots.flatMap((slot) =>
        lanes.map((lane, i) => {
          const { name, dtype, shape } = laneArray(lane, slot);
          const first = slot.offset / lane.block;
          return { name, dtype, shape, values: arrays[i]!.subarray(first, first + numel(shape)) };
        }),
      ),
    );
  }

  override dispose(): void {
    super.dispose();
    for (const [rule, { places }] of this.#rings)
      for (const { state } of places) for (const tensor of rule.tensors(state)) tensor.dispose();
  }
}

/** The rules without a state of their own, their updates put off. */
const putOff = (
  { block = 1 }: RuleChoice,
  chunks: OptimizerChunk[],
  pending: Pending[],
): UpdateRule<null> => ({
  block,
  init: (_engine, chunk) => {
    chunks.push(chunk);
    return null;
  },
  update: (chunk, _, step) => void pending.push({ chunk, step }),
  tensors: () => [],
  arrays: () => [],
});

/** `optim: "paged_adamw_32bit"`: "adamw_torch" with its moments in host memory. */
export const pagedAdamwDefinition = defineOptimizer({
  name: 'paged_adamw_32bit',
  options: z.strictObject({}),
  create: (engine, groups, { adamBeta1, adamBeta2, adamEpsilon }) =>
    new PagedOptimizer(
      engine,
      groups,
      everywhere(adamwRule({ beta1: adamBeta1, beta2: adamBeta2, eps: adamEpsilon })),
    ),
});

/** `optim: "paged_lion_32bit"`: "lion_32bit" with its moment in host memory. */
export const pagedLionDefinition = defineOptimizer({
  name: 'paged_lion_32bit',
  options: z.strictObject({}),
  create: (engine, groups, { adamBeta1, adamBeta2 }) =>
    new PagedOptimizer(
      engine,
      groups,
      everywhere(lionRule({ beta1: adamBeta1, beta2: adamBeta2 })),
    ),
});
