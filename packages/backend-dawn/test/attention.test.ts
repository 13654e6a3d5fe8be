import { describe, expect, test } from 'vitest';
import { holder, lanesPerRow } from '../src/kernels/attention/rows.js';

/** Registers of a head (vec4s, or floats where the width is odd), and lanes of a subgroup. */
const counts = [1, 2, 3, 4, 6, 7, 9, 12, 16, 20, 32];
const subgroups = [4, 8, 16, 32];

describe.each(subgroups)('a subgroup of %i lanes', (lanes) => {
  test.each(counts)('hands round every register of rows of %i', (count) => {
    const perRow = lanesPerRow(count, lanes);
    expect(count % perRow).toBe(0);
    expect(lanes % perRow).toBe(0);
    // What the shader loads: lane l takes row l / perRow of the block, registers l % perRow + slot
    // * perRow.
    const loaded = Array.from({ length: lanes }, (_, lane) =>
      Array.from({ length: count / perRow }, (_, slot) => ({
        row: Math.floor(lane / perRow),
        register: (lane % perRow) + slot * perRow,
      })),
    );
    for (let row = 0; row < lanes / perRow; row++)
      for (let register = 0; register < count; register++) {
        const { lane, slot } = holder(row, register, perRow);
        expect(loaded[lane]![slot]).toEqual({ row, register });
      }
  });
});
