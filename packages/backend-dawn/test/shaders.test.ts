import { numel } from '@attune/core';
import { bytesPerElement, type OpCall, type Operand } from '@attune/core/backend';
import { type OpCase, opCases } from '@attune/core/testing';
import { describe, expect, test } from 'vitest';
import { kernels } from '../src/kernels/index.js';
import type { DeviceFacts, Stage } from '../src/kernels/kernel.js';
import { rangeKernels } from '../src/kernels/ranges.js';
import { inputsOf } from './kernelPaths.js';

/**
 * What the kernels write, without a device: one case for each path through them. A change of a
 * shader, of its bindings, numbers or grid shows in the snapshot, and a refactoring shows that
 * there is none. Whether a shader is right, the conformance tests say.
 */
const devices = {
  /** WebGPU's least limits. */
  least: {
    subgroupSize: 0,
    software: false,
    maxBindings: 10,
    maxWorkgroupBytes: 16_384,
    maxInvocations: 256,
    matrixUnit: null,
  },
  gpu: {
    subgroupSize: 32,
    software: false,
    maxBindings: 10,
    maxWorkgroupBytes: 32_768,
    maxInvocations: 1024,
    matrixUnit: { M: 16, N: 16, K: 16 },
  },
  software: {
    subgroupSize: 8,
    software: true,
    maxBindings: 10,
    maxWorkgroupBytes: 32_768,
    maxInvocations: 1024,
    matrixUnit: null,
  },
} as const satisfies Record<string, DeviceFacts>;

type Chosen = readonly [name: string, device?: keyof typeof devices, variant?: string];

type Described = Pick<OpCase, 'name' | 'op' | 'inputs' | 'targets' | 'attrs' | 'derive'>;

/** Products that fill tiles of the matrix unit: more than the float64 reference should compute. */
const inHalves = (m: number, n: number): Described => ({
  ...opCases.find(({ name }) => name === 'matmul/nt-33x64x172-plus-bias-in-float16')!,
  name: `matmul/nt-${m}x64x${n}-plus-bias-in-float16`,
  inputs: [[m, 64], [n, 64], [n]].map((shape) => ({ shape, dtype: 'float32', draw: () => [] })),
});
const large = inHalves(128, 128);
const thin = inHalves(128, 16);

/** Attention that may take the matrix unit. */
const [attention, attentionGrad] = ['attention', 'attentionGrad'].map((op): Described => {
  const found = opCases.find(
    ({ name }) => name === `${op}/T70-D8-H2-gqa1-window9-softcap2-packed`,
  )!;
  return {
    ...found,
    name: `${found.name}-in-float16`,
    attrs: { ...found.attrs, compute: 'float16' },
  };
}) as [Described, Described];

/** Ops that are not named here have their first case. */
const chosen: readonly Chosen[] = [
  ['add/64-64'],
  ['add/4x33-33'],
  ['add/both-bfloat16'],
  ['maximum/64-64'],
  ['gelu/64'],
  ['cast/float32-float16-1'],
  ['cast/bfloat16-float32-1'],
  ['cast/float32-int32'],
  ['dequantize/nf4-1-blocks-of-64'],
  ['dequantize/nf4-1-blocks-of-64-float16'],
  ['dequantize/nf4-64x300-blocks-of-64-nested'],
  ['sgd/1'],
  ['sgd/64-momentum'],
  ['adafactor/1-first'],
  ['adafactor/1x1-first'],
  ['permute/63x65-to-10'],
  ['permute/63x65-to-10-float16'],
  ['concat/axis0-3x5-1x5-2x5'],
  ['concat/axis0-3x5-1x5-2x5-bfloat16'],
  ['embedding/1x1-ids1-bfloat16'],
  ['sum/1-axes0to1', 'least'],
  ['sum/1-axes0to1', 'gpu'],
  ['sum/5x33-axes0to1'],
  ['softmax/1x1', 'least'],
  ['softmax/1x1'],
  ['crossEntropy/1x1'],
  ['crossEntropy/3x7-smoothed-capped'],
  ['crossEntropyGrad/3x7-dft-capped'],
  ['crossEntropyInto/1x1-ranked-capped'],
  ['rmsNormGrad/1x1'],
  ['rmsNormGrad/1x1-carry'],
  ['attention/T1-D8-H4-gqa1', 'least'],
  ['attention/T1-D8-H4-gqa1', 'software'],
  ['attention/T5-D8-H4-gqa1-offset12-spare3', 'software'],
  ['attention/T1-D48-H6-gqa3-window9-offset20-spare3', 'gpu'],
  ['attention/T17-D8-H4-gqa1-placed', 'gpu'],
  ['attention/T70-D8-H2-gqa1-window9-softcap2-packed', 'gpu'],
  [attention.name, 'gpu', 'matrix'],
  ['attentionGrad/T1-D8-H4-gqa1', 'software'],
  [attentionGrad.name, 'gpu', 'matrix'],
  ['attentionGrad/T70-D8-H2-gqa1-window9-softcap2-packed', 'gpu'],
  ['matmul/nn-33x64x172-plus-output', 'software', 'subgroup8x4'],
  ['matmul/nt-64x32x8-plus-bias-bfloat16', 'software', 'subgroup8x4'],
  ['matmul/nt-1x140x33-bfloat16-plus-bias', 'software', 'subgroup1x4'],
  ['matmul/tn-64x33x172-scale0.25-plus-output', 'software', 'subgroup8x4'],
  ['matmul/nt-33x64x172-plus-bias-in-float16', 'least', '32x32x16/1'],
  ['matmul/tn-2x33x1024x8-plus-output', 'gpu', '32x32x16/4'],
  ['matmul/nt-5x140x33-bfloat16-plus-bias', 'gpu', 'thin'],
  ['matmul/nn-2x33x40-plus-bias', 'least', 'thin'],
  [large.name, 'gpu', 'matrix128x128x32:2x4/1'],
  [thin.name, 'gpu', 'matrix128x16x32:4x1/1'],
  ['quantizedMatmul/40-by-nf4-64x64-blocks-of-64-in-float16', 'software'],
  ['quantizedMatmul/3x5-by-nf4-64x300-blocks-of-64-nested-plus-addend', 'gpu', '32x32x16/1'],
  ['quantizedMatmul/9-by-int8-10x35-blocks-of-35-transposed-plus-bias', 'gpu', '32x32x16/1'],
];

const named = new Map<string, Described>(
  [...opCases, large, thin, attention, attentionGrad].map((opCase) => [opCase.name, opCase]),
);

/** Names of memory by its role in the call. */
class Memory {
  readonly #names = new Map<number, string>();

  operand(name: string, { shape, dtype }: Pick<Operand, 'shape' | 'dtype'>): Operand {
    const id = this.#names.size;
    this.#names.set(id, name);
    const byteLength = numel(shape) * bytesPerElement[dtype];
    return { buffer: { id, byteLength }, byteOffset: 0, shape, dtype };
  }

  nameOf = ({ buffer }: Operand): string => this.#names.get(buffer.id)!;
}

/** What stands in every shader: in the snapshot once, as a whole. */
const shared = [
  'requires immediate_address_space;\n',
  'var<immediate> p: Params;\n',
  /fn packBfloat16[\s\S]*?\n}\nfn packFloat16[\s\S]*?\n}\n/,
  '@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32',
  '  let group = wid.y * groups.x + wid.x;\n',
];

function textOf({ key, wgsl, operands, reads, params, grid }: Stage, memory: Memory): string {
  const bound = operands.map(memory.nameOf);
  const numbers = params.map(([type, value]) => `${value}${type === 'u32' ? 'u' : ''}`);
  return `// ${key}
// reads ${bound.slice(0, reads).join(', ')}; writes ${bound.slice(reads).join(', ')}
// numbers ${numbers.join(', ')}; grid ${grid.join(' x ')}
${shared.reduce((text: string, part) => text.replace(part, ''), wgsl())}`;
}

/** The dispatches of a case. */
function plan([name, device = 'software', variant]: Chosen, memory: Memory): readonly Stage[] {
  const opCase = named.get(name)!;
  const { op, attrs, targets } = opCase;
  const inputs = inputsOf(opCase);
  const all = (role: string, specs: readonly Pick<Operand, 'shape' | 'dtype'>[]) =>
    specs.map((spec, i) => memory.operand(`${role}${i}`, spec));
  const call: OpCall = {
    op: op.name,
    inputs: all('in', inputs),
    outputs: all('out', targets.length > 0 ? targets : op.infer(inputs, attrs)),
    attrs,
  };
  const kernel = kernels.find((k) => k.op === op.name)!;
  const facts = devices[device];
  expect(kernel.accepts?.(call, facts) ?? true).toBe(true);
  if (variant) expect(kernel.variants!(call, facts)!.names).toContain(variant);
  let lent = 0;
  return kernel.plan(
    call,
    facts,
    (elements, dtype) => memory.operand(`scratch${lent++}`, { shape: [elements], dtype }),
    variant,
  );
}

/** All that the kernel of a case tells the device. */
function render(one: Chosen): string {
  const memory = new Memory();
  return plan(one, memory)
    .map((stage) => textOf(stage, memory))
    .join('\n');
}

describe('what kernels write', () => {
  test('for every device', () => {
    const stage = kernels.find(({ op }) => op === 'fill');
    const memory = new Memory();
    const out = memory.operand('out', { shape: [4], dtype: 'float32' });
    const call = { op: 'fill', inputs: [], outputs: [out], attrs: { value: 1 } };
    const [{ wgsl }] = stage!.plan(call, devices.least, () => out) as [Stage];
    expect(`\n${wgsl()}`).toMatchSnapshot();
  });

  // Those of ranges alone belong to no op of core; bindings.test.ts has their numbers.
  const ofCore = kernels.filter((kernel) => !rangeKernels.includes(kernel));
  test.each(ofCore.map(({ op }) => op))('%s', (name) => {
    const ofOp = ([of]: Chosen) => named.get(of)!.op.name === name;
    const cases = chosen.filter(ofOp);
    const first = opCases.find(({ op }) => op.name === name)!;
    for (const one of cases.length > 0 ? cases : [[first.name] as const])
      expect(`\n${render(one)}`).toMatchSnapshot(one.slice(0, 3).join(' '));
  });
});

describe('on GPUs with subgroups of 32 and of 64 lanes', () => {
  const shaders = chosen
    .flatMap(([name, , variant]): Chosen[] => [
      [name, 'gpu'],
      ...(variant?.startsWith('matrix') ? [[name, 'gpu', variant] as const] : []),
    ])
    .flatMap((one) => plan(one, new Memory()))
    .map(({ wgsl }) => ({ plain: wgsl(), asking: wgsl(32) }));
  const withSubgroups = shaders.filter(({ plain }) => plain.includes('enable subgroups;'));

  test('shaders with subgroups ask for 32, and nothing else changes', () => {
    expect(withSubgroups.length).toBeGreaterThan(5);
    for (const { plain, asking } of shaders) {
      expect(plain).not.toContain('subgroup_size');
      const stripped = asking
        .replace('enable subgroup_size_control;\n', '')
        .replace(/(@workgroup_size\(\d+\)) @subgroup_size\(32\)/, '$1');
      expect(stripped).toBe(plain);
      expect(asking !== plain).toBe(/\bsubgroup[A-Z]/.test(plain));
    }
  });

  test('their workgroups are whole subgroups, with the matrix unit those of 64', () => {
    const onUnit = withSubgroups.filter(({ plain }) => plain.includes('subgroup_matrix'));
    expect(onUnit.length).toBeGreaterThan(2);
    for (const { plain } of withSubgroups) {
      const lanes = Number(/@workgroup_size\((\d+)\)/.exec(plain)![1]);
      // Dawn wants a multiple of the most lanes that a subgroup may have.
      expect(lanes % (plain.includes('subgroup_matrix') ? 64 : 32)).toBe(0);
    }
  });
});
