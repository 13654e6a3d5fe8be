import { Engine, numel, ops } from '@attune/core';
import { quant } from '@attune/core/tensor';
import { compareCase, type OpCase, opCases } from '@attune/core/testing';
import { Rng } from '@attune/core/util';
import { describe, expect, type TestContext, test } from 'vitest';
import { factsOf } from '../src/deviceFacts.js';
import { createDawnBackend, type DawnBackend, defineKernel } from '../src/index.js';
import type { DeviceFacts, Kernel } from '../src/kernels/kernel.js';
import { productStages } from '../src/kernels/matmul/index.js';
import { matrixTileName, matrixTiles } from '../src/kernels/matmul/matrixTile.js';
import { type Problem, problemOf, specOf } from '../src/kernels/matmul/problem.js';
import { matrixStages } from '../src/kernels/matmul/subgroupMatrix.js';
import { acceptsThin, thinStage } from '../src/kernels/matmul/thin.js';
import { tiledStages, tileName, tiles } from '../src/kernels/matmul/tiled.js';
import { fusedStages } from '../src/kernels/quantized.js';
import { emulatedFacts, emulatedStage, scaledTile } from './emulatedUnit.js';
import type { KernelPaths } from './kernelPaths.js';

type Scratch = Parameters<Kernel['plan']>[2];

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

const noFacts: DeviceFacts = {
  ...{ subgroupSize: 0, software: false, maxBindings: 10, maxWorkgroupBytes: 16_384 },
  ...{ maxInvocations: 256, matrixUnit: null },
};
const isEmpty = ({ inputs }: OpCase): boolean => inputs.some(({ shape }) => numel(shape) === 0);

/** SwiftShader compiles an unrolled tile for half a minute, the stand-ins for several. */
function skipOnSwiftShader({ choice }: DawnBackend, context: TestContext): void {
  if (choice.kind === 'swiftshader')
    context.skip('compiles for minutes on SwiftShader; runs on any other device');
}

/**
 * Compares cases on a device with kernels of the test's own: one for each path that is new, or all.
 */
async function compareOn(
  kernels: readonly Kernel[],
  cases: readonly OpCase[],
  paths: KernelPaths | null,
  context: TestContext,
): Promise<void> {
  const backend = await createDawnBackend({ tuning: false, kernels });
  context.onTestFinished(() => backend[Symbol.asyncDispose]());
  skipOnSwiftShader(backend, context);
  const failures: string[] = [];
  const kernelOf = (op: string) => kernels.find((kernel) => kernel.op === op);
  const chosen = paths?.choose(cases, factsOf(backend.device, backend.choice), kernelOf) ?? cases;
  for (const testCase of chosen) {
    const result = await compareCase(backend, testCase);
    if (!result.ok) failures.push(result.message);
  }
  expect(failures).toEqual([]);
}

/** The conformance suite runs the 32 x 32 tile; 32 x 128 is the mirror of one of these. */
const large = tiles.filter(({ bm }) => bm > 32).sort((a, b) => a.bm * a.bn - b.bm * b.bn);

/** Tiles of the subgroup kernel, the default first. */
export const subgroupTiles = ['32x4', '32x8', '16x4', '16x8', '8x4'];

/**
 * Kernels of products that conformance does not reach on a software device, against the reference.
 *
 * @param paths chooses one case for each path through them; null: all cases
 */
export function productTests(paths: KernelPaths | null): void {
  describe.each(large.map((tile) => ({ name: tileName(tile), tile })))('$name', ({ tile }) => {
    test('equals the reference, k whole and in three', async (context) => {
      let splits = 1;
      const kernel = defineKernel({
        op: 'matmul',
        plan: (call, _facts, scratch) => tiledStages(problemOf(call), tile, splits, scratch),
      });
      expect(cases).toHaveLength(5);
      for (splits of [1, 3]) await compareOn([kernel], cases, paths, context);
    });
  });

  describe('the matrix unit', () => {
    const halves = opCases.filter(
      ({ op, attrs }) => /^(matmul|quantizedMatmul)$/.test(op.name) && attrs.compute === 'float16',
    );

    for (const tile of matrixTiles)
      test(`${matrixTileName(tile)}, emulated, equals the reference`, async (context) => {
        // k in three is one more shader: enough in one tile where paths count.
        const shares = paths && tile !== matrixTiles.at(-1) ? [1] : [1, 3];
        expect(halves.length).toBeGreaterThan(5);
        for (const splits of shares) {
          const products = (problem: Problem, given: DeviceFacts, scratch: Scratch) =>
            matrixStages(problem, scaledTile(tile), splits, emulatedFacts(given), scratch).map(
              (stage) => emulatedStage(stage),
            );
          const matmul = defineKernel({
            op: 'matmul',
            plan: (call, given, scratch) => products(problemOf(call), given, scratch),
          });
          const quantizedMatmul = defineKernel({
            op: 'quantizedMatmul',
            plan: (call, given, scratch) =>
              fusedStages(call, scratch, (problem) => products(problem, given, scratch)),
          });
          await compareOn([matmul, quantizedMatmul], halves, paths, context);
        }
      });
  });

  describe('few rows', () => {
    const gpu = (facts: DeviceFacts) => ({ ...facts, software: false });
    const isThin = ({ inputs, attrs }: OpCase): boolean =>
      acceptsThin(specOf(inputs, attrs as unknown as ops.MatmulAttrs), gpu(noFacts));

    test('equal the reference, summed up in subgroups', async (context) => {
      const kernel = defineKernel({
        op: 'matmul',
        plan: (call, facts) => [thinStage(problemOf(call), gpu(facts))],
      });
      const few = opCases.filter((c) => c.op.name === 'matmul' && !isEmpty(c) && isThin(c));
      expect(few.length).toBeGreaterThan(30);
      await compareOn([kernel], few, paths, context);
    });

    test('equal it with weights dequantised on their way', async (context) => {
      const kernel = defineKernel({
        op: 'quantizedMatmul',
        plan: (call, facts, scratch) =>
          fusedStages(call, scratch, (problem) => {
            expect(acceptsThin(problem, gpu(facts))).toBe(true);
            return [thinStage(problem, gpu(facts))];
          }),
      });
      const few = opCases.filter(
        ({ op, inputs }) =>
          op.name === 'quantizedMatmul' && numel(inputs[0]!.shape) / inputs[0]!.shape.at(-1)! <= 8,
      );
      expect(few.length).toBeGreaterThan(3);
      await compareOn([kernel], few, paths, context);
    });
  });

  describe('weights dequantised on their way into a tile', () => {
    const tile = tiles.find((t) => tileName(t) === '32x32x16')!;

    test('equals the reference', async (context) => {
      const kernel = defineKernel({
        op: 'quantizedMatmul',
        plan: (call, _facts, scratch) =>
          fusedStages(call, scratch, (problem) => tiledStages(problem, tile, 1, scratch)),
      });
      const quantized = opCases.filter(({ op }) => op.name === 'quantizedMatmul');
      await compareOn([kernel], quantized, paths, context);
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

  describe("the subgroup kernel's tiles", () => {
    for (const tile of subgroupTiles.slice(1))
      test(`${tile} equals the reference`, async (context) => {
        const kernel = defineKernel({
          op: 'matmul',
          plan: (call, facts, scratch) =>
            productStages(problemOf(call), facts, scratch, `subgroup${tile}`),
        });
        await compareOn([kernel], cases, paths, context);
      });
  });
}
