import {
  type Attune,
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  type GenerateOptions,
} from '@attune/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keysToCamel } from '../../../src/util/json.js';
import { fixture, fixtureJson, hasStories, reference, stories, storiesNote } from '../support.js';

interface Case {
  readonly model: string;
  readonly options: Record<string, unknown>;
  readonly sequences: number[][];
  readonly scores: number[] | null;
}

const { prompts, cases } = fixtureJson('row122-generation.json') as {
  prompts: number[][];
  cases: Case[];
};

let attune: Attune;
const models = new Map<string, CausalLM>();
beforeAll(async () => {
  attune = await reference();
  for (const name of new Set(cases.map((c) => c.model)))
    models.set(name, await AutoModelForCausalLM.fromPretrained(fixture(name), { attune }));
});
afterAll(() => attune.dispose());

// Row 122: prompts of unequal lengths in one batch, greedy and with beams.
describe.each(cases.map((c) => [c.model, JSON.stringify(c.options), c] as const))(
  '%s %s',
  (_, __, c) => {
    // Without the cache every step computes whole rows: once is enough.
    it.each(c.model === 'tiny-qwen2' ? [true, false] : [true])(
      'as transformers, with a cache: %s',
      async (useCache) => {
        const options = keysToCamel(c.options) as Partial<GenerateOptions>;
        const model = models.get(c.model)!;
        const out = await model.generate({ inputIds: prompts, ...options, useCache });
        expect(out.sequences).toEqual(c.sequences);
        expect(out.sequencesScores === undefined).toBe(c.scores === null);
        c.scores?.forEach((score, i) => {
          expect(out.sequencesScores![i]).toBeCloseTo(score, 4);
        });
      },
    );
  },
);

describe('beams', () => {
  const inputIds = prompts[0]!;

  it('each prompt as if it were alone', async () => {
    const model = models.get('tiny-llama')!;
    const options = { numBeams: 3, maxNewTokens: 8, eosTokenId: null };
    const together = await model.generate({ inputIds: prompts, ...options });
    for (const [p, prompt] of prompts.entries()) {
      const alone = await model.generate({ inputIds: prompt, ...options });
      expect(alone.sequences[0]).toEqual(together.sequences[p]);
    }
  });

  it('the likeliest whole answer is at least as likely as the greedy one', async () => {
    const model = models.get('tiny-llama')!;
    const options = { inputIds, maxNewTokens: 6, eosTokenId: null, lengthPenalty: 0 };
    const [narrow, wide] = await Promise.all([2, 12].map((n) => generate(model, options, n)));
    expect(wide!.sequencesScores![0]).toBeGreaterThanOrEqual(narrow!.sequencesScores![0]! - 1e-9);
  });

  it('leave nothing behind', async () => {
    const model = models.get('tiny-llama')!;
    const before = [attune.engine.liveTensors, attune.backend.stats.liveBytes];
    await generate(model, { inputIds, maxNewTokens: 3 }, 3);
    expect([attune.engine.liveTensors, attune.backend.stats.liveBytes]).toEqual(before);
  });

  it.each<[string, Partial<GenerateOptions>, RegExp]>([
    ['numBeams 0', { numBeams: 0 }, /numBeams is 0/],
    ['beams and sampling', { numBeams: 2, doSample: true }, /doSample/],
    ['more answers than beams', { numBeams: 2, numReturnSequences: 3 }, /1 to 2/],
    ['several greedy answers', { numReturnSequences: 2 }, /doSample: true or numBeams/],
    ['earlyStopping', { numBeams: 2, earlyStopping: 'maybe' as never }, /'never'/],
  ])('refuses %s', async (_, options, says) => {
    const run = models.get('tiny-llama')!.generate({ inputIds, maxNewTokens: 4, ...options });
    await expect(run).rejects.toMatchObject({
      code: 'GENERATE_OPTION',
      message: expect.stringMatching(says),
    });
  });

  it('cannot be streamed', async () => {
    const stream = models.get('tiny-llama')!.generateStream({ inputIds, numBeams: 2 });
    await expect(stream.next()).rejects.toMatchObject({ code: 'GENERATE_OPTION' });
  });

  it('several samples of a prompt have streams of their own', async () => {
    const model = models.get('tiny-llama')!;
    const options = {
      inputIds: prompts,
      doSample: true,
      maxNewTokens: 6,
      eosTokenId: null,
      seed: 4,
    };
    const out = await model.generate({ ...options, numReturnSequences: 2 });
    expect(out.sequences).toHaveLength(6);
    expect(out.sequences[0]!.slice(0, 3)).toEqual(out.sequences[1]!.slice(0, 3));
    expect(out.sequences[0]).not.toEqual(out.sequences[1]);
  });
});

const generate = (
  model: CausalLM,
  options: GenerateOptions,
  numBeams: number,
): Promise<{ sequencesScores?: number[] }> => model.generate({ ...options, numBeams });

it.skipIf(!hasStories)(`a stop string ends a beam${storiesNote}`, async () => {
  const model = await AutoModelForCausalLM.fromPretrained(stories, { attune, dtype: 'float32' });
  const tokenizer = await AutoTokenizer.fromPretrained(stories);
  const out = await model.generate({
    inputIds: tokenizer.encode('Once upon a time'),
    maxNewTokens: 30,
    numBeams: 2,
    stopStrings: 'Lily',
  });
  expect(out.finishReasons).toEqual(['stop']);
  expect(tokenizer.decode(out.sequences[0]!)).toMatch(/Lily$/);
});
