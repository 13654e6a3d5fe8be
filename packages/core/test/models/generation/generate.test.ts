import {
  type Attune,
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  collatePredictions,
  type GenerateOptions,
  sequenceLogProbs,
  type Tokenizer,
  upload,
} from '@attune/core';
import { StaticKvCache } from '@attune/core/models';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  fixture,
  fixtureJson,
  hasStories,
  largestDifference,
  reference,
  stories,
  storiesNote,
} from '../support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await reference();
});
afterAll(() => attune.dispose());

/** Everything that a generation allocates is gone after it. */
async function leavingNothing<T>(run: () => Promise<T>): Promise<T> {
  const before = [attune.engine.liveTensors, attune.backend.stats.liveBytes];
  const result = await run();
  expect([attune.engine.liveTensors, attune.backend.stats.liveBytes]).toEqual(before);
  return result;
}

describe.skipIf(!hasStories)(`stories260k${storiesNote}`, () => {
  let model: CausalLM;
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    model = await AutoModelForCausalLM.fromPretrained(stories, { attune, dtype: 'float32' });
    tokenizer = await AutoTokenizer.fromPretrained(stories);
  });
  const start = 'Once upon a time';

  it('continues as transformers does, and as API.md promises', async () => {
    const { greedy } = fixtureJson('stories260k/texts.json');
    const { sequences, finishReasons } = await leavingNothing(() =>
      model.generate({ inputIds: tokenizer.encode(start), maxNewTokens: 64 }),
    );
    expect(sequences).toEqual([greedy.ids]);
    expect(finishReasons).toEqual(['length']);
    expect(tokenizer.decode(sequences[0]!)).toMatch(
      /^Once upon a time, there was a little girl named Lily\. She loved to play outside in the park\. One day, she saw a big, red ball\./,
    );
  });

  it('streams the same tokens, which decodeStream turns into the same text', async () => {
    const inputIds = tokenizer.encode(start);
    const { sequences } = await model.generate({ inputIds, maxNewTokens: 24 });
    const tokens: number[] = [];
    let text = '';
    await leavingNothing(async () => {
      for await (const token of model.generateStream({ inputIds, maxNewTokens: 24 })) {
        tokens.push(token);
        text += tokenizer.decodeStream(token);
      }
    });
    text += tokenizer.decodeStream(null);
    expect([...inputIds, ...tokens]).toEqual(sequences[0]);
    expect(text).toBe(tokenizer.decode(tokens));
  });

  it('stops at a stop string, with the tokenizer of its folder when none is given', async () => {
    const inputIds = tokenizer.encode(start);
    const stopped = await model.generate({ inputIds, maxNewTokens: 64, stopStrings: ['Lily. S'] });
    expect(stopped.finishReasons).toEqual(['stop']);
    const text = tokenizer.decode(stopped.sequences[0]!);
    expect(text).toMatch(/named Lily\. S\w*$/);
    const options = { inputIds, maxNewTokens: 64, stopStrings: 'Lily', tokenizer };
    expect(tokenizer.decode((await model.generate(options)).sequences[0]!)).toMatch(/Lily$/);
  });

  it('reads eos tokens from generation_config.json', async () => {
    expect(model.config.generation).toMatchObject({ eos_token_id: [1, 2] });
    const { sequences } = await model.generate({
      inputIds: tokenizer.encode(start),
      maxNewTokens: 3,
    });
    const eosTokenId = sequences[0]!.at(-1)!;
    const ended = await model.generate({
      inputIds: tokenizer.encode(start),
      maxNewTokens: 9,
      eosTokenId,
    });
    expect(ended.finishReasons).toEqual(['eos']);
    expect(ended.sequences[0]!.at(-1)).toBe(eosTokenId);
    expect(ended.sequences[0]!.length).toBeLessThanOrEqual(sequences[0]!.length);
  });
});

describe('tiny-llama', () => {
  let model: CausalLM;
  beforeAll(async () => {
    model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), { attune });
  });
  const rows = [[5], [7, 8, 9, 10, 11, 12], [20, 21, 22]];
  const run = (options: Partial<GenerateOptions>) =>
    leavingNothing(() =>
      model.generate({ inputIds: rows, maxNewTokens: 8, eosTokenId: null, ...options }),
    );
  const sampling = { doSample: true, temperature: 1.5, topK: 0, seed: 3 };

  it('gives the same tokens with and without a cache', async () => {
    expect(await run({ useCache: false })).toEqual(await run({}));
    expect(await run({ ...sampling, useCache: false })).toEqual(await run(sampling));
  });

  it('continues each row of a batch as it continues that row alone', async () => {
    const { sequences } = await run({});
    for (const [i, inputIds] of rows.entries())
      expect((await run({ inputIds })).sequences).toEqual([sequences[i]]);
  });

  it('lets a row end while the others go on', async () => {
    const { sequences } = await run({});
    const eosTokenId = sequences[1]![rows[1]!.length + 2]!; // the third new token of row 1
    const ended = await run({ eosTokenId });
    for (const [i, sequence] of sequences.entries()) {
      const at = sequence.indexOf(eosTokenId, rows[i]!.length);
      expect(ended.sequences[i]).toEqual(at < 0 ? sequence : sequence.slice(0, at + 1));
      expect(ended.finishReasons[i]).toBe(at < 0 ? 'length' : 'eos');
    }
    expect(ended.finishReasons).toContain('eos');
  });

  it('draws the tokens of a stream, whatever else is in the batch', async () => {
    const options = { ...sampling, maxNewTokens: 8 };
    const prompts = [5, 6, 7].map((id) => [1, id]);
    const { sequences } = await model.generate({
      ...options,
      inputIds: prompts,
      streams: [70, 0, 2 ** 30],
    });
    for (const [row, stream] of [70, 0, 2 ** 30].entries()) {
      const alone = { ...options, inputIds: prompts[row]!, streams: [stream] };
      expect((await model.generate(alone)).sequences).toEqual([sequences[row]]);
      // What looks at all logits draws on the host, from other numbers of the same stream.
      const host = { ...alone, noRepeatNgramSize: 9 };
      const beside = { ...host, inputIds: [[1, 9], prompts[row]!], streams: [3, stream] };
      expect((await model.generate(beside)).sequences[1]).toEqual(
        (await model.generate(host)).sequences[0],
      );
    }
    const places = await model.generate({ ...options, inputIds: prompts });
    const same = await model.generate({ ...options, inputIds: prompts, streams: [0, 1, 2] });
    expect(same.sequences).toEqual(places.sequences);
    for (const streams of [[1], [1, 2, -1], [1, 2, 2 ** 30 + 1], 'a' as never])
      await expect(model.generate({ ...options, inputIds: prompts, streams })).rejects.toThrow(
        /streams/,
      );
  });

  it('draws the same tokens for the same seed, and others for another', async () => {
    const first = await run(sampling);
    expect(await run(sampling)).toEqual(first);
    expect(await run({ ...sampling, seed: 4 })).not.toEqual(first);
    // topK 1 leaves nothing to draw from.
    expect(await run({ ...sampling, topK: 1 })).toEqual(await run({}));
    expect(await run({ ...sampling, topP: 0 })).toEqual(await run({}));
    expect(await run({ ...sampling, minP: 1 })).toEqual(await run({}));
  });

  it('never repeats a token under a large repetition penalty', async () => {
    const { sequences } = await run({ repetitionPenalty: 1e6, maxNewTokens: 16 });
    for (const sequence of sequences) expect(new Set(sequence).size).toBe(sequence.length);
  });

  it('takes tensors, typed arrays and padded rows with their mask', async () => {
    const expected = (await run({})).sequences;
    const padded = [
      [5, 0, 0, 0, 0, 0],
      [7, 8, 9, 10, 11, 12],
      [0, 0, 0, 20, 21, 22],
    ];
    const mask = [
      [1, 0, 0, 0, 0, 0],
      [1, 1, 1, 1, 1, 1],
      [0, 0, 0, 1, 1, 1],
    ];
    expect((await run({ inputIds: padded, attentionMask: mask })).sequences).toEqual(expected);
    const tensor = attune.engine.tensor(rows[1]!, [1, 6], 'int32');
    expect((await run({ inputIds: tensor })).sequences).toEqual([expected[1]]);
    tensor.dispose();
    const typed = Int32Array.from(rows[2]!);
    expect((await run({ inputIds: typed })).sequences).toEqual([expected[2]]);
  });

  it('adds 20 tokens by default, and as many as maxLength leaves', async () => {
    const { sequences } = await model.generate({ inputIds: [5, 6], eosTokenId: null });
    expect(sequences[0]).toHaveLength(22);
    const short = await model.generate({ inputIds: [5, 6], eosTokenId: null, maxLength: 9 });
    expect(short.sequences[0]).toHaveLength(9);
    const full = await model.generate({
      inputIds: new Array<number>(120).fill(5),
      eosTokenId: null,
    });
    expect(full.sequences[0]).toHaveLength(128);
  });

  it('reads back after 1, 2, 4, 8 and then every 16 tokens, or after each where that counts', async () => {
    const { stats } = attune.backend;
    const readbacks = async (options: Partial<GenerateOptions>) => {
      const before = stats.readbacks;
      await run({ maxNewTokens: 40, ...options });
      return stats.readbacks - before;
    };
    expect(await readbacks({})).toBe(4 + 2); // 15 tokens, 16, 9
    expect(await readbacks(sampling)).toBe(6);
    expect(await readbacks({ signal: new AbortController().signal })).toBe(40);
    expect(await readbacks({ maxTime: 1e6 })).toBe(40);
    expect(await readbacks({ useCache: false })).toBe(40);
  });

  it('gives the same answers when it reads back seldom as after each token', async () => {
    const { signal } = new AbortController();
    const given = { ...sampling, maxNewTokens: 40, returnLogProbs: true };
    for (const eosTokenId of [null, 7, [3, 11, 19], Array.from({ length: 20 }, (_, i) => i)]) {
      const seldom = await run({ ...given, eosTokenId });
      expect(seldom).toEqual(await run({ ...given, eosTokenId, signal }));
      for (const [r, sequence] of seldom.sequences.entries())
        expect(seldom.logProbs![r]).toHaveLength(sequence.length - rows[r]!.length);
    }
  });

  it('draws on the device what the host draws', async () => {
    // Log-softmax of the scores draws the same, and is done on the host.
    for (const options of [
      { topK: 0 },
      { topK: 9, topP: 0.9 },
      { topK: 0, minP: 0.1, temperature: 0.8 },
      { doSample: false },
    ]) {
      const given = { ...sampling, ...options, returnLogProbs: true, maxNewTokens: 24 };
      const device = await run(given);
      const host = await run({ ...given, renormalizeLogits: true });
      expect(device.sequences).toEqual(host.sequences);
      for (const [r, logProbs] of device.logProbs!.entries())
        expect(largestDifference(logProbs, host.logProbs![r]!)).toBeLessThan(1e-6);
    }
  });

  it('gives the log-probabilities that sequenceLogProbs gives, whatever it sampled from', async () => {
    const { sequences, logProbs } = await run({
      ...{ ...sampling, topK: 20, topP: 0.9, repetitionPenalty: 1.1 },
      returnLogProbs: true,
    });
    const examples = sequences.map((inputIds, r) => ({
      inputIds,
      labels: inputIds.map((id, t) => (t < rows[r]!.length ? -100 : id)),
    }));
    const { engine } = attune;
    const batch = upload(engine, collatePredictions(examples, 32), model);
    const { perToken } = engine.noGrad(() => sequenceLogProbs(model, batch, { perToken: true }));
    // 0 where there is no label; the rows follow one another.
    const values = Array.from(await perToken!.data()).filter((value) => value !== 0);
    expect(values).toHaveLength(3 * 8);
    expect(largestDifference(values, logProbs!.flat())).toBeLessThan(1e-5);
  });

  describe('more prompts than batchSize', () => {
    const prompts = Array.from({ length: 14 }, (_, r) =>
      Array.from({ length: 1 + ((r * 5) % 9) }, (_value, t) => (3 + 11 * r + 7 * t) % 100),
    );
    const given = { ...sampling, inputIds: prompts, maxNewTokens: 40, returnLogProbs: true };
    const isNear = async (ours: Partial<GenerateOptions>, theirs: Partial<GenerateOptions>) => {
      const [few, all] = [await run(ours), await run(theirs)];
      expect(few.sequences).toEqual(all.sequences);
      expect(few.finishReasons).toEqual(all.finishReasons);
      expect(largestDifference(few.logProbs!.flat(), all.logProbs!.flat())).toBeLessThan(1e-6);
    };

    it.each([1, 3, 99])('%i at once: the same answers', async (batchSize) => {
      for (const eosTokenId of [null, [3, 11, 19, 27, 40]])
        await isNear({ ...given, eosTokenId, batchSize }, { ...given, eosTokenId });
    });

    it('the same answers by rules of the host, without a cache, and read at each token', async () => {
      const some = { ...given, inputIds: prompts.slice(0, 9), eosTokenId: [3, 11, 19, 27, 40] };
      const short = { ...some, maxNewTokens: 12 };
      await isNear({ ...short, useCache: false, batchSize: 4 }, short);
      await isNear({ ...some, maxTime: 1e6, batchSize: 4 }, some);
      const host = { ...some, repetitionPenalty: 1.2 };
      await isNear({ ...host, batchSize: 4 }, host);
    });

    it('begins a waiting row where one has ended', async () => {
      const { stats } = attune.backend;
      const dispatches = async (work: () => Promise<unknown>) => {
        const before = stats.dispatches;
        await work();
        return stats.dispatches - before;
      };
      const inputIds = [...prompts, ...prompts];
      const ended = { ...given, inputIds, eosTokenId: [3, 11, 19, 27, 40], maxTime: 1e6 };
      const together = await dispatches(() => run({ ...ended, batchSize: 4 }));
      const apart = await dispatches(async () => {
        for (let from = 0; from < inputIds.length; from += 4)
          await run({ ...ended, inputIds: inputIds.slice(from, from + 4) });
      });
      expect(together / apart).toBeLessThan(0.85);
    });

    it('says of rows that had no time that they had none', async () => {
      const { sequences, finishReasons } = await run({ ...given, batchSize: 2, maxTime: 1e-9 });
      expect(finishReasons).toEqual(prompts.map(() => 'time'));
      expect(sequences.map((ids, r) => ids.length - prompts[r]!.length)).toEqual(
        prompts.map((_, r) => (r < 2 ? 1 : 0)),
      );
    });

    it('refuses it with beams', async () => {
      await expect(run({ numBeams: 2, batchSize: 2 })).rejects.toThrow(
        /GENERATE_OPTION: generate: batchSize is 2; expected none with beams/,
      );
    });
  });

  it('refuses log-probabilities of beams and of a stream', async () => {
    await expect(run({ numBeams: 2, returnLogProbs: true })).rejects.toThrow(
      /GENERATE_OPTION: generate: returnLogProbs is true; expected false with beams/,
    );
    const stream = model.generateStream({ inputIds: [5], returnLogProbs: true });
    await expect(stream.next()).rejects.toThrow(/generateStream: returnLogProbs was given/);
  });

  it('runs in eval mode and leaves the model as it was', async () => {
    model.root.train();
    for await (const _ of model.generateStream({ inputIds: [5], maxNewTokens: 2 }))
      expect(model.root.training).toBe(false);
    expect(model.root.training).toBe(true);
    model.root.eval();
  });

  it('frees everything when a stream is left early, or aborted', async () => {
    await leavingNothing(async () => {
      for await (const _ of model.generateStream({ inputIds: [5], maxNewTokens: 9 })) break;
    });
    const controller = new AbortController();
    await leavingNothing(async () => {
      const aborted = async () => {
        const options = { inputIds: [5], maxNewTokens: 9, signal: controller.signal };
        for await (const _ of model.generateStream(options)) controller.abort();
      };
      await expect(aborted()).rejects.toThrow(/abort/);
    });
  });

  it.each<[string, string, Partial<GenerateOptions>, RegExp]>([
    ['an empty prompt', 'GENERATE_PROMPT_EMPTY', { inputIds: [[5], []] }, /prompt 1/],
    ['no prompts', 'GENERATE_PROMPT_EMPTY', { inputIds: [] }, /./],
    [
      'an id beyond the vocabulary',
      'GENERATE_TOKEN_OUT_OF_RANGE',
      { inputIds: [5, 256] },
      /256.*255/,
    ],
    ['text', 'GENERATE_OPTION', { inputIds: 'text' as never }, /tokenizer\.encode/],
    ['too long a prompt', 'SEQUENCE_TOO_LONG', { inputIds: new Array(128).fill(5) }, /128/],
    ['too many new tokens', 'SEQUENCE_TOO_LONG', { inputIds: [5], maxNewTokens: 128 }, /<= 127/],
    ['no new tokens', 'GENERATE_OPTION', { maxNewTokens: 0 }, /maxNewTokens is 0/],
    [
      'a maxLength below the prompt',
      'GENERATE_OPTION',
      { maxNewTokens: undefined as never, maxLength: 3 },
      /maxLength is 3/,
    ],
    ['temperature 0', 'GENERATE_OPTION', { doSample: true, temperature: 0 }, /doSample: false/],
    ['topP 2', 'GENERATE_OPTION', { topP: 2 }, /topP is 2/],
    ['topK -1', 'GENERATE_OPTION', { topK: -1 }, /topK is -1/],
    ['a penalty of 0', 'GENERATE_OPTION', { repetitionPenalty: 0 }, /repetitionPenalty is 0/],
    ['a mask of another shape', 'GENERATE_OPTION', { attentionMask: [[1]] }, /attentionMask/],
    ['an option that is not there', 'UNKNOWN_OPTION', { numBeam: 4 } as object, /"numBeams"/],
    ['stop strings without tokenizer', 'GENERATE_OPTION', { stopStrings: 'x' }, /tokenizer/],
  ])('refuses %s', async (_, code, options, says) => {
    const run = model.generate({ inputIds: rows, maxNewTokens: 8, ...options });
    await expect(run).rejects.toMatchObject({ code, message: expect.stringMatching(says) });
  });
});

describe('StaticKvCache', () => {
  it('refuses gradients, and tokens beyond its capacity', async () => {
    const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), { attune });
    const { engine } = attune;
    const { config } = model;
    const cache = new StaticKvCache(engine, {
      ...config,
      numLayers: config.numHiddenLayers,
      batchSize: 1,
      capacity: 4,
    });
    const forward = (length: number) =>
      engine.scope('test', () => {
        const inputIds = engine.tensor(new Int32Array(length), [1, length], 'int32');
        return void model.forward({ inputIds, cache });
      });
    expect(() => forward(2)).toThrowError(/KV_CACHE_GRADIENT/);
    engine.noGrad(() => {
      forward(3);
      expect(cache.length).toBe(3);
      expect(() => forward(2)).toThrowError(/KV_CACHE_FULL.*3 of 4 tokens; 2 more/);
      cache.reset();
      forward(4);
    });
    cache.dispose();
  });
});
