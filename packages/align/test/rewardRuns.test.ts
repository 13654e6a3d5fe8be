import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AutoModelForSequenceClassification,
  AutoTokenizer,
  createAttune,
  silentLogger,
} from '@attune/core';
import { describe, expect, onTestFinished, test } from 'vitest';
import { follow, onReference, rowsOf, runFolder, runsOf } from './recordedRuns.js';

/** The classifier, whose padding token is the end token where a run says so. */
async function classifier(padToken: unknown): Promise<string> {
  if (!padToken) return runFolder('classifier');
  const folder = await mkdtemp(join(tmpdir(), 'attune-classifier-'));
  await cp(runFolder('classifier'), folder, { recursive: true });
  const file = join(folder, 'config.json');
  const config = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify({ ...config, pad_token_id: config.eos_token_id }));
  return folder;
}

describe('reward models as TRL trains them', () => {
  const runs = runsOf('reward');
  test('there are some', () => expect(runs.length).toBeGreaterThan(5));

  test.each(runs.map(({ name }) => name))('%s', async (name) => {
    const run = runs.find((r) => r.name === name)!;
    const attune = await createAttune({ backend: 'reference', logger: silentLogger });
    onTestFinished(() => attune.dispose());
    const folder = await classifier(run.args.padToken);
    await follow(run, {
      model: await AutoModelForSequenceClassification.fromPretrained(folder, { attune }),
      tokenizer: await AutoTokenizer.fromPretrained(folder),
      rows: rowsOf(run.rows),
      within: onReference,
    });
  });
});
