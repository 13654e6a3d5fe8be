import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { main } from '@attune/cli';
import { afterAll, beforeAll, expect, test } from 'vitest';

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
    [[join(folder, 'none.yaml')], 'none.yaml cannot be read'],
  ] as const;
  for (const [args, message] of wrong) {
    const run = await attune('data', ...args);
    expect(run).toMatchObject({ status: 2, err: expect.stringContaining(message) });
  }
});
