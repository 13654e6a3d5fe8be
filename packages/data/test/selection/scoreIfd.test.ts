import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  createAttune,
  type LanguageModel,
  type Row,
  silentLogger,
} from '@attune/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keepTop, scoreIfd } from '../../src/index.js';
import { CountingCache, fixtureJson, parityFixtures, pieces, tinyConfig } from './support.js';

interface Scored {
  readonly ifd: number;
  readonly conditioned: number;
  readonly direct: number;
  readonly tokens: readonly [number, number];
}
interface IfdFixture {
  readonly rows: readonly (readonly [string, string, string])[];
  readonly rate: number;
  readonly cases: readonly {
    readonly variant: 'cherry' | 'superfiltering';
    readonly maxLength: number;
    /** Whether the tokenizer puts one in front. */
    readonly bos: boolean;
    readonly scores: readonly (Scored | null)[];
    readonly kept: readonly number[];
  }[];
}

let attune: Attune;
let model: LanguageModel;
beforeAll(async () => {
  attune = await createAttune({ backend: 'reference', logger: silentLogger });
  model = await AutoModelForCausalLM.fromPretrained(join(parityFixtures, 'tiny-llama'), { attune });
});
afterAll(() => attune.dispose());

const tokenizer = pieces;
/** Without a token in front. */
const bare = {
  ...pieces,
  bosTokenId: null,
  encode: (text: string) => pieces.encode(text).slice(1),
};

describe('row 116: as the authors compute it', () => {
  const { rows, rate, cases } = fixtureJson<IfdFixture>('ifd.json');
  const alpaca = rows.map(([instruction, input, output], id) => ({
    id,
    instruction,
    input,
    output,
  }));

  test.each(cases)('$variant, $maxLength tokens, BOS: $bos', async (one) => {
    const { variant, maxLength, bos, scores, kept } = one;
    const options = {
      model,
      tokenizer: bos ? pieces : bare,
      variant,
      maxLength,
      withLosses: true,
      batchSize: 4,
    };
    const { rows: scored, dropped, report } = await scoreIfd(alpaca, options);
    const byId = new Map(scored.map((row) => [row.id, row]));
    for (const [id, expected] of scores.entries()) {
      const row = byId.get(id);
      if (!expected) {
        expect(row).toBeUndefined();
        continue;
      }
      expect(row!.ifd).toBeCloseTo(expected.ifd, 6);
      expect(row!.ifd_conditioned).toBeCloseTo(expected.conditioned, 5);
      expect(row!.ifd_direct).toBeCloseTo(expected.direct, 5);
    }
    expect(dropped).toHaveLength(scores.filter((score) => !score).length);
    const reasons = new Set(dropped.map(({ reason }) => reason));
    reasons.delete('prompt too long');
    // Without a BOS an answer of one token alone has nothing before it.
    expect([...reasons]).toEqual(variant === 'superfiltering' && !bos ? ['answer too short'] : []);
    const { rows: top } = await keepTop(scored, { by: 'ifd', ratio: rate, max: 1 });
    expect(top.map(({ id }) => id)).toEqual(kept);
    const above = scores.filter((score) => score && score.ifd > 1).length;
    expect(report.facts.ifd).toMatchObject({ variant, maxLength, aboveOne: above });
  });
});

const rows: Row[] = Array.from({ length: 24 }, (_, i) => ({
  instruction: `Say the word ${'very '.repeat(i % 7)}often, ${i} times.`,
  input: i % 3 === 0 ? `word ${i}` : '',
  output: Array.from({ length: 1 + ((5 * i) % 11) }, (_, n) => `word${i + n}`).join(' '),
}));
const ifds = (scored: readonly Row[]) => scored.map(({ ifd }) => ifd as number);

describe('a score', () => {
  let small: LanguageModel;
  beforeAll(async () => {
    small = await AutoModelForCausalLM.fromConfig(tinyConfig, { attune });
  });
  test('does not depend on what else is in its batch', async () => {
    const options = { model: small, tokenizer, variant: 'superfiltering' } as const;
    const alone = ifds((await scoreIfd(rows, { ...options, batchSize: 1 })).rows);
    const together = ifds((await scoreIfd(rows, { ...options, batchSize: 16 })).rows);
    expect(alone).toHaveLength(rows.length);
    for (const [i, score] of alone.entries())
      expect(Math.abs(score - together[i]!)).toBeLessThan(1e-6);
  });

  test('is 1 where what is before the answer is the same in both passes', async () => {
    const options = { model: small, tokenizer, prompt: '{instruction}', directPrompt: 'Say it.' };
    const same = rows.map(({ output }) => ({ instruction: 'Say it.', output }));
    for (const score of ifds((await scoreIfd(same, options)).rows)) expect(score).toBe(1);
  });

  test('is near 1 where the model does not look at what is before', async () => {
    // Without attention each token is predicted from the one before it alone.
    const blind = await AutoModelForCausalLM.fromConfig(
      { ...tinyConfig, num_hidden_layers: 1 },
      { attune },
    );
    for (const [name, parameter] of blind.root.namedParameters())
      if (name.endsWith('o_proj.weight')) parameter.write(new Float32Array(parameter.size));
    const scores = ifds((await scoreIfd(rows, { model: blind, tokenizer })).rows);
    for (const score of scores) expect(score).toBeCloseTo(1, 5);
  });

  test('is that of the last answer of a conversation', async () => {
    const turns = [
      { role: 'user', content: 'a b c' },
      { role: 'assistant', content: 'd e f' },
      { role: 'user', content: 'g h' },
      { role: 'assistant', content: 'i j k' },
      { role: 'user', content: 'never answered' },
    ];
    const given = [
      { messages: turns },
      { prompt: 'a b c\nd e f\ng h', completion: 'i j k' },
      { instruction: 'a b c\nd e f\ng h', input: '', output: 'i j k' },
    ];
    const [first, ...others] = ifds((await scoreIfd(given, { model, tokenizer })).rows);
    for (const other of others) expect(other).toBeCloseTo(first!, 6);
  });

  test('is that of the input, too, where a prompt has no place for it', async () => {
    const given = [
      { instruction: 'a b', input: 'c d', output: 'e f' },
      { instruction: 'a b\nc d', input: '', output: 'e f' },
    ];
    const prompt = 'USER: {instruction} ASSISTANT:';
    const [apart, joined] = ifds((await scoreIfd(given, { model: small, tokenizer, prompt })).rows);
    expect(apart).toBe(joined);
  });

  test('is kept: a second run asks the model nothing', async () => {
    const cache = new CountingCache();
    const few = rows.slice(0, 5);
    const options = { model: small, tokenizer, variant: 'superfiltering' } as const;
    const first = await scoreIfd(few, options, { cache });
    expect(cache.hits).toBe(0);
    const second = await scoreIfd(few, options, { cache });
    expect(cache.hits).toBe(2 * few.length);
    expect(second.rows).toEqual(first.rows);
    await scoreIfd(few, { ...options, model }, { cache });
    expect(cache.hits).toBe(2 * few.length);
  });

  test('stopped half-way, and run again, it is the same', async () => {
    const cache = new CountingCache();
    const stop = new AbortController();
    const set = cache.set.bind(cache);
    cache.set = async (key, value) => {
      await set(key, value);
      if (cache.values.size === 20) stop.abort(new Error('stopped'));
    };
    const options = { model: small, tokenizer, variant: 'superfiltering', batchSize: 4 } as const;
    const whole = await scoreIfd(rows, options);
    await expect(scoreIfd(rows, options, { cache, signal: stop.signal })).rejects.toThrow(
      'stopped',
    );
    const kept = cache.values.size;
    expect(kept).toBeGreaterThanOrEqual(20);
    expect(kept).toBeLessThan(2 * rows.length);
    const again = await scoreIfd(rows, options, { cache });
    expect(cache.hits).toBe(kept);
    expect(again.rows).toEqual(whole.rows);
  });
});

describe('rows without a score', () => {
  test.each([
    [{ text: 'no instruction here' }, 'no instruction'],
    [{ instruction: ' \n', input: '', output: 'x' }, 'no instruction'],
    [{ instruction: 'x', input: '', output: '' }, 'no answer'],
    [{ prompt: 'x' }, 'no answer'],
    [{ messages: [{ role: 'user', content: 'x' }] }, 'no answer'],
    [{ messages: [] }, 'no instruction'],
    [{ instruction: 'word '.repeat(200), input: '', output: 'x' }, 'prompt too long'],
    [{ instruction: null, output: 3 }, 'no instruction'],
  ])('%#: %s', async (row, reason) => {
    const { rows: left, dropped } = await scoreIfd([row as Row], { model, tokenizer });
    expect(left).toEqual([]);
    expect(dropped.map((lost) => lost.reason)).toEqual([reason]);
  });

  test('without a token in front an answer of one token has no loss of its own', async () => {
    const options = { model, tokenizer: bare, variant: 'superfiltering' } as const;
    const given = ['one', 'one two'].map((output) => ({ instruction: 'x', output }));
    const { rows: left, dropped } = await scoreIfd(given, options);
    expect(left).toHaveLength(1);
    expect(dropped.map(({ reason }) => reason)).toEqual(['answer too short']);
  });

  test('an EOS that the tokenizer adds is not scored', async () => {
    const withEos = { ...pieces, encode: (text: string) => [...pieces.encode(text), 2] };
    const [given] = rows;
    const plain = await scoreIfd([given!], { model, tokenizer });
    const ended = await scoreIfd([given!], { model, tokenizer: withEos });
    expect(ended.rows).toEqual(plain.rows);
  });
});

test('a model that is only named needs a device to lie on', async () => {
  await expect(scoreIfd(rows, { model: 'some/model' })).rejects.toThrow(
    'scoreIfd: model is the name "some/model", and there is no device to load it on',
  );
  expect(() => scoreIfd(rows, { model, tokenizer, prompt: 'no place' })).toThrow(
    'expected a text with {instruction} in it',
  );
  const unnamed = await AutoModelForCausalLM.fromConfig(tinyConfig, { attune });
  await expect(scoreIfd(rows, { model: unnamed })).rejects.toThrow('loaded from no folder');
});
