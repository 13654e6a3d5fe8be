import type { DType } from './dtype.js';

/** A device allocation. What it is made of is the backend's own business. */
export interface BufferHandle {
  readonly id: number;
  readonly byteLength: number;
}

/** What an operand is, without its memory. */
export interface OperandSpec {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/**
 * A contiguous, row-major view of a buffer: what an op reads or writes.
 * `byteOffset` is a multiple of 256 (WebGPU's largest storage offset alignment).
 */
export interface Operand extends OperandSpec {
  readonly buffer: BufferHandle;
  readonly byteOffset: number;
}

/** Numbers travel to the kernel as data; strings and booleans may pick a variant of it. */
export type AttrValue = number | boolean | string | readonly number[];
/** The numbers and words of an op beside its tensors. */
export type Attrs = Readonly<Record<string, AttrValue>>;

/** A call without its memory: enough to choose a kernel. */
export interface OpSpec {
  readonly op: string;
  readonly inputs: readonly OperandSpec[];
  readonly outputs: readonly OperandSpec[];
  readonly attrs: Attrs;
}

/**
 * One op, ready to run: the whole contract between tensors and a backend.
 *
 * Outputs are allocated by the caller and never share a buffer with an input. An op that updates in
 * place (optimizer steps, accumulation) names the updated tensors as outputs and reads them too.
 */
export interface OpCall extends OpSpec {
  readonly inputs: readonly Operand[];
  readonly outputs: readonly Operand[];
  /**
   * There where this very object will be dispatched again, unchanged: the backend may keep in it
   * what it made of the call.
   */
  readonly memo?: { planned?: unknown };
}
