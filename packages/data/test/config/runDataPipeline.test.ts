import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAttune, definePlugin } from '@attune/core';
import {
  DataPipeline,
  data,
  defineDataStage,
  planDataPipeline,
  runDataPipeline,
} from '@attune/data';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { DataStages } from '../../src/contract/dataStage.js';
import { builtinStages } from '../../src/stages/index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-yaml-'));
  const line = (n: number) => JSON.stringify({ text: `This is row ${n}.`, document_id: n % 5 });
  await writeFile(
    at('a.jsonl'),
    `${Array.from({ length: 20 }, (_, n) => line(n)).join('\n')}\n7\n`,
  );
  await writeFile(at('b.csv'), 'text,document_id\nAnother one.,x\n');
});
afterAll(() => rm(folder, { recursive: true }));

const at = (name: string) => join(folder, name);
async function yaml(text: string, name = 'pipeline.yaml'): Promise<string> {
  await writeFile(at(name), text.replaceAll('DIR', folder));
  return at(name);
}

const whole = `seed: 3
sources:
  - DIR/a.jsonl
  - { path: DIR/b.csv, delimiter: "," }
stages:
  - validate: { schema: text, on_invalid: drop }
  - dedupe
  - split: { group_by: document_id, test_size: 0.2 }
output: { folder: DIR/out, overwrite: true, cache_dir: null }
`;

test('sources, stages and output; snake_case and camelCase; the same as in TypeScript', async () => {
  const report = await runDataPipeline(await yaml(whole), { progress: false });
  expect(report).toMatchObject({ rowsIn: 22, rowsOut: 21, quarantined: 1, groupsShared: 0 });
  const test = await readFile(at('out/test.jsonl'), 'utf8');
  await runDataPipeline(await yaml(whole.replace('group_by', 'groupBy')), { progress: false });
  expect(await readFile(at('out/test.jsonl'), 'utf8')).toBe(test);
  const top = whole.replace('- dedupe', '- keep_top: { by: n, count: 1 }');
  await expect(planDataPipeline(await yaml(top))).resolves.toBeDefined();
  const planned = await planDataPipeline(await yaml(whole));
  expect(planned.files).toEqual([at('a.jsonl'), at('b.csv')]);
  expect(planned.stages.map(({ name }) => name)).toEqual(['validate', 'dedupe', 'split']);
});

test('anchors and merge keys; files of a mix; keys of records are data', async () => {
  const stage = defineDataStage({
    name: 'count',
    options: z.strictObject({ byName: z.record(z.string(), z.strictObject({ maxRows: z.int() })) }),
    async *run(rows, { byName }, context) {
      context.fact('given', byName);
      yield* rows;
    },
  });
  const plugin = definePlugin({
    name: 'acme',
    version: '1.0.0',
    apiVersion: 1,
    register: (context) => context.add(DataStages, stage),
  });
  await using attune = await createAttune({ plugins: [data(), plugin], backend: 'reference' });
  const file = await yaml(`sources: DIR/a.jsonl
stages:
  - mix: { sources: [{ name: general, rows: DIR/b.csv, ratio: 0.1 }] }
  - count:
      by_name: &all
        my_source: { max_rows: 3 }
  - count:
      byName:
        <<: *all
        other: { maxRows: 4 }
output: DIR/anchors
`);
  const { stages, rowsOut } = await runDataPipeline(file, { attune, progress: false });
  expect(stages.slice(2).map(({ facts }) => facts.given)).toEqual([
    { my_source: { maxRows: 3 } },
    { my_source: { maxRows: 3 }, other: { maxRows: 4 } },
  ]);
  expect(rowsOut).toBe(22);
});

const endpoint =
  '{ type: openai, base_url: "http://127.0.0.1:9/v1", model: m, api_key_env: NO_KEY }';

/** The options of each stage as a file may give them; null: functions alone, which no file has. */
const inYaml: Readonly<Record<string, string | null>> = {
  backInstruct: `{ provider: ${endpoint}, curator: ${endpoint}, min_score: 4 }`,
  backTranslate: `{ provider: ${endpoint}, through: [French], length_ratio: [0.5, 2] }`,
  curriculum: '{ by: length, pacing: linear }',
  dedupe: '{ near: { threshold: 0.7 }, semantic: { embedder: tiny, exact_rows: 5 } }',
  evolInstruct: `{ provider: ${endpoint} }`,
  filter: null,
  keepTop: '{ by: document_id, count: 3 }',
  map: null,
  mix: '{ sources: [{ name: general, rows: { path: DIR/b.csv, delimiter: "," }, ratio: 0.1 }] }',
  makePreferencePairs: `{ provider: ${endpoint}, judge: ${endpoint} }`,
  quality: '{ checks: [completeness, { name: completeness, min_score: 0.3 }] }',
  scoreComplexity: '{ model: tiny, batch_size: 2 }',
  scoreIfd: '{ model: tiny, batch_size: 2 }',
  scoreQuality: '{ model: tiny, batch_size: 2 }',
  selectDiverse: '{ count: 3 }',
  selfInstruct: `{ provider: ${endpoint}, count: 3 }`,
  split: '{ group_by: document_id, test_size: 0.2 }',
  validate: '{ schema: text, on_invalid: drop }',
};

describe('all stages', () => {
  test('of the code form have a name in files', () => {
    const {
      stage,
      with: withOptions,
      rows,
      collect,
      writeTo,
      ...methods
    } = Object.fromEntries(
      Object.getOwnPropertyNames(DataPipeline.prototype).map((name) => [name, name]),
    );
    expect({ stage, withOptions, rows, collect, writeTo }).toEqual({
      stage: 'stage',
      withOptions: 'with',
      rows: 'rows',
      collect: 'collect',
      writeTo: 'writeTo',
    });
    const named = builtinStages.map(({ name }) => name).sort();
    expect(
      Object.keys(methods)
        .filter((name) => name !== 'constructor')
        .sort(),
    ).toEqual(named);
    expect(Object.keys(inYaml).sort()).toEqual(named);
  });

  test.each(Object.entries(inYaml))('%s takes its options from a file', async (name, options) => {
    const of = (given: string) =>
      `sources: DIR/a.jsonl\nstages:\n  - ${name}: ${given}\noutput: DIR/none\n`;
    if (options === null) {
      await expect(planDataPipeline(await yaml(of('{}')))).rejects.toThrow(/DATA_YAML.*:3:\d+:/);
      return;
    }
    const { stages } = await planDataPipeline(await yaml(of(options)));
    expect(stages.map((stage) => stage.name)).toEqual([name]);
    const wrong = options.replace(/ \}$/, ', no_such: 1 }');
    await expect(planDataPipeline(await yaml(of(wrong)))).rejects.toThrow(
      /DATA_YAML: .*:3:\d+: .*there is no option "no_?[sS]uch"/,
    );
  });

  test('those with a model or an embedder need a device', async () => {
    const needs = async (name: string, options: string) => {
      const text = `sources: DIR/a.jsonl\nstages: [{ ${name}: ${options} }]\noutput: DIR/none\n`;
      return (await planDataPipeline(await yaml(text))).needsDevice;
    };
    const model = '{ provider: { type: local, model: tiny } }';
    for (const [name, options] of Object.entries({ ...inYaml, evolInstruct: model }))
      if (options)
        expect([name, await needs(name, options)]).toEqual([
          name,
          /^(dedupe|evolInstruct|scoreComplexity|scoreIfd|scoreQuality)$/.test(name),
        ]);
    const embedder = '{ type: endpoint, base_url: "http://127.0.0.1:9/v1", model: m }';
    expect(await needs('selectDiverse', `{ count: 1, embedder: ${embedder} }`)).toBe(true);
    expect(await needs('selectDiverse', '{ count: 1, embedder: tf-idf }')).toBe(false);
  });
});

describe('data sets of the Hub', () => {
  test('are named with their options; they are fetched when rows are read', async () => {
    const file = await yaml(`sources:
  - DIR/a.jsonl
  - { hub: owner/set, config: main, split: test, revision: v1, local_files_only: true, cache_dir: DIR }
stages:
  - mix: { sources: [{ name: more, rows: { hub: owner/more, files: "*.jsonl", local_files_only: true, cache_dir: DIR }, ratio: 0.1 }] }
  - dedupe: { against: { hub: owner/test, local_files_only: true, cache_dir: DIR } }
output: DIR/none
`);
    const { files, hub, pipeline } = await planDataPipeline(file);
    expect({ files, hub }).toEqual({ files: [at('a.jsonl')], hub: ['owner/set'] });
    await expect(pipeline.collect()).rejects.toThrow(/HUB_NOT_CACHED: .*datasets--owner--/);
  });

  test.each([
    ['{ hub: owner/set, splt: x }', /:1:\d+: fromHub: .*"splt".*Did you mean "split"/],
    ['{ hub: owner/set, path: x }', /:1:10: .*it has both path and hub/],
    ['{ config: x }', /:1:10: .*it has neither path nor hub/],
    ['{ hub: [a] }', /:1:10: .*hub is /],
    ['{ path: 7 }', /:1:10: .*path is .*7/],
  ])('%s', async (source, message) => {
    const text = `sources: ${source}\noutput: DIR/none\n`;
    await expect(planDataPipeline(await yaml(text))).rejects.toThrow(message);
  });
});

const bomb = `a: &a [x, x, x, x, x, x, x, x, x, x]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]
c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]
d: [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]
`;

describe('what is wrong is said with its place', () => {
  test.each([
    ['sources: x\n\tstages: []\n', /pipeline\.yaml:2:1: .*[Tt]ab/],
    ['sources: a\nsources: b\n', /pipeline\.yaml:2:1: Map keys must be unique/],
    [bomb, /alias/],
    ['', /pipeline\.yaml.*: expected the keys sources, stages and output/],
    [
      'sources: DIR/a.jsonl\nstage: []\n',
      /:2:8: there is no key "stage"\. Did you mean "stages"\?/,
    ],
    ['stages: []\noutput: x\n', /sources is missing/],
    ['sources: DIR/a.jsonl\nstages: []\n', /output is missing/],
    ['sources: DIR/a.jsonl\nstages: dedupe\noutput: x\n', /:2:9: stages is to be a list/],
    [
      'sources: DIR/a.jsonl\nstages:\n  - valdate: {}\noutput: x\n',
      /:3:14: there is no stage "valdate"\. Did you mean "validate"\?/,
    ],
    [
      'sources: DIR/a.jsonl\nstages:\n  - dedupe:\n      near:\n        treshold: 0.7\noutput: x\n',
      /:5:19: dedupe: there is no option "near\.treshold"\. Did you mean "threshold"\?/,
    ],
    [
      'sources: DIR/a.jsonl\nstages:\n  - validate:\n      schema: text\n      on_invald: drop\noutput: x\n',
      /:5:18: validate: there is no option "on_?[iI]nvald"\. Did you mean "onInvalid"\?/,
    ],
    [
      'sources: DIR/a.jsonl\nstages:\n  - validate: { on_invalid: keep }\noutput: x\n',
      /:3:15: validate: onInvalid is "keep"/,
    ],
    ['sources: DIR/a.jsonl\nstages:\n  - filter: {}\noutput: x\n', /filter: keep is not given/],
    [
      'sources: DIR/a.jsonl\nstages:\n  - validate: {}\n    schema: text\noutput: x\n',
      /:3:5: a stage is one name with its options/,
    ],
    ['sources: DIR/none.jsonl\nstages: []\noutput: x\n', /:1:10: there is no file .*none\.jsonl/],
    ['sources: [7]\nstages: []\noutput: x\n', /:1:11: a source is a path/],
    [
      'sources: { path: DIR/b.csv, delimitr: x }\noutput: x\n',
      /:1:\d+: fromFiles: .*Did you mean "delimiter"/,
    ],
    [
      `sources: DIR/a.jsonl\nstages:\n  - evolInstruct:\n      provider:\n        type: opnai\noutput: x\n`,
      /:5:\d+: provider: there is no provider "opnai"\. Did you mean "openai"/,
    ],
    [
      'sources: DIR/a.jsonl\nstages:\n  - evolInstruct:\n      provider:\n        type: openai\n        base_ur: x\noutput: x\n',
      /:6:18: openai: .*"baseUr".*Did you mean "baseUrl"/s,
    ],
    [
      'sources: DIR/a.jsonl\nstages:\n  - dedupe:\n      semantic: { embedder: { type: openai } }\noutput: x\n',
      /:4:\d+: the type of an embedder is "openai"/,
    ],
    [
      'sources: DIR/a.jsonl\nstages:\n  - quality: { checks: [completness] }\noutput: x\n',
      /:3:\d+: quality: checks\[0\] is "completness"/,
    ],
    ['sources: [DIR/a.jsonl, DIR/no*.x]\noutput: x\n', /:1:\d+: fromFiles: no file matches/],
    ['seed: -1\nsources: DIR/a.jsonl\noutput: x\n', /:1:7: seed is to be a whole number from 0 on/],
    ["sources: DIR/a.jsonl\noutput: ''\n", /:2:9: output is missing/],
    [
      'sources: DIR/a.jsonl\noutput: { folder: x, overwrite: yes please }\n',
      /:2:\d+: output: overwrite is "yes please"/,
    ],
    [
      'sources: DIR/a.jsonl\noutput: { folder: x, cache_dir: 7 }\n',
      /:2:\d+: output: cacheDir is 7/,
    ],
    ["sources: !!js/function 'DIR/a.jsonl'\noutput: x\n", /:1:10: Unresolved tag/],
    ['sources: DIR/a.jsonl\noutput: x\n---\nsources: x\n', /:3:1: a second document begins here/],
    ['"\\x1b[31mred": 1\nsources: DIR/a.jsonl\noutput: x\n', /there is no key "\\u001b\[31mred"/],
    [`sources: ${'['.repeat(5000)}\n`, /it is nested too deeply/],
    [
      `sources: DIR/a.jsonl\noutput: x\nstages:\n${'  - dedupe\n'.repeat(1001)}`,
      /:4:\d+: stages has 1001 entries; at most 1000/,
    ],
    ['seed: many\nsources: DIR/a.jsonl\noutput: x\n', /:1:7: seed is to be a whole number/],
    [
      'sources: DIR/a.jsonl\noutput: { folder: x, over_write: true }\n',
      /there is no key "over_write"/,
    ],
    ['{', /pipeline\.yaml:1:\d+: /],
  ])('%j', async (text, message) => {
    await expect(planDataPipeline(await yaml(text))).rejects.toThrow(message);
  });

  test('a file that is none', async () => {
    await expect(planDataPipeline(at('none.yaml'))).rejects.toThrow(/none\.yaml /);
    for (const none of [folder, '/dev/zero'])
      await expect(planDataPipeline(none)).rejects.toThrow(/DATA_YAML: .*YAML file/s);
    await writeFile(at('bytes.yaml'), new Uint8Array([0xff, 0xfe, 0x00]));
    await expect(planDataPipeline(at('bytes.yaml'))).rejects.toThrow(/bytes\.yaml cannot be read/);
  });
});
