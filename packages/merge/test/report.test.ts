import { describe, expect, test } from 'vitest';
import { chunkedGroup } from '../src/arithmetic/chunkedGroup.js';
import { reportHtml } from '../src/report/html.js';
import { MergeReport, type ReportedTensor } from '../src/report/mergeReport.js';
import { StatisticsOf } from '../src/report/statistics.js';

const reader = (values: readonly number[]) => {
  const array = Float32Array.from(values);
  return {
    read: (start: number, into: Float32Array) =>
      into.set(array.subarray(start, start + into.length)),
  };
};

function statistics(
  inputs: readonly (readonly number[])[],
  baseIndex: number | null,
  result: readonly number[],
  chunkElements: number,
) {
  const shape = [inputs[0]!.length];
  const group = chunkedGroup({
    name: 'layers.0.x',
    shape,
    inputs: inputs.map(reader),
    baseIndex,
    chunks: 'elements',
    chunkElements,
  });
  const out = Float32Array.from(result);
  const sums = new StatisticsOf(group);
  for (const chunk of group.chunks())
    sums.add(chunk, out.subarray(chunk.start, chunk.start + chunk.length));
  return sums.finish();
}

describe('statistics of a tensor', () => {
  const base = [1, 1, 1, 1];
  const up = [4, 1, 1, 5];
  const mixed = [4, 1, 3, -3];
  for (const chunk of [1, 3, 100])
    test(`norms, cosine, conflicts and change, in pieces of ${chunk}`, () => {
      expect(statistics([up, base, mixed], 1, [1, 1, 1, 3], chunk)).toEqual({
        name: 'layers.0.x',
        length: 4,
        models: [0, 2],
        baseNorm: 2,
        norms: [5, Math.sqrt(9 + 4 + 16)],
        // (3 * 3 + 4 * -4) / (5 * sqrt 29)
        cosines: [-7 / (5 * Math.sqrt(29))],
        signConflicts: 0.25,
        kept: null,
        change: 2,
      });
    });

  test('without a base they are those of the models; a zero model has cosine 0', () => {
    expect(
      statistics(
        [
          [3, 4],
          [0, 0],
        ],
        null,
        [1.5, 2],
        1,
      ),
    ).toMatchObject({
      baseNorm: null,
      norms: [5, 0],
      cosines: [0],
      signConflicts: null,
      change: 2.5,
    });
  });
});

const tensor = (name: string, layer: number | null, scale: number): ReportedTensor => ({
  ...statistics(
    [
      [1, 0],
      [1 + scale, 0],
      [1, scale],
    ],
    0,
    [1 + scale / 2, scale / 2],
    10,
  ),
  name,
  layer,
  modelNames: ['org/<math>', 'org/code'],
  kept: [0.5, 1],
});

const report = new MergeReport(
  {
    method: 'ties',
    title: 'TIES',
    baseModel: 'org/base',
    seed: 7,
    parity: 'float32',
    seconds: 1.25,
    bytesWritten: 16,
    yaml: 'merge_method: ties\nnote: a < b',
    warnings: ['the tokenizers differ'],
  },
  [tensor('embed', null, 1), tensor('layers.1.x', 1, 4), tensor('layers.0.x', 0, 2)],
);

describe('the report', () => {
  test('groups by layer, in order, and all together', () => {
    expect(report.groups.map(({ label, norms }) => [label, norms])).toEqual([
      ['layer 0', [2, 2]],
      ['layer 1', [4, 4]],
      ['others', [1, 1]],
    ]);
    expect(report.whole.norms[0]).toBeCloseTo(Math.sqrt((4 + 16 + 1) / 3), 12);
    expect(report.cosine('org/<math>', 'org/code')).toBe(0);
    expect(report.cosine('org/code', 'org/code')).toBe(1);
    expect(report.kept('org/<math>')).toBe(0.5);
  });

  test('is a table that fits into a terminal', () => {
    expect(`${report}`).toMatchInlineSnapshot(`
      "TIES on org/base
        A = org/<math>, 50.0 % kept
        B = org/code, 100.0 % kept

      Norm of each task vector and of the change, as a share of the base:
                     A      B  change  conflicts
        all      2.646  2.646   1.871      0.0 %
        layer 0  2.000  2.000   1.414      0.0 %
        layer 1  4.000  4.000   2.828      0.0 %
        others   1.000  1.000   0.707      0.0 %

      Cosine of the task vectors:
               A      B
        A  1.000  0.000
        B  0.000  1.000"
    `);
    for (const line of `${report}`.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });

  test('fits with many models of long names too', () => {
    const many = Array.from({ length: 9 }, (_, k) => `${'/a/long/path/'.repeat(8)}model-${k}`);
    const wide: ReportedTensor = {
      ...statistics([[1], ...many.map((_, k) => [k])], 0, [3], 10),
      layer: 0,
      modelNames: many,
    };
    const text = `${new MergeReport({ ...report.facts, baseModel: many[0]! }, [wide])}`;
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(text).toContain('(3 more are left out)');
    expect(text).toContain('model-5');
  });

  test('is JSON that holds every tensor', () => {
    const json = JSON.parse(JSON.stringify(report));
    expect(json.tensors).toHaveLength(3);
    expect(json.cosines).toEqual([
      [1, 0],
      [0, 1],
    ]);
    expect(json.seed).toBe(7);
  });

  test('is a page of its own: names are text, nothing comes from elsewhere', () => {
    const html = reportHtml(report);
    expect(html).toContain('org/&lt;math&gt;');
    expect(html).toContain('note: a &lt; b');
    expect(html).not.toMatch(/<script|<math>|https?:|NaN|undefined|Infinity/);
  });
});
