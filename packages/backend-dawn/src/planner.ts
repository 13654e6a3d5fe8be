import { AttuneError, type DType, numel } from '@attune/core';
import {
  type Attrs,
  bytesPerElement,
  type OpCall,
  type Operand,
  type OpSpec,
} from '@attune/core/backend';
import type { Tuner } from './autotune/tuner.js';
import type { BindGroupCache, Binding } from './bindGroupCache.js';
import type { BoundsCheck } from './boundsCheck.js';
import type { DawnBuffer } from './bufferPool.js';
import type { Command, LiveNumber } from './callCache.js';
import { kernels as builtinKernels } from './kernels/index.js';
import type { DeviceFacts, Kernel, Param, Stage } from './kernels/kernel.js';
import type { PipelineCache } from './pipelineCache.js';
import { fits, splitCall } from './split/index.js';
import { bytesOf } from './split/window.js';

/** Lends memory for the length of a call. */
type Lend = (byteLength: number, dtype: DType) => Operand['buffer'];

export interface PlannerParts {
  readonly facts: DeviceFacts;
  /** Bytes of a buffer that a kernel can bind at most. */
  readonly maxBindingBytes: number;
  /** Beside the built-in ones; one that comes later replaces an earlier one of the same op. */
  readonly extraKernels: readonly Kernel[];
  readonly tuner: Tuner;
  readonly pipelines: PipelineCache;
  readonly bindGroups: BindGroupCache;
  /** Bound behind the operands of every stage. */
  readonly check: BoundsCheck | null;
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

  /** @throws TENSOR_TOO_LARGE too */
  #stages(call: OpCall, lend: Lend): readonly Stage[] {
    const limits = { limit: this.#parts.maxBindingBytes, isStaged: this.#parts.facts.software };
    if (fits(call, limits)) return this.#planned(call, lend);
    const parts = splitCall(call, { ...limits, scratch: scratchOf(lend) });
    if (!parts) throw tooLarge(call, limits.limit);
    const shared: Operand['buffer'][] = [];
    return parts.flatMap((part) => {
      const stages = this.#stages(part, sharing(lend, shared));
      return part.attrs === call.attrs
        ? stages
        : stages.map((stage) => settled(stage, call.attrs, part.attrs));
    });
  }

  #planned(call: OpCall, lend: Lend): readonly Stage[] {
    const kernel = this.#kernels.get(call.op);
    if (!kernel)
      throw new AttuneError(
        'OP_UNSUPPORTED',
        `the Dawn backend has no kernel for op "${call.op}".`,
        { remedy: 'Give the op `decompose`, or pass a kernel to dawn({ kernels }).' },
      );
    const { facts, tuner, maxBindingBytes } = this.#parts;
    const lendSmall: Lend = (byteLength, dtype) => {
      if (byteLength > maxBindingBytes) throw tooLarge(call, maxBindingBytes, byteLength);
      return lend(byteLength, dtype);
    };
    return kernel.plan(call, facts, scratchOf(lendSmall), tuner.variant(kernel, call));
  }

  #command(stage: Stage): Command {
    const { key, operands, reads, params, grid } = stage;
    if (params.length > 16)
      throw new AttuneError('KERNEL_PARAMS', `a kernel passes ${params.length} numbers; 16 fit.`, {
        remedy: 'Reduce the rank of the operands (reshape neighbouring axes together).',
      });
    const pipeline = this.#parts.pipelines.get(stage);
    const bindings = operands.map(bindingOf);
    if (this.#parts.check) bindings.push(this.#parts.check.binding);
    const layoutKey = `${reads}/${operands.length}`;
    const group = this.#parts.bindGroups.get(pipeline.layout, layoutKey, bindings);
    return { key, pipeline, group, words: wordsOf(params), numbers: liveNumbers(params), grid };
  }
}

const scratchOf =
  (lend: Lend) =>
  (elements: number, dtype: DType): Operand => {
    const buffer = lend(elements * bytesPerElement[dtype], dtype);
    return { buffer, byteOffset: 0, shape: [elements], dtype };
  };

/**
 * Lends a part of a call what the parts before it are done with.
 *
 * @param shared what was lent to them, which grows
 */
function sharing(lend: Lend, shared: Operand['buffer'][]): Lend {
  const idle = [...shared];
  return (byteLength, dtype) => {
    const at = idle.findIndex((buffer) => buffer.byteLength >= byteLength);
    if (at >= 0) return idle.splice(at, 1)[0]!;
    const buffer = lend(byteLength, dtype);
    shared.push(buffer);
    return buffer;
  };
}

/** Numbers of a part of a call: those that come from the call's own attributes stay live. */
const settled = (stage: Stage, own: Attrs, attrs: Attrs): Stage => ({
  ...stage,
  params: stage.params.map((param): Param => {
    const [type, value, source] = param;
    return source?.attrs.every((name) => own[name] !== undefined && own[name] === attrs[name])
      ? param
      : [type, value];
  }),
});

/** @param borrowed bytes that its kernel asks for, if that is what is too large */
function tooLarge(call: OpCall, limit: number, borrowed = 0): AttuneError {
  const operand = [...call.inputs, ...call.outputs].find((o) => bytesOf(o) > limit);
  const what = operand
    ? `a ${operand.dtype} tensor [${operand.shape}] of ${bytesOf(operand)} bytes`
    : `${borrowed ? `${borrowed} bytes of` : ''} memory of its own`;
  return new AttuneError(
    'TENSOR_TOO_LARGE',
    `op "${call.op}" works on ${what}; a kernel of this device binds at most ${limit}, and the call has no split into rows that fit.`,
    {
      remedy:
        'Use a 16-bit dtype, a smaller batch, a shorter maxLength, or a device with larger bindings.',
    },
  );
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
