import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { main } from '@attune/cli';
import { expect, test } from 'vitest';
import { hasStories, shared, temporaryFolder } from './support.js';

const stories = shared('models/stories260k');
const texts = [
  'Once upon a time there was a cat.',
  'Lily likes a red ball.',
  'Once upon a time there was a cat.',
];

test.skipIf(!hasStories)('attune data computes on the device what a stage asks for', async () => {
  const folder = await temporaryFolder();
  const rows = texts.map((text) => JSON.stringify({ text, prompt: 'Say:', completion: text }));
  await writeFile(join(folder, 'rows.jsonl'), rows.join('\n'));
  await writeFile(
    join(folder, 'pipeline.yaml'),
    `sources: ${folder}/rows.jsonl
stages:
  - dedupe: { exact: false, semantic: { embedder: ${stories}, threshold: 0.999 } }
  - scoreIfd: { model: ${stories} }
output: { folder: ${folder}/out, overwrite: true, cache_dir: null }
`,
  );
  const run = async (...options: string[]) => {
    const out: string[] = [];
    const output = { out: (text: string) => out.push(text), err: (text: string) => out.push(text) };
    const status = await main(['data', join(folder, 'pipeline.yaml'), ...options], output);
    expect([status, out.join()]).toEqual([0, expect.stringContaining('2 of 3 rows')]);
    const lines = (await readFile(join(folder, 'out/train.jsonl'), 'utf8')).trim().split('\n');
    return lines.map((line) => JSON.parse(line) as { text: string; ifd: number });
  };
  const [device, reference] = [await run(), await run('--backend', 'reference')];
  expect(device.map(({ text }) => text)).toEqual(texts.slice(0, 2));
  for (const [i, { ifd }] of reference.entries()) expect(device[i]!.ifd).toBeCloseTo(ifd, 4);
});
