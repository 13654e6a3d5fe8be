import { AttuneError, type DType, numel } from '@attune/core';
import { bytesPerElement, type OpCall, type Operand, type OpSpec } from '@attune/core/backend';
import type { Tuner } from './autotune/tuner.js';
import type { BindGroupCache, Binding } from './bindGroupCache.js';
import type { DawnBuffer } from './bufferPool.js';
import type { Command, LiveNumber } from './callCache.js';
import { kernels as builtinKernels } from './kernels/index.js';
import type { DeviceFacts, Kernel, Param, Stage } from './kernels/kernel.js';
import type { PipelineCache } from './pipelineCache.js';

/** Lends memory for the length of a call. */
type Lend = (byteLength: number, dtype: DType) => Operand['buffer'];

export interface PlannerParts {
  readonly facts: DeviceFacts;
  /** Beside the built-in ones; one that comes later replaces an earlier one of the same op. */
  readonly extraKernels: readonly Kernel[];
  readonly tuner: Tuner;
  readonly pipelines: PipelineCache;
  readonly bindGroups: BindGroupCache;
}

/** What the device is told of an op: its kernel, in the variant that was chosen, as commands. */
export class Planner {
  readonly #kernels: ReadonlyMap<string, Kernel>;
  readonly #parts: PlannerParts;

  constructor(parts: PlannerParts) {
    this.#parts = parts;
    this.#kernels = new Map([...builtinKernels, ...parts.extraKernels].map((k) => [k.op, k]));
  }

  supports(call: OpSpec): boolean {
    const kernel = this.#kernels.get(call.op);
    return kernel !== undefined && (kernel.accepts?.(call, this.#parts.facts) ?? true);
  }

  /** @throws OP_UNSUPPORTED, KERNEL_PARAMS, and what the kernel throws */
  commands(call: OpCall, lend: Lend): Command[] {
    return this.#stages(call, lend).map((stage) => this.#command(stage));
  }

  /** Bytes of each buffer that the kernel of a call borrows, without running it. */
  scratchOf(call: OpCall): number[] {
    const lent: number[] = [];
    this.#stages(call, (byteLength) => {
      lent.push(byteLength);
      return { id: 0, byteLength };
    });
    return lent;
  }

  #stages(call: OpCall, lend: Lend): readonly Stage[] {
    const kernel = this.#kernels.get(call.op);
    if (!kernel)
      throw new AttuneError(
        'OP_UNSUPPORTED',
        `the Dawn backend has no kernel for op "${call.op}".`,
        { remedy: 'Give the op `decompose`, or pass a kernel to dawn({ kernels }).' },
      );
    const { facts, tuner } = this.#parts;
    const scratch = (elements: number, dtype: DType): Operand => {
      const buffer = lend(elements * bytesPerElement[dtype], dtype);
      return { buffer, byteOffset: 0, shape: [elements], dtype };
    };
    return kernel.plan(call, facts, scratch, tuner.variant(kernel, call));
  }

  #command(stage: Stage): Command {
    const { key, operands, reads, params, grid } = stage;
    if (params.length > 16)
      throw new AttuneError('KERNEL_PARAMS', `a kernel passes ${params.length} numbers; 16 fit.`, {
        remedy: 'Reduce the rank of the operands (reshape neighbouring axes together).',
      });
    const pipeline = this.#parts.pipelines.get(stage);
    const bindings = operands.map(bindingOf);
    const layoutKey = `${reads}/${operands.length}`;
    const group = this.#parts.bindGroups.get(pipeline.layout, layoutKey, bindings);
    return { key, pipeline, group, words: wordsOf(params), numbers: liveNumbers(params), grid };
  }
}

function wordsOf(params: readonly Param[]): ArrayBuffer | null {
  if (params.length === 0) return null;
  const words = new DataView(new ArrayBuffer(4 * params.length));
  params.forEach(([type, value], i) => {
    if (type === 'u32') words.setUint32(4 * i, value, true);
    else words.setFloat32(4 * i, value, true);
  });
  return words.buffer as ArrayBuffer;
}

function liveNumbers(params: readonly Param[]): LiveNumber[] | null {
  const numbers: LiveNumber[] = [];
  params.forEach(([type, , source], word) => {
    if (source) numbers.push({ word, type, attrs: source.attrs, of: source.of });
  });
  return numbers.length > 0 ? numbers : null;
}

function bindingOf(operand: Operand): Binding {
  const { id, gpu } = operand.buffer as DawnBuffer;
  const bytes = numel(operand.shape) * bytesPerElement[operand.dtype];
  return { id, gpu, offset: operand.byteOffset, size: Math.max(16, Math.ceil(bytes / 16) * 16) };
}
