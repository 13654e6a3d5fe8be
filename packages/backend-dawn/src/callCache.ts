import type { DType } from '@attune/core';
import {
  type Attrs,
  copyOfAttrs,
  hashAttrs,
  hashShape,
  type OpCall,
  type Operand,
  sameAttrs,
  sameSpec,
} from '@attune/core/backend';
import type { DawnBuffer } from './bufferPool.js';
import type { Source } from './kernels/kernel.js';
import type { CachedPipeline } from './pipelineCache.js';

/** One dispatch as Dawn is told of it. */
export interface Command {
  /** Names the shader. */
  readonly key: string;
  readonly pipeline: CachedPipeline;
  readonly group: GPUBindGroup;
  /**
   * An ArrayBuffer, which Dawn's bindings take in a quarter of the time of a typed array; null:
   * none.
   */
  readonly words: ArrayBuffer | null;
  /** Which of the words come from attributes alone; null: none. */
  readonly numbers: readonly LiveNumber[] | null;
  readonly grid: readonly [number, number, number];
}

/** A word that comes from attributes of the call, which nothing else of its plan depends on. */
export interface LiveNumber extends Source {
  readonly word: number;
  readonly type: 'u32' | 'f32';
}

/** Puts the numbers of a call among the words of a command that was planned for another. */
export function renumber({ words, numbers }: Command, attrs: Attrs): void {
  if (!numbers) return;
  const view = new DataView(words!);
  for (const number of numbers)
    if (number.type === 'u32') view.setUint32(4 * number.word, number.of(attrs), true);
    else view.setFloat32(4 * number.word, number.of(attrs), true);
}

/** Memory that a kernel borrows for one call. */
export interface Lent {
  readonly bytes: number;
  readonly dtype: DType;
  readonly buffer: DawnBuffer;
}

/** A call and what became of it. */
export interface CachedCall {
  readonly operands: readonly Operand[];
  readonly inputs: number;
  readonly attrs: Attrs;
  /** Attributes in which another call may differ: its numbers go into the same commands. */
  readonly live: ReadonlySet<string> | null;
  readonly commands: readonly Command[];
  readonly lent: readonly Lent[];
}

/**
 * The commands of calls that were seen before: same op, same operands in the same memory, same
 * attributes. Such a call is neither planned nor looked up again.
 *
 * A call is looked up without the numbers among its attributes and then compared in full. One that
 * differs in a number is planned as if it were new and takes the place of the one before: nothing
 * freezes, and a number that is another in each step leaves one entry, not one for each step. But
 * where a kernel says that a number is nothing but data (`Param`), the call is the one before, and
 * the number is told anew.
 */
export class CallCache {
  readonly #ops = new Map<string, Map<number, CachedCall>>();
  #size = 0;
  /** Grows when all are forgotten. */
  #epoch = 0;

  /**
   * @param capacity above this many all are forgotten: shapes that never come back must not pile up
   */
  constructor(private readonly capacity = 20_000) {}

  get size(): number {
    return this.#size;
  }

  find(call: OpCall): CachedCall | undefined {
    const memo = call.memo as Memo | undefined;
    if (memo?.planned?.epoch === this.#epoch) return memo.planned.call;
    const found = this.#ops.get(call.op)?.get(hashOf(call));
    if (!found || !isOf(found, call)) return undefined;
    if (memo) memo.planned = { epoch: this.#epoch, call: found };
    return found;
  }

  set(call: OpCall, commands: readonly Command[], lent: readonly Lent[]): void {
    if (this.#size >= this.capacity) this.clear();
    let calls = this.#ops.get(call.op);
    if (!calls) {
      calls = new Map();
      this.#ops.set(call.op, calls);
    }
    const before = calls.size;
    const cached: CachedCall = {
      operands: [...call.inputs, ...call.outputs].map(copyOf),
      inputs: call.inputs.length,
      attrs: copyOfAttrs(call.attrs),
      live: liveOf(commands),
      commands,
      lent,
    };
    calls.set(hashOf(call), cached);
    this.#size += calls.size - before;
    const memo = call.memo as Memo | undefined;
    if (memo) memo.planned = { epoch: this.#epoch, call: cached };
  }

  /** When the same call would be planned in another way from now on. */
  clear(): void {
    this.#ops.clear();
    this.#size = 0;
    this.#epoch++;
  }
}

/** What lies in `OpCall.memo`. */
interface Memo {
  planned?: { readonly epoch: number; readonly call: CachedCall };
}

const copyOf = ({ buffer, byteOffset, shape, dtype }: Operand): Operand => ({
  buffer,
  byteOffset,
  shape: [...shape],
  dtype,
});

function hashOf({ inputs, outputs, attrs }: OpCall): number {
  let hash = hashAttrs(inputs.length, attrs);
  for (let i = 0; i < inputs.length; i++) hash = hashOperand(hash, inputs[i]!);
  for (let i = 0; i < outputs.length; i++) hash = hashOperand(hash, outputs[i]!);
  return hash;
}

const hashOperand = (hash: number, { buffer, byteOffset, shape }: Operand): number =>
  hashShape(Math.imul(Math.imul(hash, 31) + buffer.id, 31) + byteOffset, shape);

function liveOf(commands: readonly Command[]): ReadonlySet<string> | null {
  const names = commands.flatMap(({ numbers }) => (numbers ?? []).flatMap(({ attrs }) => attrs));
  return names.length > 0 ? new Set(names) : null;
}

function isOf({ operands, inputs: count, attrs, live }: CachedCall, call: OpCall): boolean {
  const { inputs, outputs } = call;
  if (inputs.length !== count || count + outputs.length !== operands.length) return false;
  for (let i = 0; i < count; i++) if (!sameOperand(operands[i]!, inputs[i]!)) return false;
  for (let i = 0; i < outputs.length; i++)
    if (!sameOperand(operands[count + i]!, outputs[i]!)) return false;
  return sameAttrs(attrs, call.attrs, live);
}

const sameOperand = (a: Operand, b: Operand): boolean =>
  a.buffer === b.buffer && a.byteOffset === b.byteOffset && sameSpec(a, b);
