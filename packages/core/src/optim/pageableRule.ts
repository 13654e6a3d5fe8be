import type { Engine } from '../tensor/engine.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Slot } from './arena.js';
import type { OptimizerChunk, StateArray, UpdateRule, UpdateStep } from './arenaOptimizer.js';

/**
 * One of the arrays that a state is made of: an element for each number, or for each block of them.
 */
export interface Lane {
  /** `exp_avg`, ...: in a checkpoint `exp_avg.<parameter>`. */
  readonly kind: string;
  readonly dtype: 'float32' | 'U8';
  /** Numbers that share an element. */
  readonly block: number;
  /** The tensor that it lies in, and where it starts there. */
  readonly flat: Tensor;
  readonly byteOffset: number;
}

/**
 * What sets a pageable rule apart: a part of a chunk is updated with that part of the state alone.
 */
interface PageableState<State> {
  init(engine: Engine, chunk: Pick<OptimizerChunk, 'length'>): State;
  /** The state of `length` numbers, in windows of the state of as many or more. */
  part(engine: Engine, state: State, length: number): State;
  /** The arrays in a state of `length` numbers. */
  lanes(state: State, length: number): readonly Lane[];
}

/** A rule whose state may lie in host memory. */
export interface PageableRule<State>
  extends Omit<UpdateRule<State>, 'init'>,
    PageableState<State> {}

/** The rule, with what a checkpoint holds by its lanes. */
export const pageable = <State>(
  rule: PageableState<State> & Pick<UpdateRule<State>, 'block' | 'update' | 'tensors'>,
): PageableRule<State> => ({
  ...rule,
  arrays: ({ slots, length }, state) =>
    slots.flatMap((slot) => rule.lanes(state, length).map((lane) => laneArray(lane, slot))),
});

/** The part of a lane that belongs to one parameter. */
export const laneArray = (lane: Lane, { name, parameter, offset }: Slot): StateArray => ({
  name: `${lane.kind}.${name}`,
  dtype: lane.dtype,
  shape: lane.block === 1 ? parameter.shape : [Math.ceil(parameter.size / lane.block)],
  flat: lane.flat,
  byteOffset: lane.byteOffset + ((lane.dtype === 'U8' ? 1 : 4) * offset) / lane.block,
});

/** A rule whose states are as long as the parameters, float32, zero at first. */
export type ElementwiseRule = PageableRule<readonly Tensor[]>;

/**
 * A rule that treats each number by itself, from its op.
 *
 * @param kinds torch's names: `exp_avg`, ...
 */
export const elementwiseRule = (
  kinds: readonly string[],
  update: (chunk: OptimizerChunk, state: readonly Tensor[], step: UpdateStep) => void,
): ElementwiseRule =>
  pageable({
    init: (engine, { length }) => kinds.map(() => engine.keep(engine.zeros([length]))),
    part: (engine, state, length) => state.map((tensor) => engine.window(tensor, 0, [length])),
    lanes: (state) =>
      kinds.map((kind, i) => ({
        kind,
        dtype: 'float32',
        block: 1,
        flat: state[i]!,
        byteOffset: 0,
      })),
    update,
    tensors: (state) => state,
  });

/** A rule for each chunk, where one does not fit all. */
export interface RuleChoice {
  /** The largest block of the rules. Default 1. */
  readonly block?: number;
  ruleOf(chunk: OptimizerChunk): PageableRule<unknown>;
}

/** One rule for all chunks. */
export const everywhere = <State>(rule: PageableRule<State>): RuleChoice => ({
  block: rule.block ?? 1,
  ruleOf: () => rule,
});

/** The choice as one rule. */
export const chosenRule = ({
  block = 1,
  ruleOf,
}: RuleChoice): UpdateRule<{ readonly rule: PageableRule<unknown>; readonly state: unknown }> => ({
  block,
  init: (engine, chunk) => {
    const rule = ruleOf(chunk);
    return { rule, state: rule.init(engine, chunk) };
  },
  update: (chunk, { rule, state }, step) => rule.update(chunk, state, step),
  tensors: ({ rule, state }) => rule.tensors(state),
  arrays: (chunk, { rule, state }) => rule.arrays(chunk, state),
});
