import { describe, expect, test } from 'vitest';
import type { DeviceFacts, MatrixUnit } from '../src/kernels/kernel.js';
import { productVariants } from '../src/kernels/matmul/index.js';
import {
  bandOf,
  bandSize,
  bandSlot,
  halfSlot,
  matricesOf,
  matrixPanels,
  matrixTileName,
  matrixTiles,
  matrixTiling,
  panelHalves,
  subgroupsOf,
} from '../src/kernels/matmul/matrixTile.js';
import type { ProductSpec } from '../src/kernels/matmul/problem.js';
import { panelLoads } from '../src/kernels/matmul/tile.js';

/** As NVIDIA, Intel and Apple have them. */
const units: readonly MatrixUnit[] = [
  { M: 16, N: 16, K: 16 },
  { M: 8, N: 16, K: 16 },
  { M: 8, N: 8, K: 8 },
];
const layouts = ['NN', 'NT', 'TN', 'TT'] as const;
const shares = matrixTiles.flatMap((tile) =>
  units.map((unit) => ({
    name: `${matrixTileName(tile)} of ${Object.values(unit).join('x')}`,
    tile,
    unit,
  })),
);

describe('the index arithmetic of matrix tiles', () => {
  test.each(matrixTiles)(
    '$bm x $bn: filling touches each value once, on places of its own',
    (tile) => {
      for (const layout of layouts)
        for (const panel of matrixPanels({ layout }, tile)) {
          const seen = new Set<number>();
          const places = new Set<number>();
          for (let e = 0; e < panelLoads(panel); e++) {
            const { x, k, at } = halfSlot(panel, e);
            for (let q = 0; q < 4; q++) {
              const [dx, dk] = panel.alongK ? [0, q] : [q, 0];
              if (x + dx < panel.size && k + dk < panel.depth)
                seen.add((x + dx) * panel.depth + k + dk);
              places.add(at + q);
            }
          }
          expect(Math.max(...places)).toBeLessThan(panelHalves(panel));
          expect(seen.size).toBe(panel.size * panel.depth);
          expect(places.size).toBe(seen.size);
        }
    },
  );

  test.each(shares)('$name: its bands store each result once', ({ tile, unit }) => {
    const { rows, columns, depth } = matricesOf(tile, unit);
    expect([rows, columns, depth].every(Number.isInteger)).toBe(true);
    for (const maxBytes of [16_384, 32_768, 49_152]) {
      const band = bandOf({ layout: 'NT', bBits: null }, tile, unit, maxBytes);
      if (!band) continue;
      const { height, width, stride } = bandSize(band, tile, unit);
      const stored = new Set<number>();
      for (let i = 0; i < rows; i += band.rows)
        for (let j = 0; j < columns; j += band.columns)
          for (let e = 0; e < (height * width) / 4; e++) {
            const slot = bandSlot(band, { rows: i, columns: j }, tile, unit, e);
            // Which subgroup has it, and where that one puts it.
            const [down, across] = [
              Math.floor(slot.i / (rows * unit.M)),
              Math.floor(slot.j / (columns * unit.N)),
            ];
            const mine = down * band.rows * unit.M * stride + across * band.columns * unit.N;
            const [r, c] = [
              (slot.i % (rows * unit.M)) - i * unit.M,
              (slot.j % (columns * unit.N)) - j * unit.N,
            ];
            const isThere = slot.at === mine + r * stride + c && slot.at + 3 < height * stride;
            for (let q = 0; q < 4 && isThere; q++) stored.add(slot.i * tile.bn + slot.j + q);
          }
      expect(stored.size).toBe(tile.bm * tile.bn);
      expect([...stored].every((at) => at < tile.bm * tile.bn)).toBe(true);
    }
  });

  test('small and thin tiles store their results at once', () => {
    const unit = units[0]!;
    for (const tile of matrixTiles.slice(-3)) {
      const { rows, columns } = matricesOf(tile, unit);
      const band = bandOf({ layout: 'NT', bBits: null }, tile, unit, 32_768);
      expect(band).toEqual({ rows, columns });
    }
  });
});

const facts: DeviceFacts = {
  software: false,
  subgroupSize: 32,
  maxBindings: 8,
  maxWorkgroupBytes: 49_152,
  maxInvocations: 1024,
  matrixUnit: { M: 16, N: 16, K: 16 },
};
const spec = (m: number, n: number, k: number, changes: object = {}) =>
  ({
    ...{ layout: 'NT', m, n, k, batch: 1, aDtype: 'float32', bDtype: 'float32', bBits: null },
    ...{ bBlock: 1, addendDtype: null, compute: 'float16', scale: 1, plus: 'nothing', bStep: 0 },
    ...changes,
  }) as ProductSpec;

describe('the choice of a matrix tile', () => {
  const choice = (m: number, n: number, k: number, given: DeviceFacts = facts) => {
    const [first] = matrixTiling(spec(m, n, k), given);
    return first ? `${matrixTileName(first.tile)}/${first.splits}` : null;
  };

  test.each([
    [4096, 4096, 4096, 'matrix128x256x32:2x4/1'],
    [2048, 2048, 2048, 'matrix128x128x32:2x4/1'],
    [1024, 1024, 4096, 'matrix64x64x32:2x2/1'],
    [512, 512, 4096, 'matrix64x64x32:2x2/3'], // too few tiles: k is split
    [2048, 16, 2048, 'matrix128x16x32:4x1/8'], // a LoRA's first product
    [16, 2048, 2048, 'matrix16x128x32:1x4/8'], // the gradient of its A
    [2048, 2048, 16, 'matrix128x128x32:2x4/1'], // its second
    [8, 4096, 4096, 'matrix16x128x32:1x4/6'],
    [1, 4096, 4096, null], // a row fills no matrix
    [40, 40, 64, null],
  ])('%i x %i x %i: %s', (m, n, k, expected) => {
    expect(choice(m, n, k)).toBe(expected);
  });

  test('only products in float16, only on a device that has a unit', () => {
    expect(matrixTiling(spec(128, 128, 64, { compute: 'float32' }), facts)).toEqual([]);
    expect(choice(128, 128, 64, { ...facts, matrixUnit: null })).toBeNull();
  });

  test('stays within the memory and the lanes of a workgroup', () => {
    for (const maxWorkgroupBytes of [8192, 16_384, 32_768, 49_152])
      for (const maxInvocations of [64, 128, 256]) {
        const tiling = matrixTiling(spec(4096, 4096, 64), {
          ...facts,
          maxWorkgroupBytes,
          maxInvocations,
        });
        expect(tiling.length > 0).toBe(maxWorkgroupBytes >= 16_384 && maxInvocations >= 128);
        for (const { tile } of tiling) {
          const { height, stride } = bandSize(
            bandOf(spec(1, 1, 1), tile, facts.matrixUnit!, maxWorkgroupBytes)!,
            tile,
            facts.matrixUnit!,
          );
          const panels = matrixPanels({ layout: 'NT' }, tile).map(
            (panel) => 2 * panelHalves(panel),
          );
          expect(panels[0]! + panels[1]! + 4 * height * stride).toBeLessThanOrEqual(
            maxWorkgroupBytes,
          );
          expect(subgroupsOf(tile) * 32).toBeLessThanOrEqual(maxInvocations);
        }
      }
  });

  test('the tuner has them all, each with k whole, before tiles without the unit', () => {
    const { names } = productVariants(spec(512, 512, 4096), facts);
    expect(names.slice(0, 2)).toEqual(['matrix64x64x32:2x2/3', 'matrix64x64x32:2x2/1']);
    expect(names).toContain('matrix128x256x32:2x4/1');
    expect(names).toContain('128x128x16/1');
    expect(names.findIndex((name) => !name.startsWith('matrix'))).toBeGreaterThan(8);
  });
});
