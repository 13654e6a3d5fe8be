import type { DType } from '@attune/core';
import type { OpCall, Operand } from '@attune/core/backend';

/** What a call may take where it is split. */
export interface Room {
  /** Bytes of an operand that a kernel binds at most. */
  readonly limit: number;
  /** A product with quantised weights writes them down as float32 first. */
  readonly isStaged: boolean;
  /** Lends memory for the length of the call that is split. */
  scratch(elements: number, dtype: DType): Operand;
}

/**
 * A call as several, one after another, whose operands are windows of its own; null where there is
 * none. A part may be too large still: it is split again. An attribute that has the name and the
 * value of one of the call is that one: later calls tell their own numbers.
 */
export type Splitter = (call: OpCall, room: Room) => readonly OpCall[] | null;
