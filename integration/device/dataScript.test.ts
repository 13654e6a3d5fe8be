import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoTokenizer,
  loadDataset,
  type Row,
} from '@attune/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fromJsonl, pipeline } from '../../packages/data/src/index.js';
import { hasStories, onDawn, shared, temporaryFolder } from './support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune.dispose());

const subjects = ['rivers', 'bread', 'trains', 'owls', 'maps', 'clocks', 'bridges', 'seeds'];
const verbs = ['move', 'grow', 'work', 'change', 'begin', 'end', 'sleep', 'sound'];

/** 64 conversations of 16 documents, each other words. */
const conversations: readonly Row[] = subjects.flatMap((subject, i) =>
  verbs.map((verb, j) => ({
    document_id: `d${(i * 8 + j) % 16}`,
    messages: [
      {
        role: 'user',
        content: `Why do ${subject} ${verb} when the ${subjects[(i + j + 1) % 8]} do?`,
      },
      {
        role: 'assistant',
        content: `Because ${subject} ${verb} by rule ${i * 8 + j}: the ${subjects[(i + 3) % 8]} come first, then ${verbs[(j + 2) % 8]} ${i + 1} times, and ${subject} follow ${j + 2} days later.`,
      },
    ],
  })),
);

const jsonl = (rows: readonly unknown[]): string =>
  rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n');

interface Numbers {
  /** Least cosine of rows that mean the same. */
  readonly meaning: number;
  readonly ratio: number;
  readonly max: number;
  readonly testSize: number;
}

/** From raw/*.jsonl and general.jsonl to the folder "clean". */
async function script(folder: string, { meaning, ratio, max, testSize }: Numbers) {
  const stories = shared('models/stories260k');
  const model = await AutoModelForCausalLM.fromPretrained(stories, { attune });
  const tokenizer = await AutoTokenizer.fromPretrained(stories);
  return pipeline(fromJsonl(join(folder, 'raw/*.jsonl')))
    .validate({ schema: 'messages', onInvalid: 'quarantine' })
    .dedupe({
      exact: true,
      near: { method: 'minhash', threshold: 0.8, shingle: { unit: 'word', size: 5 } },
      semantic: { threshold: meaning, embedder: model },
    })
    .quality({ checks: ['completeness', 'consistency', 'diversity', 'harmlessness'] })
    .scoreIfd({ model, tokenizer, variant: 'cherry', maxLength: 512 })
    .keepTop({ by: 'ifd', ratio, max })
    .mix([{ name: 'general', rows: fromJsonl(join(folder, 'general.jsonl')), ratio: 0.08 }])
    .split({ groupBy: 'document_id', testSize, seed: 42 })
    .writeTo(join(folder, 'clean'), { progress: false });
}

describe.skipIf(!hasStories)('the script of a pipeline (needs the shared model)', () => {
  test('raw rows become a set whose every row is accounted for', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'raw'));
    const [first, second] = conversations;
    const broken = ['{"messages": [', { messages: [] }, { nothing: 'known' }];
    await writeFile(join(folder, 'raw/a.jsonl'), jsonl([...conversations.slice(0, 40), first!]));
    await writeFile(
      join(folder, 'raw/b.jsonl'),
      jsonl([...broken, ...conversations.slice(40), second!]),
    );
    const general = subjects.map((subject, i) => ({
      messages: [
        { role: 'user', content: `Tell me one thing about ${subject}.` },
        { role: 'assistant', content: `Number ${i} of the list is about ${subject}.` },
      ],
    }));
    await writeFile(join(folder, 'general.jsonl'), jsonl(general));

    const report = await script(folder, { meaning: 0.9999, ratio: 0.5, max: 2, testSize: 0.2 });

    const dropped = Object.values(report.dropped).reduce((sum, n) => sum + n, 0);
    expect(report.rowsIn).toBe(report.rowsOut + report.quarantined + dropped);
    expect(report.quarantined).toBe(3);
    expect(report.groupsShared).toBe(0);
    const files = await readdir(join(folder, 'clean'));
    expect(files).toEqual(expect.arrayContaining(['train.jsonl', 'test.jsonl', 'report.json']));
    const lines = async (name: string) =>
      (await readFile(join(folder, 'clean', name), 'utf8')).trim().split('\n');
    const train = await loadDataset('json', { dataFiles: join(folder, 'clean/train.jsonl') });
    expect(train.length + (await lines('test.jsonl')).length).toBe(report.rowsOut);
    expect(await lines('quarantine.jsonl')).toHaveLength(3);
  });

  test('its own numbers, on commands and sums', async () => {
    const folder = await temporaryFolder();
    const rowsOf = async (name: string, count: number) =>
      (await loadDataset('json', { dataFiles: shared(name) })).select(count);
    const chat = (user: unknown, assistant: unknown, group: unknown) => ({
      document_id: group,
      messages: [
        { role: 'user', content: user },
        { role: 'assistant', content: assistant },
      ],
    });
    const raw: Row[] = [];
    for (const row of await rowsOf('datasets/nl2bash/train.jsonl', 400))
      raw.push(chat(row.prompt, row.completion, row.group));
    for (const row of await rowsOf('datasets/gsm8k/train-1500.jsonl', 200))
      raw.push(chat(row.question, row.answer, `sum ${raw.length}`));
    await mkdir(join(folder, 'raw'));
    await writeFile(join(folder, 'raw/all.jsonl'), jsonl(raw));
    await writeFile(join(folder, 'general.jsonl'), jsonl(conversations));

    const report = await script(folder, { meaning: 0.95, ratio: 0.3, max: 1, testSize: 0.1 });

    const dropped = Object.values(report.dropped).reduce((sum, n) => sum + n, 0);
    expect(report.rowsIn).toBe(report.rowsOut + report.quarantined + dropped);
    expect(report.splits.test).toBeGreaterThan(0);
    expect(report.groupsShared).toBe(0);
    // All vectors of so small a model lie near one another.
    expect(report.warnings).toContainEqual(expect.stringMatching(/rows mean the same as another/));
  });
});
