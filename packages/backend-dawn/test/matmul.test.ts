import { Engine, ops, quant, Rng } from '@attune/core';
import { compareCase, type OpCase, opCases } from '@attune/core/testing';
import { describe, expect, type TestContext, test } from 'vitest';
import { createDawnBackend, type DawnBackend, defineKernel } from '../src/index.js';
import type { DeviceFacts, Kernel, MatrixUnit } from '../src/kernels/kernel.js';
import { productStages, productVariants } from '../src/kernels/matmul/index.js';
import { type Problem, type ProductSpec, problemOf } from '../src/kernels/matmul/problem.js';
import { holderOfA, loadsOfA, type PieceOfA, vec4OfA } from '../src/kernels/matmul/subgroup.js';
import { acceptsMatrixUnit, matrixStage } from '../src/kernels/matmul/subgroupMatrix.js';
import {
  owned,
  type Panel,
  panelLoads,
  panelSlot,
  panelVec4s,
} from '../src/kernels/matmul/tile.js';
import { panelsOf, tiledStages, tileName, tiles, tiling } from '../src/kernels/matmul/tiled.js';
import { fusedStages } from '../src/kernels/quantized.js';

const layouts = ['NN', 'NT', 'TN', 'TT'] as const;
const shares = layouts.flatMap((layout) =>
  tiles.map((tile) => ({ name: `${layout} ${tileName(tile)}`, layout, tile })),
);

describe('the index arithmetic of tiles', () => {
  test.each(shares)(
    '$name: filling touches each value once and stays inside',
    ({ layout, tile }) => {
      for (const panel of panelsOf({ layout }, tile)) {
        const seen = new Set<string>();
        const places = new Set<number>();
        for (let e = 0; e < panelLoads(panel); e++) {
          const { x, k, at } = panelSlot(panel, e);
          expect(at).toBeLessThan(panelVec4s(panel));
          places.add(at);
          for (let q = 0; q < 4; q++) seen.add(panel.alongK ? `${x},${k + q}` : `${x + q},${k}`);
        }
        expect(seen.size).toBe(panel.size * panel.depth);
        expect(places.size).toBe(panelLoads(panel));
        for (const place of seen) {
          const [x, k] = place.split(',').map(Number) as [number, number];
          expect(x < panel.size && k < panel.depth).toBe(true);
        }
      }
    },
  );

  test.each(shares)('$name: the lanes own each row and column once', ({ layout, tile }) => {
    const [a, b] = panelsOf({ layout }, tile);
    const all = (panel: Panel, lanes: number, each: number) =>
      Array.from({ length: lanes * each }, (_, at) =>
        owned(panel, at % lanes, lanes, Math.floor(at / lanes)),
      ).sort((x, y) => x - y);
    const numbers = (n: number) => Array.from({ length: n }, (_, i) => i);
    expect(all(a, tile.bm / tile.tm, tile.tm)).toEqual(numbers(tile.bm));
    expect(all(b, tile.bn / tile.tn, tile.tn)).toEqual(numbers(tile.bn));
  });

  test.each(shares)(
    '$name: eight lanes that read together hit all 32 banks',
    ({ layout, tile }) => {
      const [, b] = panelsOf({ layout }, tile);
      const line = b.alongK ? b.depth / 4 + 1 : 0;
      const banks = new Set<number>();
      for (let lane = 0; lane < 8; lane++) {
        const vec4 = b.alongK ? lane * line : lane;
        for (let word = 0; word < 4; word++) banks.add((vec4 * 4 + word) % 32);
      }
      expect(banks.size).toBe(32);
    },
  );
});

describe('what a subgroup loads of a and hands round', () => {
  const pieces: PieceOfA[] = [8, 16, 32].flatMap((rows) => [
    { layout: 'NN' as const, rows, depth: 4 },
    { layout: 'TN' as const, rows, depth: 1 },
    { layout: 'TN' as const, rows, depth: 2 },
  ]);

  test.each(pieces)('$layout, $rows rows, $depth of k: every value has a holder', (piece) => {
    for (const lanes of [4, 8, 16])
      for (let row = 0; row < piece.rows; row++)
        for (let k = 0; k < piece.depth; k++) {
          const { lane, load, component } = holderOfA(piece, lanes, { row, k });
          expect(lane).toBeLessThan(lanes);
          expect(load).toBeLessThan(loadsOfA(piece, lanes));
          const first = vec4OfA(piece, lane + load * lanes); // what that lane loaded
          const [rows, ks] = piece.layout === 'TN' ? [component, 0] : [0, component];
          expect([first.row + rows, first.k + ks]).toEqual([row, k]);
        }
  });
});

describe('the choice of a tile', () => {
  const gpu = {
    software: false,
    subgroupSize: 32,
    maxBindings: 8,
    maxWorkgroupBytes: 49152,
    maxInvocations: 1024,
    matrixUnit: null,
  };
  const spec = (m: number, n: number, k: number) =>
    ({ layout: 'NT', m, n, k, batch: 1 }) as Parameters<typeof tiling>[0];
  const choice = (m: number, n: number, k: number, facts = gpu) => {
    const { tile, splits } = tiling(spec(m, n, k), facts);
    return `${tileName(tile)}/${splits}`;
  };

  test.each([
    [4096, 4096, 4096, '128x128x16/1'],
    [1024, 1024, 1024, '64x64x16/1'],
    [4096, 2048, 2048, '128x128x16/1'],
    [2048, 16, 2048, '32x32x16/3'], // a LoRA's first product
    [8, 2048, 2048, '32x32x16/3'], // few rows
    [64, 64, 64, '32x32x16/1'],
  ])('%i x %i x %i: %s', (m, n, k, expected) => {
    expect(choice(m, n, k)).toBe(expected);
  });

  test('stays within 16 KiB of workgroup memory where a device has no more', () => {
    expect(choice(4096, 4096, 4096, { ...gpu, maxWorkgroupBytes: 16384 })).toBe('64x64x16/1');
  });

  test('a software device takes the small tile', () => {
    expect(choice(4096, 4096, 4096, { ...gpu, software: true })).toBe('32x32x16/1');
  });
});

/** One of each kind: a software device compiles a large tile for a second. */
const cases = opCases.filter(({ name }) =>
  [
    'matmul/nt-33x64x172-plus-bias-in-float16',
    'matmul/nn-33x64x172-plus-output',
    'matmul/tn-64x33x172-scale0.25-plus-output',
    'matmul/tt-2x3x17x33x5',
    'matmul/nt-8x2050x33-scale2-plus-addend',
  ].includes(name),
);

/** SwiftShader compiles an unrolled tile for half a minute, the stand-ins for several. */
function skipOnSwiftShader({ choice }: DawnBackend, context: TestContext): void {
  if (choice.kind === 'swiftshader')
    context.skip('compiles for minutes on SwiftShader; runs on any other device');
}

/** Compares cases on a device with kernels of the test's own. */
async function compareOn(
  kernels: readonly Kernel[],
  cases: readonly OpCase[],
  context: TestContext,
): Promise<void> {
  const backend = await createDawnBackend({ tuning: false, kernels });
  context.onTestFinished(() => backend[Symbol.asyncDispose]());
  skipOnSwiftShader(backend, context);
  const failures: string[] = [];
  for (const testCase of cases) {
    const result = await compareCase(backend, testCase);
    if (!result.ok) failures.push(result.message);
  }
  expect(failures).toEqual([]);
}

/** The conformance suite runs the 32 x 32 tile; 32 x 128 is the mirror of one of these. */
const large = tiles.filter(({ bm }) => bm > 32);

describe.each(large.map((tile) => ({ name: tileName(tile), tile })))('$name', ({ tile }) => {
  test('equals the reference, k whole and in three', { timeout: 300_000 }, async (context) => {
    let splits = 1;
    const kernel = defineKernel({
      op: 'matmul',
      plan: (call, _facts, scratch) => tiledStages(problemOf(call), tile, splits, scratch),
    });
    expect(cases).toHaveLength(5);
    for (splits of [1, 3]) await compareOn([kernel], cases, context);
  });
});

/**
 * Devices here have no matrix unit, so its WGSL runs with stand-ins: a loaded matrix is its place in
 * workgroup memory, a sum is a place in `sums`, and each lane of a subgroup makes some of its elements.
 */
function emulated(wgsl: string, { M, N, K }: MatrixUnit, S: number): string {
  const size = M * N;
  const helpers = `struct Loaded { first: u32, row: u32, column: u32 }
var<workgroup> sums: array<f32, ${8 * 8 * size}>;
fn half(v: f32) -> f32 { return unpack2x16float(packFloat16(v)).x; }
fn row_major(first: u32, stride: u32) -> Loaded { return Loaded(first, stride, 1u); }
fn col_major(first: u32, stride: u32) -> Loaded { return Loaded(first, 1u, stride); }
fn multiply(l: Loaded, r: Loaded, sum: u32, lane: u32) -> u32 {
  for (var e = lane % ${S}u; e < ${size}u; e += ${S}u) {
    var total = sums[sum + e];
    for (var k = 0u; k < ${K}u; k++) {
      total += tileA[l.first + e / ${N}u * l.row + k * l.column] * tileB[r.first + k * r.row + e % ${N}u * r.column];
    }
    sums[sum + e] = total;
  }
  return sum;
}
fn store(first: u32, sum: u32, lane: u32) {
  for (var e = lane % ${S}u; e < ${size}u; e += ${S}u) { results[first + e] = sums[sum + e]; }
}
`;
  let sum = 0;
  return wgsl
    .replace(/^(enable (f16|chromium_experimental_subgroup_matrix)|diagnostic\(.*\));$/gm, '')
    .replace(
      /subgroupMatrixLoad<subgroup_matrix_\w+<[^>]*>, (\w+)>\(&tile[AB], (.*), (\d+u)\);/g,
      '$1($2, $3);',
    )
    .replace(
      /: subgroup_matrix_result<[^>]*>;/g,
      () => ` = (subgroup * 8u + ${sum++}u) * ${size}u;`,
    )
    .replace(/subgroupMatrixMultiplyAccumulate\((.*)\);/g, 'multiply($1, lane);')
    .replace(
      /subgroupMatrixStore<row_major>\(&results, mine, (\w+), \d+u\)/g,
      'store(mine, $1, lane)',
    )
    .replaceAll('f16(', 'half(')
    .replaceAll('array<f16,', 'array<f32,')
    .replace('@compute', `${helpers}@compute`);
}

describe('the matrix unit', () => {
  const S = 4;
  const unit: MatrixUnit = { M: 8, N: 4, K: 4 };
  const facts = {
    software: false,
    subgroupSize: 32,
    maxBindings: 8,
    maxWorkgroupBytes: 49152,
    maxInvocations: 1024,
    matrixUnit: { M: 16, N: 16, K: 16 },
  };
  const spec = (m: number, n: number, compute: 'float16' | 'float32') =>
    ({ layout: 'NT', m, n, k: 64, batch: 1, compute }) as Parameters<typeof acceptsMatrixUnit>[0];

  test('takes products in float16 that fill half a tile, if the device can hold one', () => {
    expect(acceptsMatrixUnit(spec(128, 128, 'float16'), facts)).toEqual({ M: 16, N: 16, K: 16 });
    expect(acceptsMatrixUnit(spec(128, 128, 'float32'), facts)).toBeNull();
    expect(acceptsMatrixUnit(spec(8, 128, 'float16'), facts)).toBeNull();
    const small = { ...facts, maxWorkgroupBytes: 16384 };
    expect(acceptsMatrixUnit(spec(128, 128, 'float16'), small)).toBeNull();
    expect(acceptsMatrixUnit(spec(128, 128, 'float16'), { ...facts, matrixUnit: null })).toBeNull();
  });

  const emulate = (problem: Problem, given: DeviceFacts) => {
    const stage = matrixStage(problem, unit, { ...given, subgroupSize: S });
    return [{ ...stage, wgsl: () => emulated(stage.wgsl(), unit, S) }];
  };

  test('emulated, equals the reference', { timeout: 300_000 }, async (context) => {
    const matmul = defineKernel({
      op: 'matmul',
      plan: (call, given) => emulate(problemOf(call), given),
    });
    const quantizedMatmul = defineKernel({
      op: 'quantizedMatmul',
      plan: (call, given, scratch) =>
        fusedStages(call, scratch, (problem) => emulate(problem, given)),
    });
    const halves = opCases.filter(
      ({ op, attrs }) => /^(matmul|quantizedMatmul)$/.test(op.name) && attrs.compute === 'float16',
    );
    expect(halves.length).toBeGreaterThan(5);
    await compareOn([matmul, quantizedMatmul], halves, context);
  });
});

describe('weights dequantised on their way into a tile', () => {
  const tile = tiles.find((t) => tileName(t) === '32x32x16')!;

  test('equals the reference', { timeout: 300_000 }, async (context) => {
    const kernel = defineKernel({
      op: 'quantizedMatmul',
      plan: (call, _facts, scratch) =>
        fusedStages(call, scratch, (problem) => tiledStages(problem, tile, 1, scratch)),
    });
    const quantized = opCases.filter(({ op }) => op.name === 'quantizedMatmul');
    await compareOn([kernel], quantized, context);
  });

  test('adds to what the output holds', async (context) => {
    const kernel = defineKernel({
      op: 'quantizedMatmul',
      plan: (call, _facts, scratch) =>
        fusedStages(call, scratch, (problem) => tiledStages(problem, tile, 1, scratch)),
    });
    for (const kernels of [[kernel], []]) {
      const backend = await createDawnBackend({ tuning: false, kernels });
      context.onTestFinished(() => backend[Symbol.asyncDispose]());
      const engine = new Engine(backend);
      const rng = new Rng(7);
      const random = (n: number) => Float32Array.from({ length: n }, () => rng.normal());
      const { codes, absmax, map } = quant.quantizeBlockwise(random(16 * 64), quant.nf4Map(), 64);
      const parts = [
        engine.tensor(new Uint32Array(codes.buffer), [codes.length / 4], 'uint32'),
        engine.tensor(absmax, [absmax.length]),
        engine.tensor(map, [map.length]),
      ];
      const attrs = {
        bits: 4,
        blockSize: 64,
        nested: false,
        offset: 0,
        outFeatures: 16,
        inFeatures: 64,
        transposed: true,
        scale: 0.5,
        accumulate: false,
        compute: 'float32',
      } as const;
      const x = engine.tensor(random(5 * 16), [5, 16]);
      const before = random(5 * 64);
      const out = engine.tensor(before, [5, 64]);
      engine.runInto(ops.quantizedMatmulOp, [x, ...parts], [out], { ...attrs, accumulate: true });
      const [product] = engine.run(ops.quantizedMatmulOp, [x, ...parts], attrs);
      const [got, added] = [await out.data(), await product!.data()];
      expect(added.some((v) => Math.abs(v) > 1)).toBe(true);
      for (const [i, v] of got.entries()) expect(v).toBeCloseTo(before[i]! + added[i]!, 5);
    }
  });
});

describe('what the tuner chooses among', () => {
  const spec = (m: number, changes: object = {}) =>
    ({
      ...{ layout: 'NT', m, n: 768, k: 288, batch: 1, aDtype: 'float32', bDtype: 'float32' },
      ...{ bBits: null, bBlock: 1, addendDtype: null, compute: 'float32', scale: 1 },
      ...{ plus: 'nothing', bStep: 0, ...changes },
    }) as ProductSpec;
  const gpu: DeviceFacts = {
    software: false,
    subgroupSize: 32,
    maxBindings: 8,
    maxWorkgroupBytes: 32768,
    maxInvocations: 256,
    matrixUnit: null,
  };

  test('the default first, each once, only what fits', () => {
    const { names } = productVariants(spec(1024), gpu);
    const { tile, splits } = tiling(spec(1024), gpu);
    expect(names[0]).toBe(`${tileName(tile)}/${splits}`);
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBeGreaterThan(3);
    const small = productVariants(spec(1024), { ...gpu, maxWorkgroupBytes: 16384 }).names;
    expect(small).not.toContain('128x128x16/1');
  });

  test('lengths of nearly the same size share a choice', () => {
    const key = (m: number) => productVariants(spec(m), gpu).key;
    expect(key(1000)).toBe(key(1024));
    expect(key(1000)).not.toBe(key(400));
  });

  test('on a software device, tiles of the subgroup kernel; all of them equal the reference', async (context) => {
    const software = { ...gpu, software: true, subgroupSize: 8 };
    const { names } = productVariants(spec(1024), software);
    expect(names).toEqual(['32x4', '32x8', '16x4', '16x8', '8x4'].map((tile) => `subgroup${tile}`));
    for (const name of names.slice(1)) {
      const kernel = defineKernel({
        op: 'matmul',
        plan: (call, facts, scratch) => productStages(problemOf(call), facts, scratch, name),
      });
      await compareOn([kernel], cases, context);
    }
  });
});
