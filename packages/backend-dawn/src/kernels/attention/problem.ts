import { ops } from '@attune/core';
import type { OpCall, Operand, OperandSpec, OpSpec } from '@attune/core/backend';
import { type DeviceFacts, f32, type Param, u32 } from '../kernel.js';
import type { Access } from '../shader.js';
import { registers, vectorised } from './rows.js';

export interface Sizes {
  b: number;
  t: number;
  h: number;
  d: number;
  s: number;
  hKey: number;
}

export function sizesOf(q: OperandSpec, k: OperandSpec): Sizes {
  const [b, t, h, d] = q.shape as [number, number, number, number];
  return { b, t, h, d, s: k.shape[1]!, hKey: k.shape[2]! };
}

/** The variant in which lanes own queries and keys, as everywhere without a matrix unit. */
export const LANES = 'lanes';

/**
 * What the tuner chooses between: the matrix unit, where it can be, and lanes. Calls alike but for
 * their lengths, up to the next powers of two, share a choice.
 */
export function attentionVariants({ inputs, attrs }: OpSpec, onUnit: (sizes: Sizes) => boolean) {
  const sizes = sizesOf(inputs[0]!, inputs[1]!);
  if (!onUnit(sizes)) return undefined;
  const { b, t, h, d, s, hKey } = sizes;
  const [rows, keys] = [t, s].map((length) => 2 ** Math.ceil(Math.log2(length)));
  const rules = [attrs.causal, attrs.window, (attrs.softcap as number) > 0, inputs.length];
  return {
    key: `${b}x${rows}x${h}x${d}:${keys}x${hKey}:${rules.join(':')}`,
    names: ['matrix', LANES],
  };
}

/**
 * The numbers of a stage.
 *
 * @param groups workgroups for each head @param count workgroups that have work: a folded grid may
 *   hold more
 * @param segments of which each batch row has `stride` numbers
 */
export function paramsOf(
  { t, h, s, hKey, d }: Sizes,
  call: OpCall,
  { groups, count }: { groups: number; count: number },
  segments: Operand | undefined,
): Record<string, Param> {
  const { queryOffset, window, scale, softcap } = call.attrs as Record<string, number>;
  return {
    t: u32(t),
    s: u32(s),
    h: u32(h),
    hKey: u32(hKey),
    groups: u32(groups),
    count: u32(count),
    offset: u32(queryOffset!, 'queryOffset'),
    window: u32(window!),
    scale: f32(scale!),
    width: u32(registers(d).count),
    softcap: f32(softcap!),
    stride: u32(segments?.shape[1] ?? s),
  };
}

/** WGSL: is it the segment that every query sees? */
export const isEvery = (segment: string) => `${segment} == ${ops.EVERY_SEGMENT}`;

/**
 * WGSL: may the query at `position` see key `j`, whose segment is `other`? With places, the window
 * of keys that every segment sees counts from the query's `place`.
 */
export const visible = (causal: boolean, segments: boolean, placed: boolean) =>
  [
    causal ? 'j <= position' : 'true',
    `(p.window == 0u || j + p.window > ${placed ? `select(position, place, ${isEvery('other')})` : 'position'})`,
    segments ? `(other == segment || ${isEvery('other')})` : 'true',
  ].join(' && ');

/** WGSL: the cap of a score. A tanh far out is 1 but overflows in some drivers; NaN stays NaN. */
const capDeclaration = `fn cap(score: f32) -> f32 {
  let x = score / p.softcap;
  return p.softcap * select(tanh(x), sign(x), abs(x) > 15.0);
}`;

/**
 * First key that any lane of the workgroup can see: keys before the sliding window are skipped,
 * unless their place counts.
 */
export const windowStart = (causal: boolean, placed: boolean): string =>
  causal && !placed
    ? 'select(0u, p.offset + first + 1u - min(p.window, p.offset + first + 1u), p.window > 0u)'
    : '0u';

/** Lanes of a workgroup: one subgroup, so that shuffles reach all of them. */
export const lanesOf = (facts: DeviceFacts): number => facts.subgroupSize || 64;

/** What the text of the shaders depends on, beside the device. */
export function structure(call: OpCall, sizes: Sizes, segments: Operand | undefined) {
  const causal = call.attrs.causal as boolean;
  const capped = (call.attrs.softcap as number) > 0;
  const access: Access = vectorised(sizes.d) ? 'vec4' : 'float32';
  const placed = segments !== undefined && segments.shape[1]! > sizes.s;
  return {
    causal,
    access,
    placed,
    key: `d${sizes.d}:${causal ? 'causal' : 'full'}:${placed ? 'placed' : segments ? 'segments' : 'plain'}${capped ? ':capped' : ''}`,
    /** Module-level WGSL that `capOf` and `slope` need. */
    declarations: capped ? capDeclaration : '',
    /** The score that the softmax sees, of one before the cap. */
    capOf: (score: string) => (capped ? `cap(${score})` : score),
    /** d cap / d score, from the capped score, as a factor. */
    slope: capped ? ' * (1.0 - (score / p.softcap) * (score / p.softcap))' : '',
  };
}

/** What both directions of the backward pass compute from. */
export interface Backward {
  readonly call: OpCall;
  readonly sizes: Sizes;
  readonly form: ReturnType<typeof structure>;
  readonly q: Operand;
  readonly k: Operand;
  readonly v: Operand;
  readonly g: Operand;
  /** Log-sum-exp of each query's scores. [B, H, T] */
  readonly lses: Operand;
  /** sum(g * out) of each query. [B, H, T] */
  readonly deltas: Operand;
  readonly segments: Operand | undefined;
}
