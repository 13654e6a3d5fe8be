import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoTokenizer,
  createAttune,
  type Row,
  silentLogger,
} from '@attune/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { modelEmbedder, scoreComplexity, scoreIfd } from '../../packages/data/src/index.js';
import {
  fixtureJson,
  parityFixtures,
  pieces,
  tinyConfig,
} from '../../packages/data/test/selection/support.js';
import { hasStories, onDawn, shared } from './support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune.dispose());

test('IFD on the device does not depend on the batch, and leaves nothing behind', async () => {
  const model = await AutoModelForCausalLM.fromPretrained(join(parityFixtures, 'tiny-llama'), {
    attune,
  });
  const rows: Row[] = Array.from({ length: 24 }, (_, i) => ({
    instruction: `Say the word ${'very '.repeat(i % 7)}often, ${i} times.`,
    output: Array.from({ length: 1 + ((5 * i) % 11) }, (_, n) => `word${n}`).join(' '),
  }));
  const { liveTensors } = attune.engine;
  const [alone, together] = await Promise.all(
    [1, 16].map((batchSize) => scoreIfd(rows, { model, tokenizer: pieces, batchSize })),
  );
  expect(attune.engine.liveTensors).toBe(liveTensors);
  const apart = alone!.rows.map(({ ifd }, i) =>
    Math.abs((ifd as number) - (together!.rows[i]!.ifd as number)),
  );
  expect(apart).toHaveLength(24);
  expect(Math.max(...apart)).toBeLessThan(1e-6);
});

test('levels and embeddings on the device are those of the reference', async () => {
  await using exact = await createAttune({ backend: 'reference', logger: silentLogger });
  const rows: Row[] = Array.from({ length: 9 }, (_, i) => ({
    prompt: `number ${'and '.repeat(i)}${i}`,
    completion: `${i}`,
  }));
  const [ours, theirs] = await Promise.all(
    [attune, exact].map(async (on) => {
      const model = await AutoModelForCausalLM.fromConfig(tinyConfig, { attune: on, seed: 3 });
      const options = { model, tokenizer: pieces, prompt: '{instruction}:', batchSize: 4 };
      const levels = (await scoreComplexity(rows, options)).rows.map((row) => row.complexity);
      const embedder = modelEmbedder({ model, tokenizer: pieces, batchSize: 4 });
      const vectors = await embedder.embed(rows.map((row) => row.prompt as string));
      return [...(levels as number[]), ...vectors.flatMap((vector) => [...vector])];
    }),
  );
  expect(ours).toHaveLength(9 + 9 * tinyConfig.hidden_size);
  expect(Math.max(...ours!.map((x, i) => Math.abs(x - theirs![i]!)))).toBeLessThan(1e-5);
});

describe.skipIf(!hasStories)('stories260k (needs the shared model and NL2Bash)', () => {
  test.each(['cherry', 'superfiltering'] as const)(
    'IFD of 200 rows is that of PyTorch: %s',
    async (variant) => {
      type Fixture = Record<typeof variant, readonly ([number, number, number] | null)[]>;
      const expected = fixtureJson<Fixture>('ifd-stories.json')[variant];
      const folder = shared('models/stories260k');
      const model = await AutoModelForCausalLM.fromPretrained(folder, { attune });
      const tokenizer = await AutoTokenizer.fromPretrained(folder);
      const rows = readFileSync(shared('datasets/nl2bash/train.jsonl'), 'utf8')
        .split('\n', 200)
        .map((line, id): Row => ({ ...(JSON.parse(line) as Row), id }));
      const { rows: scored } = await scoreIfd(rows, { model, tokenizer, variant, maxLength: 512 });
      expect(scored.map(({ id }) => id)).toEqual(
        expected.flatMap((score, id) => (score ? [id] : [])),
      );
      const apart = scored.map(({ id, ifd }) =>
        Math.abs((ifd as number) - expected[id as number]![0]),
      );
      expect(Math.max(...apart)).toBeLessThan(1e-4);
    },
  );
});
