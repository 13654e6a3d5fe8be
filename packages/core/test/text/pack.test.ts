import { collateTokens, countLabels, type TokenExample } from '@attune/core';
import { packExamples } from '@attune/core/text';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fixtureJson } from '../models/support.js';

const example = (ids: readonly number[]): TokenExample => ({
  inputIds: ids,
  labels: ids.map((id) => id + 1000),
});

interface PackCase {
  readonly name: string;
  readonly inputs: { readonly rows: number[][] };
  readonly attrs: {
    readonly maxLength: number;
    readonly strategy: 'bfd' | 'bfd_split' | 'wrapped';
  };
  readonly outputs: { readonly inputIds: number[][]; readonly seqLengths?: number[][] };
}

describe('rows 14, 15: as trl.pack_dataset', () => {
  const cases = ['row14-pack-bfd.json', 'row15-pack-split.json'].flatMap(
    (file) => (fixtureJson(file) as { cases: PackCase[] }).cases,
  );
  test.each(cases.map((c) => [`${c.name}, ${c.attrs.strategy}`, c] as const))('%s', (_, c) => {
    const packed = packExamples(c.inputs.rows.map(example), c.attrs.maxLength, c.attrs.strategy);
    expect(packed.map(({ inputIds }) => [...Array.from(inputIds)])).toEqual(c.outputs.inputIds);
    expect(packed.map(({ labels }) => Array.from(labels, (id) => id - 1000))).toEqual(
      c.outputs.inputIds,
    );
    expect(c.outputs.seqLengths ? packed.map((row) => row.seqLengths) : undefined).toEqual(
      c.outputs.seqLengths,
    );
  });
});

interface CollateCase {
  readonly name: string;
  readonly inputs: { readonly inputIds: number[][]; readonly seqLengths: number[][] };
  readonly outputs: {
    readonly labels: number[];
    readonly positionIds: number[];
    readonly seqIdx: number[];
  };
}

describe('row 13: a batch of packed rows', () => {
  const { cases } = fixtureJson('row13-packed-labels.json') as { cases: CollateCase[] };
  test.each(cases.map((c) => [c.name, c] as const))('%s', (_, { inputs, outputs }) => {
    const batch = collateTokens(
      inputs.inputIds.map((ids, i) => ({
        inputIds: ids,
        labels: ids,
        seqLengths: inputs.seqLengths[i]!,
      })),
      64,
    );
    const [, width] = batch.labels.shape;
    const unpadded = (name: keyof typeof batch) =>
      inputs.inputIds.flatMap((ids, i) => [
        ...batch[name].data.slice(i * width, i * width + ids.length),
      ]);
    expect(unpadded('inputIds')).toEqual(inputs.inputIds.flat());
    expect(unpadded('positions')).toEqual(outputs.positionIds);
    // Theirs are not shifted and count on through the rows of a batch.
    const shifted = outputs.labels.slice(1);
    const ends = inputs.inputIds.map((_, i) => inputs.inputIds.slice(0, i + 1).flat().length - 1);
    expect(unpadded('labels')).toEqual(
      outputs.labels.map((_, t) => (ends.includes(t) ? -100 : shifted[t])),
    );
    const counted = inputs.inputIds.flatMap((ids, i) => {
      const before = inputs.seqLengths.slice(0, i).flat().length;
      return ids.map((_, t) => before + batch.segments.data[i * width + t]!);
    });
    expect(counted).toEqual(outputs.seqIdx);
    expect([...batch.segments.data].filter((segment) => segment === -1).length).toBe(
      batch.segments.data.length - inputs.inputIds.flat().length,
    );
  });

  test('lengths that are not those of the row are refused', () => {
    expect(() =>
      collateTokens([{ inputIds: [1, 2, 3], labels: [1, 2, 3], seqLengths: [2, 2] }], 8),
    ).toThrow(/SEQ_LENGTHS: row 0 of a batch: seqLengths \[2, 2\] sum to 4, but the row has 3/);
  });
});

/** Rows of 0 to 40 ids, each id different from all others. */
const rowSets = fc.array(fc.nat({ max: 40 }), { maxLength: 60 }).map((lengths) => {
  let id = 0;
  return lengths.map((n) => example(Array.from({ length: n }, () => id++)));
});
const idsOf = (rows: readonly TokenExample[]) =>
  rows.flatMap(({ inputIds }) => Array.from(inputIds)).sort((a, b) => a - b);

describe('whatever the lengths', () => {
  test.each(['bfd', 'bfd_split', 'wrapped'] as const)('%s', (strategy) => {
    fc.assert(
      fc.property(rowSets, fc.integer({ min: 1, max: 48 }), (rows, maxLength) => {
        const packed = packExamples(rows, maxLength, strategy);
        const kept = rows.map(({ inputIds, labels }) => ({
          inputIds: Array.from(inputIds).slice(0, strategy === 'bfd' ? maxLength : undefined),
          labels,
        }));
        // No token lost, none twice; labels stay with their ids; no row too long or empty.
        expect(idsOf(packed)).toEqual(idsOf(kept));
        for (const { inputIds, labels, seqLengths } of packed) {
          expect(Array.from(labels)).toEqual(Array.from(inputIds, (id) => id + 1000));
          expect(inputIds.length).toBeGreaterThan(0);
          expect(inputIds.length).toBeLessThanOrEqual(maxLength);
          if (strategy !== 'wrapped')
            expect(seqLengths!.reduce((n, part) => n + part, 0)).toBe(inputIds.length);
        }
        if (strategy === 'wrapped') return;
        // Best fit opens a row only when no open one has the room: two rows never fit into one.
        const lengths = packed.map(({ inputIds }) => inputIds.length).sort((a, b) => a - b);
        if (lengths.length > 1) expect(lengths[0]! + lengths[1]!).toBeGreaterThan(maxLength);
        if (strategy !== 'bfd') return;
        // As many items as the same rows have alone: each example keeps all but its first label.
        const items = (list: readonly TokenExample[]) =>
          countLabels(collateTokens(list, maxLength).labels.data);
        if (packed.length > 0)
          expect(items(packed)).toBe(
            kept.reduce((n, { inputIds }) => n + Math.max(inputIds.length - 1, 0), 0),
          );
      }),
      { numRuns: 60 },
    );
  });
});

test('a row of no tokens is an error', () => {
  expect(() => packExamples([], 0)).toThrow(/MAX_LENGTH: packing into rows of 0 tokens/);
});
