import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { main } from '@attune/cli';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

let folder: string;
let config: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-cli-data-'));
  const rows = ['{"text":"One."}', '{"text":"One."}', 'not JSON', '{"text":"Two."}'];
  await writeFile(join(folder, 'raw.jsonl'), `${rows.join('\n')}\n`);
  config = join(folder, 'pipeline.yaml');
  await writeFile(
    config,
    `sources: ${folder}/raw.jsonl
stages:
  - validate: { schema: text }
  - dedupe
output: ${folder}/clean
`,
  );
});
afterAll(() => rm(folder, { recursive: true }));

async function attune(...args: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const status = await main(args, { out: (t) => out.push(t), err: (t) => err.push(t) });
  return { status, out: out.join('\n'), err: err.join('\n') };
}

test('runs a pipeline, and says what became of the rows', async () => {
  const plan = await attune('data', config, '--dry-run');
  expect(plan).toMatchObject({ status: 0, err: '' });
  expect(plan.out.split('\n')).toEqual([
    `read    ${folder}/raw.jsonl`,
    'stage   validate {"schema":"text"}',
    'stage   dedupe',
    `write   ${folder}/clean`,
  ]);
  expect(await readdir(folder)).not.toContain('clean');
  const run = await attune('data', config);
  expect(run).toMatchObject({ status: 0, err: '' });
  expect(run.out).toContain('clean: 2 of 4 rows.');
  expect(run.out).toContain('1  put aside, with reasons: quarantine.jsonl');
  const again = await attune('data', config);
  expect(again).toMatchObject({ status: 2, err: expect.stringContaining('overwrite') });
  expect(await attune('data', config, '--overwrite', '--quiet')).toMatchObject({ status: 0 });
});

test('help fits a terminal; what is wrong is said', async () => {
  const help = await attune('data', '--help');
  expect(help.out).toContain('attune data PIPELINE.yaml');
  for (const line of help.out.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  const wrong = [
    [[config, 'x'], '"x" is one argument too many'],
    [[config, '--ovewrite'], 'ovewrite'],
    [[join(folder, 'none.yaml')], 'none.yaml does not exist'],
  ] as const;
  for (const [args, message] of wrong) {
    const run = await attune('data', ...args);
    expect(run).toMatchObject({ status: 2, err: expect.stringContaining(message) });
  }
});

describe('plugins', () => {
  const shout = (more: string) => `import { definePlugin } from '@attune/core';
import { DataStages, defineDataStage } from '@attune/data';
import { z } from '@attune/core/util';
const stage = defineDataStage({
  name: 'shout',
  options: z.strictObject({ marks: z.int().min(1) }),
  async *run(rows, { marks }) {
    for await (const item of rows)
      yield { ...item, row: { text: item.row.text.toUpperCase() + '!'.repeat(marks) } };
  },
});
export const acme = () =>
  definePlugin({
    name: 'acme', version: '1.0.0', apiVersion: 1,
    register: (context) => context.add(DataStages, stage),
  });
export const seven = 7;
${more}
`;
  let packages: string;
  let loud: string;
  let named: string;
  let wrong: string;
  beforeAll(async () => {
    // Below this folder, so that the packages that they import are found.
    packages = await mkdtemp(join(import.meta.dirname, '.plugins-'));
    loud = join(packages, 'loud.mjs');
    await writeFile(loud, shout('export default acme;'));
    named = join(packages, 'named.mjs');
    await writeFile(named, shout(''));
    wrong = join(packages, 'wrong.mjs');
    await writeFile(wrong, 'export default () => { throw new Error("no licence"); };');
    await writeFile(
      join(folder, 'shout.yaml'),
      `sources: ${folder}/raw.jsonl
stages: [{ shout: { marks: 2 } }]
output: { folder: ${folder}/shouted, overwrite: true }
`,
    );
  });
  afterAll(() => rm(packages, { recursive: true }));

  test('bring stages: the default export of a package, or one by its name', async () => {
    const file = join(folder, 'shout.yaml');
    expect(await attune('data', file)).toMatchObject({
      status: 2,
      err: expect.stringMatching(/there is no stage "shout"/),
    });
    for (const plugin of [loud, `${named}#acme`]) {
      const run = await attune('data', file, '--plugin', plugin);
      expect(run).toMatchObject({ status: 0, err: '' });
      const text = await readFile(join(folder, 'shouted/train.jsonl'), 'utf8');
      expect(text.split('\n')[0]).toBe('{"text":"ONE.!!"}');
    }
  });

  test('that are none are said to be', async () => {
    for (const [plugin, message] of [
      [named, /has no export "default"\.\n {2}Fix: It exports acme\. Name one: --plugin .*#NAME/],
      [`${named}#seven`, /is no plugin: "seven" gives none/],
      [wrong, /failed: no licence/],
      [join(folder, 'none.mjs'), /cannot be imported: /],
      ['attune-no-such-package', /cannot be imported: .*npm install it/s],
    ] as const) {
      const run = await attune('data', join(folder, 'shout.yaml'), '--plugin', plugin);
      expect(run).toMatchObject({ status: 2, err: expect.stringMatching(message) });
      expect(run.err).toContain('CLI_PLUGIN');
    }
  });
});

test('a device is opened where a stage has a model', async () => {
  const file = join(folder, 'model.yaml');
  await writeFile(
    file,
    `sources: ${folder}/raw.jsonl
stages: [{ dedupe: { semantic: { embedder: ${folder} } } }]
output: ${folder}/unlike
`,
  );
  expect((await attune('data', file, '--dry-run')).out).toMatch(/^device {2}dawn$/m);
  const slow = await attune('data', file, '--dry-run', '--backend', 'reference');
  expect(slow.out).not.toMatch(/^device/m);
  expect((await attune('data', config, '--dry-run')).out).not.toMatch(/^device/m);
  const wrong = await attune('data', file, '--backend', 'down');
  expect(wrong).toMatchObject({ status: 2, err: expect.stringContaining('"down"') });
});
