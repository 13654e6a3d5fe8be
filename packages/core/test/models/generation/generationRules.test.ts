import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  type CausalLM,
  createAttune,
  type GenerateOptions,
} from '@attune/core';
import { snakeToCamel } from '@attune/core/util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generateOptions } from '../../../src/models/generation/generateOptions.js';
import { planGeneration } from '../../../src/models/generation/planGeneration.js';
import { processorsOf } from '../../../src/models/generation/processorList.js';
import type { LanguageModel } from '../../../src/models/languageModel.js';
import { ListLogger, temporaryFolder } from '../../trainer/support.js';
import {
  fixture,
  fixtureJson,
  hasStories,
  largestDifference,
  reference,
  stories,
  storiesNote,
} from '../support.js';

type Options = Readonly<Record<string, unknown>>;

interface Row406 {
  readonly logits: readonly number[];
  readonly eos: readonly number[];
  readonly rules: readonly {
    readonly options: Options;
    readonly ids: readonly number[];
    readonly prompt: number;
    readonly scores: readonly (number | string)[];
  }[];
  readonly prompts: readonly (readonly number[])[];
  readonly answers: readonly {
    readonly model: string;
    readonly options: Options;
    readonly sequences: readonly (readonly number[])[];
  }[];
}

const row = fixtureJson('row406-generation-rules.json') as Row406;

const camel = (options: Options) =>
  Object.fromEntries(Object.entries(options).map(([key, value]) => [snakeToCamel(key), value]));
const snake = (key: string) => key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

let attune: Attune;
const models = new Map<string, CausalLM>();
beforeAll(async () => {
  attune = await reference();
  for (const name of ['tiny-llama', 'tiny-qwen2'])
    models.set(
      name,
      await AutoModelForCausalLM.fromPretrained(fixture(name), { attune, dtype: 'float32' }),
    );
});
afterAll(() => attune.dispose());

/** A model of 12 tokens, as far as planning looks at it. */
const withFile = (generation: Options | null): LanguageModel => {
  const model = models.get('tiny-llama')!;
  return {
    attune,
    engine: attune.engine,
    adapters: null,
    config: { ...model.config, vocabSize: 12, maxPositionEmbeddings: 64, generation },
  } as unknown as LanguageModel;
};

describe('row 406: scores are those of the processors of transformers', () => {
  test.each(row.rules.map((one) => [JSON.stringify([one.options, one.ids.length]), one] as const))(
    '%s',
    async (_, { options, ids, prompt, scores: theirs }) => {
      for (const [asOptions, inFile] of [
        [{ topK: 0, eosTokenId: row.eos, ...camel(options) }, null],
        [{}, { top_k: 0, eos_token_id: row.eos, ...options }],
      ] as const) {
        const inputIds = ids.slice(0, prompt);
        const plan = await planGeneration(withFile(inFile), { inputIds, ...asOptions });
        const scores = Float64Array.from(row.logits);
        const step = ids.length - prompt;
        for (const process of processorsOf(plan))
          process(scores, { ids, prompt: inputIds, step, length: ids.length });
        const expected = theirs.map((x) =>
          x === '-Infinity' ? Number.NEGATIVE_INFINITY : Number(x),
        );
        expect([...scores].map(Number.isFinite)).toEqual(expected.map(Number.isFinite));
        const finite = (list: readonly number[]) => list.filter((x) => Math.abs(x) < 1e30);
        expect(largestDifference(finite([...scores]), finite(expected))).toBeLessThan(1e-5);
      }
    },
  );
});

describe('row 406: answers are those of transformers', () => {
  test.each(
    row.answers.map((one) => [`${one.model} ${JSON.stringify(one.options)}`, one] as const),
  )('%s', async (_, { model, options, sequences }) => {
    const { sequences: ours } = await models.get(model)!.generate({
      inputIds: row.prompts,
      ...camel(options),
    } as GenerateOptions);
    expect(ours).toEqual(sequences);
  });
});

describe('generation_config.json', () => {
  const plan = (file: Options, options: object = {}) =>
    planGeneration(withFile(file), { inputIds: [3, 4, 5], ...options });

  test('null says nothing, whatever the key', async () => {
    const keys = Object.keys(generateOptions.shape);
    const nothing = Object.fromEntries(keys.map((key) => [snake(key), null]));
    const seed = 1;
    expect(await plan(nothing, { seed })).toEqual(await plan({}, { seed }));
  });

  test('what the caller says comes first', async () => {
    const file = {
      min_new_tokens: 4,
      suppress_tokens: [1],
      max_new_tokens: 9,
      eos_token_id: [2, 9],
      stop_strings: ['x'],
    };
    const read = await plan(file);
    expect(read.rules).toMatchObject({ minNewTokens: 4, suppressTokens: [1] });
    expect(read).toMatchObject({ maxNewTokens: 9, stopStrings: ['x'] });
    expect([...read.eosTokenIds]).toEqual([2, 9]);
    const given = await plan(file, {
      minNewTokens: 0,
      suppressTokens: [],
      maxLength: 5,
      stopStrings: [],
      eosTokenId: null,
    });
    expect(given.rules).toMatchObject({ minNewTokens: 0, suppressTokens: [] });
    expect(given).toMatchObject({ maxNewTokens: 2, stopStrings: [] });
    expect(given.eosTokenIds.size).toBe(0);
  });

  test('a null of the caller says nothing', async () => {
    const none = { maxLength: null, maxNewTokens: null } as unknown as Options;
    expect(await plan({ max_new_tokens: 9 }, none)).toMatchObject({ maxNewTokens: 9 });
    const noLength = { maxLength: 5, maxNewTokens: null } as unknown as Options;
    expect(await plan({ max_new_tokens: 9 }, noLength)).toMatchObject({ maxNewTokens: 2 });
  });

  test('a value that JSON has no word for is named', async () => {
    await expect(plan({}, { temperature: Number.NaN })).rejects.toThrow('temperature is NaN;');
  });

  test.each<[Options, RegExp]>([
    [
      { max_length: 3 },
      /generation_config.json: max_length is 3; expected more than the 3 tokens.*\n.*maxNewTokens/,
    ],
    [{ max_length: 2 }, /generation_config.json: max_length is 2/],
    [{ max_new_tokens: 0 }, /generation_config.json: max_new_tokens is 0/],
    [{ max_new_tokens: '20' }, /max_new_tokens is "20"; expected a whole number/],
    [{ temperature: '0.7' }, /generation_config.json: temperature is "0.7"; expected a number/],
    [{ do_sample: 'true' }, /generation_config.json: do_sample is "true"; expected true or false/],
    [
      { do_sample: true, temperature: 0 },
      /generation_config.json: temperature is 0; expected a number above 0/,
    ],
    [{ top_k: 1.5 }, /generation_config.json: top_k is 1.5/],
    [{ top_p: 2 }, /generation_config.json: top_p is 2/],
    [{ eos_token_id: '2' }, /generation_config.json: eos_token_id is "2"; expected a token id/],
    [{ eos_token_id: [[2]] }, /generation_config.json: eos_token_id is \[\[2\]\]/],
    [{ stop_strings: [1] }, /generation_config.json: stop_strings is \[1\]/],
    [
      { bad_words_ids: [1] },
      /generation_config.json: bad_words_ids is \[1\]; expected a list of lists/,
    ],
    [
      { bad_words_ids: [[99]] },
      /generation_config.json: bad_words_ids is 99; expected token ids below/,
    ],
    [{ suppress_tokens: 5 }, /generation_config.json: suppress_tokens is 5; expected a list/],
    [{ min_length: -1 }, /generation_config.json: min_length is -1/],
    [{ no_repeat_ngram_size: 2.5 }, /generation_config.json: no_repeat_ngram_size is 2.5/],
    [{ typical_p: 0 }, /generation_config.json: typical_p is 0/],
    [{ eta_cutoff: 1 }, /generation_config.json: eta_cutoff is 1/],
    [{ early_stopping: 'yes' }, /generation_config.json: early_stopping is "yes"/],
    [
      { num_beams: 2, do_sample: true },
      /generation_config.json: num_beams is 2; expected 1 while doSample/,
    ],
    [{ exponential_decay_length_penalty: [1] }, /exponential_decay_length_penalty is \[1\]/],
    [{ forced_eos_token_id: 12 }, /forced_eos_token_id is 12/],
    [{ max_time: 0 }, /generation_config.json: max_time is 0/],
  ])('%j is refused with its place', async (file, says) => {
    await expect(plan(file)).rejects.toThrow(says);
    await expect(plan(file)).rejects.toThrow(/^GENERATE_OPTION/);
  });

  test('the same values as options are refused as options', async () => {
    await expect(plan({}, { minLength: -1 })).rejects.toThrow(/generate: minLength is -1/);
    await expect(plan({}, { maxLength: 3 })).rejects.toThrow(/generate: maxLength is 3/);
    await expect(plan({}, { badWordsIds: [[99]] })).rejects.toThrow(/generate: badWordsIds is 99/);
  });

  const load = async (generation: Options, from = fixture('tiny-llama')) => {
    const folder = await temporaryFolder();
    await cp(from, folder, { recursive: true });
    await writeFile(join(folder, 'generation_config.json'), JSON.stringify(generation));
    const logger = new ListLogger();
    const own = await createAttune({ backend: 'reference', logger });
    const model = await AutoModelForCausalLM.fromPretrained(folder, {
      attune: own,
      dtype: 'float32',
    });
    return { model, own, lines: logger.lines };
  };

  test('keys that are not built are named when the model is loaded', async () => {
    const { own, lines } = await load({
      diversity_penalty: 0.5,
      guidance_scale: 1.5,
      num_beam_groups: 1,
      penalty_alpha: null,
      num_assistant_tokens: 20,
      chat_format: 'chatml',
    });
    expect(lines).toEqual([
      'warn: generation_config.json: guidance_scale = 1.5, diversity_penalty = 0.5 are not built; generate goes on without.',
    ]);
    await own.dispose();
  });

  test('a rule in the file is a rule of generate', async () => {
    const plain = await models
      .get('tiny-llama')!
      .generate({ inputIds: [5, 17, 60], maxNewTokens: 6 });
    const [first] = plain.sequences[0]!.slice(3);
    const { model, own } = await load({ suppress_tokens: [first], max_new_tokens: 6 });
    const { sequences } = await model.generate({ inputIds: [5, 17, 60] });
    expect(sequences[0]).toHaveLength(9);
    expect(sequences[0]).not.toContain(first);
    await own.dispose();
  });

  test.skipIf(!hasStories)(`stop_strings end a row${storiesNote}`, async () => {
    const { model, own } = await load({ stop_strings: ['Lily. S'], max_new_tokens: 64 }, stories);
    const { AutoTokenizer } = await import('@attune/core');
    const tokenizer = await AutoTokenizer.fromPretrained(stories);
    const inputIds = tokenizer.encode('Once upon a time');
    const { sequences, finishReasons } = await model.generate({ inputIds });
    expect(finishReasons).toEqual(['stop']);
    expect(tokenizer.decode(sequences[0]!)).toMatch(/named Lily\. S\w*$/);
    await own.dispose();
  });
});

test('maxTime ends an answer after the token that passes it', async () => {
  const model = models.get('tiny-llama')!;
  for (const numBeams of [1, 2]) {
    const options = { inputIds: [[5, 17, 60], [9]], maxNewTokens: 8, maxTime: 1e-9, numBeams };
    const { sequences, finishReasons } = await model.generate(options);
    expect(finishReasons).toEqual(['time', 'time']);
    expect(sequences.map((ids) => ids.length)).toEqual([4, 2]);
  }
});

test('an answer of which every token is ruled out is an error', async () => {
  const model = models.get('tiny-llama')!;
  const suppressTokens = Array.from({ length: model.config.vocabSize }, (_, id) => id);
  for (const doSample of [false, true])
    await expect(model.generate({ inputIds: [5], suppressTokens, doSample })).rejects.toThrow(
      /GENERATE_NO_TOKEN: generate: after 0 new tokens/,
    );
});
