import { type DType, numel, ops } from '@attune/core';
import type { OpCall, Operand, OpSpec } from '@attune/core/backend';
import {
  type DeviceFacts,
  defineKernel,
  f32,
  grid1d,
  type Kernel,
  type Stage,
  u32,
} from './kernel.js';
import { productStages, productVariants } from './matmul/index.js';
import type { Problem, ProductSpec } from './matmul/problem.js';
import { stage } from './stage.js';

type Scratch = (elements: number, dtype: DType) => Operand;

/** Codes, scales and map, and how they are held. */
interface Quantized {
  readonly bits: 4 | 8;
  readonly blockSize: number;
  readonly codes: Operand;
  readonly absmax: Operand;
  readonly map: Operand;
  readonly offset: number;
}

const LANES = 64;

/** One word of codes a lane: eight numbers of 4 bits or four of 8. */
export function dequantizeStage(q: Quantized, out: Operand): Stage {
  const { bits, blockSize, codes, absmax, map, offset } = q;
  const size = numel(out.shape);
  const count = 32 / bits;
  const mask = 2 ** bits - 1;
  // The first of two 4-bit codes in a byte is the high one.
  const shift = (i: number) => (bits === 4 ? (i ^ 1) * 4 : i * 8);
  const value = (i: number) =>
    `codeMap[(word >> ${shift(i)}u) & ${mask}u] * absmax((first + ${i}u) / p.blockSize) + p.offset`;
  const pack = out.dtype === 'float16' ? 'packFloat16' : 'packBfloat16';
  const store = () =>
    out.dtype === 'float32'
      ? Array.from({ length: count }, (_, i) =>
          i === 0
            ? `out[first] = ${value(0)};`
            : `if (first + ${i}u < p.size) { out[first + ${i}u] = ${value(i)}; }`,
        )
      : Array.from({ length: count / 2 }, (_, pair) => {
          const [low, high] = [2 * pair, 2 * pair + 1];
          const at = `first / 2u + ${pair}u`;
          return `if (first + ${low}u < p.size) {
    var high = out[${at}] >> 16u;
    if (first + ${high}u < p.size) { high = ${pack}(${value(high)}); }
    out[${at}] = ${pack}(${value(low)}) | (high << 16u);
  }`;
        });
  return stage({
    key: `dequantize${bits}>${out.dtype}`,
    reads: { codes, absmax, map },
    writes: { out },
    params: { size: u32(size), blockSize: u32(blockSize), offset: f32(offset) },
    workgroup: LANES,
    declarations: `var<workgroup> codeMap: array<f32, ${mask + 1}>;`,
    body: () => `  for (var t = lane; t < ${mask + 1}u; t += ${LANES}u) { codeMap[t] = map(t); }
  workgroupBarrier();
  let first = gid * ${count}u;
  if (first >= p.size) { return; }
  let word = codes(gid);
  ${store().join('\n  ')}`,
    grid: grid1d(size, LANES * count),
  });
}

/** The codes of a call with scales in float32: nested ones are dequantised first. */
function unnested(
  parts: readonly Operand[],
  { bits, blockSize, nested, offset }: ops.QuantizedAttrs,
  size: number,
  scratch: Scratch,
): { quantized: Quantized; before: Stage[] } {
  const [codes, absmax, map, nestedAbsmax, nestedMap] = parts as [
    Operand,
    Operand,
    Operand,
    ...Operand[],
  ];
  const held = { bits, blockSize, codes, map, offset: 0 };
  if (!nested) return { quantized: { ...held, absmax }, before: [] };
  const scales = scratch(Math.ceil(size / blockSize), 'float32');
  const nestedScales: Quantized = {
    bits: 8,
    blockSize: ops.NESTED_BLOCK,
    codes: absmax,
    absmax: nestedAbsmax!,
    map: nestedMap!,
    offset,
  };
  return {
    quantized: { ...held, absmax: scales },
    before: [dequantizeStage(nestedScales, scales)],
  };
}

const dequantizeKernel = defineKernel({
  op: 'dequantize',
  plan: (call, _facts, scratch) => {
    const out = call.outputs[0]!;
    const attrs = call.attrs as unknown as ops.DequantizeAttrs;
    const { quantized, before } = unnested(call.inputs, attrs, numel(out.shape), scratch);
    return [...before, dequantizeStage(quantized, out)];
  },
});

function specOf(call: OpSpec): ProductSpec {
  const attrs = call.attrs as unknown as ops.QuantizedMatmulAttrs;
  const { outFeatures, inFeatures, transposed, scale, accumulate, compute, bits, blockSize } =
    attrs;
  const [k, n] = transposed ? [outFeatures, inFeatures] : [inFeatures, outFeatures];
  const a = call.inputs[0]!;
  const addend = call.inputs.slice(1 + ops.partCount(attrs));
  const plus = addend[0]?.shape.length === 1 ? 'bias' : addend[0] ? 'addend' : 'nothing';
  return {
    layout: transposed ? 'NN' : 'NT',
    m: numel(a.shape.slice(0, -1)),
    n,
    k,
    batch: 1,
    aDtype: a.dtype,
    bDtype: 'uint32',
    bBits: bits,
    bBlock: blockSize,
    addendDtype: addend[0]?.dtype ?? null,
    compute,
    scale,
    plus: accumulate ? 'output' : plus,
    bStep: 0,
  };
}

function problemOf(call: OpCall, { codes, absmax, map }: Quantized): Problem {
  const attrs = call.attrs as unknown as ops.QuantizedMatmulAttrs;
  return {
    ...specOf(call),
    a: call.inputs[0]!,
    b: codes,
    bMore: [absmax, map],
    addend: call.inputs.slice(1 + ops.partCount(attrs)),
    out: call.outputs[0]!,
  };
}

/** The product with weights that are dequantised while `product` loads them. */
export function fusedStages(
  call: OpCall,
  scratch: Scratch,
  product: (problem: Problem) => readonly Stage[],
): readonly Stage[] {
  const { quantized, before } = weightOf(call, scratch);
  return [...before, ...product(problemOf(call, quantized))];
}

function weightOf(call: OpCall, scratch: Scratch) {
  const attrs = call.attrs as unknown as ops.QuantizedMatmulAttrs;
  const parts = call.inputs.slice(1, 1 + ops.partCount(attrs));
  return unnested(parts, attrs, attrs.outFeatures * attrs.inFeatures, scratch);
}

/**
 * The product with weights that are dequantised before it, into memory that lives as long as the
 * call.
 */
function stagedStages(call: OpCall, facts: DeviceFacts, scratch: Scratch): readonly Stage[] {
  const { quantized, before } = weightOf(call, scratch);
  const problem = problemOf(call, quantized);
  const weight = scratch(problem.n * problem.k, 'float32');
  const plain: Problem = { ...problem, b: weight, bDtype: 'float32', bBits: null, bMore: [] };
  return [...before, dequantizeStage(quantized, weight), ...productStages(plain, facts, scratch)];
}

/**
 * On a software device a look-up for each use of a weight costs more than writing the weight down
 * once.
 */
const quantizedMatmulKernel = defineKernel({
  op: 'quantizedMatmul',
  variants: (call, facts) => (facts.software ? undefined : productVariants(specOf(call), facts)),
  plan: (call, facts, scratch, variant) =>
    facts.software
      ? stagedStages(call, facts, scratch)
      : fusedStages(call, scratch, (problem) => productStages(problem, facts, scratch, variant)),
});

export const quantizedKernels: readonly Kernel[] = [dequantizeKernel, quantizedMatmulKernel];
