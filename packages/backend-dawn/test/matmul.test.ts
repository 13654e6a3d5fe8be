import { describe, expect, test } from 'vitest';
import type { DeviceFacts } from '../src/kernels/kernel.js';
import { productVariants } from '../src/kernels/matmul/index.js';
import type { ProductSpec } from '../src/kernels/matmul/problem.js';
import { holderOfA, loadsOfA, type PieceOfA, vec4OfA } from '../src/kernels/matmul/subgroup.js';
import { acceptsThin, thinShare, thinTile } from '../src/kernels/matmul/thin.js';
import {
  owned,
  type Panel,
  panelLoads,
  panelSlot,
  panelVec4s,
} from '../src/kernels/matmul/tile.js';
import { panelsOf, tileName, tiles, tiling } from '../src/kernels/matmul/tiled.js';
import { KernelPaths } from './kernelPaths.js';
import { productTests, subgroupTiles } from './productsOn.js';

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

describe('the lanes of a product of few rows', () => {
  test.each(['NN', 'NT'] as const)('%s: read each weight of their columns once', (layout) => {
    const tile = thinTile({ layout, m: 3 });
    expect(tile.groups * tile.perGroup).toBe(64);
    const [turns, seen] = [3, new Map<string, number>()];
    for (let turn = 0; turn < turns; turn++)
      for (let lane = 0; lane < 64; lane++) {
        const { column, k } = thinShare(tile, lane, turn);
        for (let c = 0; c < 4; c++)
          for (let q = 0; q < 4; q++) {
            const weight = `${column + c},${k + q}`;
            seen.set(weight, (seen.get(weight) ?? 0) + 1);
          }
      }
    const [columns, depth] = [tile.groups * 4, tile.perGroup * 4 * turns];
    expect(seen.size).toBe(columns * depth);
    for (const [weight, times] of seen) {
      const [column, k] = weight.split(',').map(Number) as [number, number];
      expect([column < columns, k < depth, times]).toEqual([true, true, 1]);
    }
  });

  test.each([
    [1, 1],
    [2, 2],
    [3, 4],
    [5, 8],
    [8, 8],
  ])('%i rows take a shader for %i', (m, rows) => {
    expect(thinTile({ layout: 'NT', m }).rows).toBe(rows);
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

  test('few rows first as such, then by tiles; not where a is transposed, or on a software device', () => {
    const names = (m: number, changes: object = {}, facts = gpu) =>
      productVariants(spec(m, changes), facts).names;
    expect(names(8)[0]).toBe('thin');
    expect(names(8)[1]).toBe('32x32x16/1');
    expect(names(9)).not.toContain('thin');
    expect(names(1, { layout: 'TN' })).not.toContain('thin');
    expect(names(1, {}, { ...gpu, software: true })).not.toContain('thin');
    expect(acceptsThin({ layout: 'NN', m: 1, n: 4, k: 0 }, gpu)).toBe(false);
  });

  test('lengths of nearly the same size share a choice', () => {
    const key = (m: number) => productVariants(spec(m), gpu).key;
    expect(key(1000)).toBe(key(1024));
    expect(key(1000)).not.toBe(key(400));
  });

  test('on a software device, tiles of the subgroup kernel', () => {
    expect(productVariants(spec(1024), { ...gpu, software: true, subgroupSize: 8 }).names).toEqual(
      subgroupTiles.map((tile) => `subgroup${tile}`),
    );
  });

  test.each([
    [1, '1x4'],
    [2, '2x4'],
    [3, '4x4'],
    [8, '8x4'],
    [9, '16x4'],
    [17, '32x4'],
  ])('of %i rows no tile of the subgroup kernel makes many more: %s', (m, tile) => {
    const facts = { ...gpu, software: true, subgroupSize: 8 };
    expect(productVariants(spec(m), facts).names[0]).toBe(`subgroup${tile}`);
  });
});

productTests(new KernelPaths());
