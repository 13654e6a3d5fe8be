import type { DType } from '@attune/core';
import type { Attrs, OpCall, Operand, OpSpec } from '@attune/core/backend';

/** A product that the hardware makes at once: M x K by K x N in float16, added up in float32. */
export interface MatrixUnit {
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** What a kernel may ask about the device it runs on. */
export interface DeviceFacts {
  /**
   * Lanes of a subgroup, one number: the device has no other, or shaders ask for it, see
   * {@link Stage.wgsl}. 0 where there are no subgroups, and where their sizes vary for good.
   */
  readonly subgroupSize: number;
  /** A CPU that pretends to be a GPU: loads cost more than arithmetic, barriers are dear. */
  readonly software: boolean;
  /** Storage buffers that one kernel may bind; WebGPU promises 8. */
  readonly maxBindings: number;
  /** Bytes of workgroup memory that a workgroup may hold; WebGPU promises 16,384. */
  readonly maxWorkgroupBytes: number;
  /** Lanes of a workgroup at most; WebGPU promises 256. */
  readonly maxInvocations: number;
  /** The matrix unit that the device offers and that was seen to work; else null. */
  readonly matrixUnit: MatrixUnit | null;
}

/**
 * A number that travels with a dispatch: `['u32', n]`. A third member says which attributes it
 * comes from, where nothing else of the plan depends on them: a call that differs from an earlier
 * one in such attributes alone is not planned again.
 */
export type Param = readonly ['u32' | 'f32', number, (Source | undefined)?];

/** How a number comes from attributes of the call. */
export interface Source {
  readonly attrs: readonly string[];
  of(attrs: Attrs): number;
}

/** One dispatch: which shader, over which operands, with which numbers, on which grid. */
export interface Stage {
  /**
   * Names the shader: everything that its text depends on, and nothing that changes from step to
   * step.
   */
  readonly key: string;
  /**
   * The module.
   *
   * @param subgroupSize given on devices whose subgroups have several sizes: a shader that counts
   *   on {@link DeviceFacts.subgroupSize} asks for it with `enable subgroup_size_control;` and
   *   `@subgroup_size(n)` beside `@workgroup_size`, which is a multiple of n
   */
  readonly wgsl: (subgroupSize?: number) => string;
  /** In binding order; the first `reads` are read-only. */
  readonly operands: readonly Operand[];
  readonly reads: number;
  /** At most 16 words, in the order of the shader's struct `Params`. */
  readonly params: readonly Param[];
  readonly grid: readonly [number, number, number];
}

/**
 * A way to run one op on the device. All of it depends on its arguments alone: equal calls share
 * what was planned for the first. Most are one stage; `scratch(elements, dtype)` lends memory
 * between the stages of one call.
 */
export interface Kernel {
  readonly op: string;
  /** Calls that it cannot run fall back on the op's decomposition. Default: it runs all. */
  accepts?(call: OpSpec, facts: DeviceFacts): boolean;
  /**
   * Ways to run a call that differ in speed, the default first, and the class of calls that share a
   * choice. Backend.tune measures them; `plan` is told which one to take, or nothing: then the
   * default.
   */
  variants?(
    call: OpSpec,
    facts: DeviceFacts,
  ): { readonly key: string; readonly names: readonly string[] } | undefined;
  plan(
    call: OpCall,
    facts: DeviceFacts,
    scratch: (elements: number, dtype: DType) => Operand,
    variant?: string,
  ): readonly Stage[];
}

/** Types a kernel where it is written; pass it to `dawn({ kernels })`. */
export const defineKernel = (kernel: Kernel): Kernel => kernel;

/** Workgroups for `count` items, `perGroup` each, folded into two dimensions of at most 65535. */
export function grid1d(count: number, perGroup: number): [number, number, number] {
  const groups = Math.max(1, Math.ceil(count / perGroup));
  if (groups <= 65535) return [groups, 1, 1];
  const y = Math.ceil(groups / 65535);
  return [Math.ceil(groups / y), y, 1];
}

/** A parameter of a shader: an unsigned integer. @param attr the attribute that it is, see Param */
export const u32 = (value: number, attr?: string): Param => ['u32', value, itself(attr)];
/** A parameter of a shader: a float. @param attr the attribute that it is, see Param */
export const f32 = (value: number, attr?: string): Param => ['f32', value, itself(attr)];

/**
 * A float that is computed of attributes, see Param.
 *
 * @param names all attributes that `of` reads
 */
export const computed = <A extends Attrs>(
  attrs: A,
  names: readonly (keyof A & string)[],
  of: (attrs: A) => number,
): Param => ['f32', of(attrs), { attrs: names, of: of as Source['of'] }];

const itself = (attr: string | undefined): Source | undefined =>
  attr === undefined ? undefined : { attrs: [attr], of: (attrs) => attrs[attr] as number };
