import { readdirSync, readFileSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  createAttune,
  type LanguageModel,
  SFTTrainer,
  silentLogger,
} from '@attune/core';
import type { DecoderWithHead } from '@attune/core/nn';
import { getPeftModel, PeftModel, peft } from '@attune/peft';
import { describe, expect, onTestFinished, test } from 'vitest';
import { backendPlugin, Float32Backend } from '../../../core/test/trainer/support.js';
import {
  disturb,
  fixtures,
  folder,
  largestDifference,
  load,
  logits,
  open,
  readTensors,
  untyped,
} from '../support.js';

const methods = join(fixtures, 'methods');
const prompts = readdirSync(methods).filter((name) => /^(prompt|prefix|p)-tuning/.test(name));

const configs = [
  { peftType: 'PROMPT_TUNING', numVirtualTokens: 5 },
  { peftType: 'P_TUNING', numVirtualTokens: 3, encoderHiddenSize: 8 },
  { peftType: 'PREFIX_TUNING', numVirtualTokens: 4 },
  { peftType: 'PREFIX_TUNING', numVirtualTokens: 2, prefixProjection: true, encoderHiddenSize: 6 },
] as const;

/** Rows 49, 50: PEFT's greedy text, out of the file that it wrote. */
describe.each(prompts)('%s', (name) => {
  const run = JSON.parse(readFileSync(join(methods, name, 'run.json'), 'utf8')) as {
    readonly base: string;
    readonly greedy: { readonly prompt: number[]; readonly sequence: number[] };
  };

  test('writes the text that PEFT writes: with the cache, without, and beside longer prompts', async () => {
    const base = await load(await open(), run.base, 'float32');
    const model = await PeftModel.fromPretrained(base, join(methods, name));
    const { prompt, sequence } = run.greedy;
    const options = { maxNewTokens: 8, eosTokenId: null };
    const { sequences } = await model.generate({ inputIds: prompt, ...options });
    expect(sequences).toEqual([sequence]);
    const again = await model.generate({ inputIds: prompt, useCache: false, ...options });
    expect(again.sequences).toEqual([sequence]);
    const longer = [9, 8, 7, 6, ...prompt, 5];
    const batch = await model.generate({ inputIds: [longer, prompt], ...options });
    expect(batch.sequences[1]).toEqual(sequence);
    const alone = await model.generate({ inputIds: longer, ...options });
    expect(batch.sequences[0]).toEqual(alone.sequences[0]);
    expect([...model.root.namedParameters()].some(([, p]) => p.trainable)).toBe(false);
  });
});

/**
 * Rows packed into one, or padded on the left: logits of the tokens of `rows`, one after the other.
 */
async function together(
  model: LanguageModel,
  rows: readonly (readonly number[])[],
  pad: number,
): Promise<Float32Array> {
  const { engine } = model;
  const ids = [...new Array<number>(pad).fill(0), ...rows.flat()];
  const of = (values: readonly number[]) => engine.tensor(values, [1, ids.length], 'int32');
  const padding = new Array<number>(pad);
  const out = engine.noGrad(() =>
    engine.scope('together', () =>
      engine.keep(
        model
          .forward({
            inputIds: of(ids),
            positions: of([...padding.fill(0), ...rows.flatMap((row) => row.map((_, t) => t))]),
            segments: of([...padding.fill(-1), ...rows.flatMap((row, i) => row.map(() => i))]),
          })
          .slice(1, pad, ids.length),
      ),
    ),
  );
  const values = (await out.data()) as Float32Array;
  out.dispose();
  return values;
}

describe.each(configs)('%o', (config) => {
  test('packed and padded rows see the virtual tokens, and only those', async () => {
    const model = getPeftModel(await load(await open(), 'tiny-llama', 'float32'), config);
    disturb(model, 0.5);
    const rows = [
      [5, 9, 2, 7, 30],
      [4, 8],
      [61, 17, 33],
    ];
    const alone: number[] = [];
    for (const row of rows) alone.push(...(await logits(model, [row])));
    expect(largestDifference(await together(model, rows, 0), alone)).toBeLessThan(1e-5);
    expect(largestDifference(await together(model, rows, 3), alone)).toBeLessThan(1e-5);
  });

  test.each(['tiny-gpt2', 'tiny-phi3', 'tiny-gemma3', 'tiny-mistral', 'tiny-smollm3'])(
    'on %s: cached as computed at once, off as the base',
    async (name) => {
      const base = await load(await open(), name, 'float32');
      const before = await logits(base);
      const model = getPeftModel(base, config);
      disturb(model, 0.3);
      const prompt = [5, 9, 2, 7, 30, 11];
      const inputIds = [prompt, prompt.slice(2)];
      const options = { inputIds, maxNewTokens: 6, eosTokenId: null };
      const cached = await model.generate(options);
      const whole = await model.generate({ ...options, useCache: false });
      expect(cached.sequences).toEqual(whole.sequences);
      const beams = await model.generate({ ...options, numBeams: 3 });
      const same = await model.generate({ ...options, numBeams: 3, useCache: false });
      expect(beams.sequences).toEqual(same.sequences);
      expect(largestDifference(await logits(model), before)).toBeGreaterThan(1e-3);
      expect(await model.withAdaptersDisabled(() => logits(model))).toEqual(before);
      expect(await logits(model.unload())).toEqual(before);
    },
  );

  test('a run that was cut off goes on to the same bits', async () => {
    const rows = [
      [5, 9, 2, 7],
      [30, 11, 4],
      [8, 8, 61, 17, 3],
      [90, 2, 55],
    ].map((ids) => ({
      input_ids: ids,
      labels: ids,
    }));
    const train = async (outputDir: string, resume: boolean) => {
      const float32 = backendPlugin('float32', () => new Float32Backend());
      const plugins = [float32, peft()];
      const attune = await createAttune({ plugins, backend: 'float32', logger: silentLogger });
      onTestFinished(() => attune.dispose());
      const base = await load(attune, 'tiny-llama', 'float32');
      const trainer = new SFTTrainer({
        model: base,
        peftConfig: config,
        trainDataset: rows,
        args: {
          outputDir,
          maxSteps: 4,
          saveSteps: 2,
          perDeviceTrainBatchSize: 2,
          learningRate: 1e-2,
          gradientCheckpointing: true,
        },
      });
      await trainer.train({ resumeFromCheckpoint: resume });
      await trainer.saveModel(join(outputDir, 'end'));
      const files = readdirSync(join(outputDir, 'end')).filter((f) => f.endsWith('.safetensors'));
      return Promise.all(files.map((file) => readFile(join(outputDir, 'end', file))));
    };
    const path = await folder();
    const once = await train(path, false);
    await rm(join(path, 'checkpoint-4'), { recursive: true });
    const resumed = await train(path, true);
    expect(resumed.every((file, i) => file.equals(once[i]!))).toBe(true);
  });
});

describe('files', () => {
  const projected = configs[3];

  test('the encoder lies beside what it gives, and is needed to train on', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), projected);
    disturb(model);
    const path = await folder();
    await model.savePretrained(path);
    const { shape } = (await readTensors(join(path, 'adapter_model.safetensors'))).get(
      'prompt_embeddings',
    )!;
    expect(shape).toEqual([2, 2 * 2 * 32]);
    const again = await PeftModel.fromPretrained(await load(attune), path, { isTrainable: true });
    expect(await logits(again)).toEqual(await logits(model));
    expect(again.getNbTrainableParameters()).toEqual(model.getNbTrainableParameters());
    disturb(again);
    expect(await logits(again)).not.toEqual(await logits(model));
    await again.loadWeights(path);
    expect(await logits(again)).toEqual(await logits(model));

    // What is saved out of the virtual tokens alone leaves no encoder behind that is not theirs.
    const used = await PeftModel.fromPretrained(await load(attune), path);
    await used.savePretrained(path);
    await expect(
      PeftModel.fromPretrained(await load(attune), path, { isTrainable: true }),
    ).rejects.toThrow(/PEFT_NOT_TRAINABLE: .*no prompt_encoder\.safetensors/);
    expect(readdirSync(path).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
  });

  test('an encoder of other sizes', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), projected);
    const [path, other] = [await folder(), await folder()];
    await model.savePretrained(path);
    const wider = getPeftModel(await load(attune), { ...projected, encoderHiddenSize: 7 });
    await wider.savePretrained(other);
    const encoder = 'prompt_encoder.safetensors';
    await writeFile(join(path, encoder), await readFile(join(other, encoder)));
    await expect(
      PeftModel.fromPretrained(await load(attune), path, { isTrainable: true }),
    ).rejects.toThrow(
      /PEFT_ADAPTER_INCOMPLETE: .*transform\.0\.weight is \[7, 32\], the config asks for \[6, 32\]/,
    );
  });

  test('of another base: the shapes are named', async () => {
    const attune = await open();
    const qwen2 = await load(attune, 'tiny-qwen2');
    const at = join(methods, 'prompt-tuning-llama');
    await expect(PeftModel.fromPretrained(qwen2, at)).rejects.toThrow(
      /PEFT_OTHER_BASE: tokenDim is 64; of this model \(qwen2\) it is 32: virtual tokens of \[3, 64\] do not fit where \[3, 32\] are taken/,
    );
    const path = await folder();
    const config = JSON.parse(readFileSync(join(at, 'adapter_config.json'), 'utf8')) as object;
    await writeFile(
      join(path, 'adapter_config.json'),
      JSON.stringify({ ...config, token_dim: 32 }),
    );
    const weights = 'adapter_model.safetensors';
    await writeFile(join(path, weights), await readFile(join(at, weights)));
    await expect(PeftModel.fromPretrained(qwen2, path)).rejects.toThrow(
      /PEFT_OTHER_BASE: .*prompt_embeddings is \[3, 64\], this model needs \[3, 32\]/,
    );
  });

  test('a classifier: its score has the name that PEFT gives it, and is read at the last token', async () => {
    const attune = await open();
    const options = { attune, numLabels: 3, dtype: 'float32' } as const;
    const classifier = (seed: number) =>
      AutoModelForSequenceClassification.fromPretrained(join(fixtures, 'tiny-llama'), {
        ...options,
        seed,
      });
    const model = getPeftModel(await classifier(1), configs[0]);
    disturb(model);
    const path = await folder();
    await model.savePretrained(path);
    const file = await readTensors(join(path, 'adapter_model.safetensors'));
    expect([...file.keys()].sort()).toEqual(['base_model.score.weight', 'prompt_embeddings']);
    const config = JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8')) as object;
    // As PEFT writes it: both names that heads have.
    await writeFile(
      join(path, 'adapter_config.json'),
      JSON.stringify({ ...config, modules_to_save: ['classifier', 'score'] }),
    );
    const again = await PeftModel.fromPretrained(await classifier(2), path);
    expect(await logits(again)).toEqual(await logits(model));
  });
});

describe('PROMPT_TUNING starts', () => {
  const weights = async (model: PeftModel) => {
    const parameters = new Map(model.root.namedParameters());
    return (await parameters
      .get('prompt_encoder.default.embedding.weight')!
      .tensor.data()) as Float32Array;
  };
  const rowsOf = async (model: LanguageModel, ids: readonly number[], scale = 1) => {
    const embedding = new Map(model.root.namedParameters()).get('model.embed_tokens.weight')!;
    const values = await embedding.tensor.data();
    const width = model.config.hiddenSize;
    return Float32Array.from(
      ids.flatMap((id) => Array.from({ length: width }, (_, d) => scale * values[id * width + d]!)),
    );
  };

  test('as the tokens of a text, again and again, once it is ready', async () => {
    const text = 'Classify this:';
    const attune = await open();
    const config = { ...configs[0], promptTuningInit: 'TEXT', promptTuningInitText: text };
    const tokenizerNameOrPath = join(fixtures, 'tokenizers', 'bpe-bytefallback');
    // Gemma multiplies what it looks up.
    const shape = { vocab_size: 1000, hidden_size: 8, num_hidden_layers: 1, intermediate_size: 8 };
    const heads = { num_attention_heads: 1, num_key_value_heads: 1, head_dim: 8 };
    const base = await AutoModelForCausalLM.fromConfig(
      { model_type: 'gemma', max_position_embeddings: 16, ...shape, ...heads },
      { attune },
    );
    const model = getPeftModel(base, untyped({ ...config, tokenizerNameOrPath }));
    await model.ready();
    const { AutoTokenizer } = await import('@attune/core');
    const ids = (await AutoTokenizer.fromPretrained(tokenizerNameOrPath)).encode(text);
    const repeated = Array.from({ length: 5 }, (_, i) => ids[i % ids.length]!);
    const expected = await rowsOf(base, repeated, Math.fround(Math.sqrt(8)));
    expect(largestDifference(await weights(model), expected)).toBeLessThan(1e-6);
    expect(model.peftConfig.default).toMatchObject({ promptTuningInitText: text });
  });

  test('as tokens of the vocabulary, drawn from the seed', async () => {
    const config = { ...configs[0], promptTuningInit: 'SAMPLE_VOCAB' };
    const start = async (seed: number) => {
      const attune = await createAttune({
        plugins: [peft()],
        logger: silentLogger,
        seed,
        backend: 'reference',
      });
      onTestFinished(() => attune.dispose());
      const model = getPeftModel(await load(attune, 'tiny-llama', 'float32'), untyped(config));
      return { model, values: await weights(model) };
    };
    const { model, values } = await start(1);
    const all = await rowsOf(
      model.base,
      Array.from({ length: 256 }, (_, id) => id),
    );
    for (let v = 0; v < 5; v++) {
      const row = values.slice(64 * v, 64 * (v + 1));
      const isToken = Array.from({ length: 256 }, (_, id) => id).some(
        (id) => largestDifference(row, all.slice(64 * id, 64 * (id + 1))) === 0,
      );
      expect(isToken).toBe(true);
    }
    expect((await start(1)).values).toEqual(values);
    expect((await start(2)).values).not.toEqual(values);
  });

  test('as nothing at first: initWeights "zero"', async () => {
    for (const config of configs.slice(2)) {
      const zero = { ...config, initWeights: 'zero' };
      const model = getPeftModel(await load(await open()), untyped(zero));
      const { layers } = model.virtualTokens()!;
      for (const { keys, values } of layers!)
        for (const tensor of [keys, values])
          expect((await tensor.data()).every((x) => x === 0)).toBe(true);
    }
  });
});

describe('mistakes', () => {
  const on = async (config: object) => getPeftModel(await load(await open()), untyped(config));

  test.each<[object, RegExp]>([
    [
      { peftType: 'PROMPT_TUNING' },
      /PEFT_CONFIG_INVALID: peftConfig\.numVirtualTokens is not given/,
    ],
    [
      { ...configs[0], numVirtualTokens: 0 },
      /PEFT_CONFIG_INVALID: peftConfig\.numVirtualTokens is 0/,
    ],
    [
      { ...configs[0], promptTuningInit: 'TEXT', promptTuningInitText: 'x' },
      /PEFT_CONFIG_INVALID: promptTuningInit is "TEXT", but tokenizerNameOrPath is null/,
    ],
    [
      { ...configs[0], promptTuningInit: 'TEXT', tokenizerNameOrPath: 'x' },
      /PEFT_CONFIG_INVALID: promptTuningInit is "TEXT", but promptTuningInitText is null/,
    ],
    [
      { ...configs[0], tokenizerKwargs: { revision: 'main' } },
      /PEFT_CONFIG_INVALID: tokenizerKwargs are given, but promptTuningInit is "RANDOM"/,
    ],
    [
      { ...configs[0], tokenDim: 128 },
      /PEFT_OTHER_BASE: tokenDim is 128; .* \[5, 128\] .* \[5, 64\]/,
    ],
    [
      { ...configs[2], numLayers: 3 },
      /PEFT_OTHER_BASE: numLayers is 3; .* \[4, 192\] .* \[4, 128\]/,
    ],
    [
      { ...configs[1], encoderReparameterizationType: 'GRU' },
      /PEFT_CONFIG_INVALID: peftConfig\.encoderReparameterizationType is "GRU"/,
    ],
    [
      { ...configs[0], targetModules: ['q_proj'] },
      /UNKNOWN_OPTION: peftConfig\.targetModules is not an option of PROMPT_TUNING/,
    ],
    [
      { ...configs[0], numTransformerSubmodules: 2 },
      /PEFT_CONFIG_INVALID: peftConfig\.numTransformerSubmodules is 2/,
    ],
  ])('%o', async (config, message) => {
    await expect(on(config)).rejects.toThrow(message);
  });

  test('no merging, and one at a time', async () => {
    const model = await on(configs[0]);
    await expect(model.mergeAndUnload()).rejects.toThrow(
      /PEFT_NOT_MERGEABLE: PROMPT_TUNING adapters cannot be merged: virtual tokens are part of the input/,
    );
    model.addAdapter('prefix', configs[2]);
    expect(() => model.setAdapter(['default', 'prefix'])).toThrow(
      /PEFT_CONFLICT: setAdapter: "default" and "prefix" both give virtual tokens/,
    );
    expect(model.numVirtualTokens).toBe(5);
    model.setAdapter('prefix');
    expect(model.numVirtualTokens).toBe(4);
    expect(model.withAdaptersDisabled(() => model.numVirtualTokens)).toBe(0);
    expect(() => model.withAdapterPerRow(['prefix', '__base__'], () => 0)).toThrow(
      /PEFT_ROWS: "prefix" \(PREFIX_TUNING\) gives virtual tokens, which is one for the whole batch/,
    );
  });

  test('a text without a tokenizer to read it is told to who waits', async () => {
    const model = await on({
      ...configs[0],
      promptTuningInit: 'TEXT',
      promptTuningInitText: 'x',
      tokenizerNameOrPath: join(fixtures, 'nowhere'),
    });
    await expect(model.ready()).rejects.toThrow(/MODEL_FOLDER_MISSING|HUB_/);
  });

  test('virtual tokens take positions', async () => {
    const model = await on(configs[0]); // 128 positions
    const ids = (length: number) => Array.from({ length }, (_, i) => i);
    await logits(model, [ids(123)]);
    await expect(logits(model, [ids(124)])).rejects.toThrow(
      /SEQUENCE_TOO_LONG: a sequence of 129 tokens, of which 5 are virtual, is longer .*128 positions/,
    );
    await expect(model.generate({ inputIds: ids(120), maxNewTokens: 4 })).rejects.toThrow(
      /SEQUENCE_TOO_LONG: .*less 5 virtual tokens/,
    );
    const args = { outputDir: await folder() };
    const trainer = (maxLength?: number) =>
      new SFTTrainer({ model, args: { ...args, ...(maxLength && { maxLength }) } });
    expect(trainer().args.maxLength).toBe(123);
    expect(() => trainer(124)).toThrow(/MAX_LENGTH: .*positions for 123 tokens .*less 5 virtual/);
  });

  test('a decoder that passes over them', async () => {
    const model = await on(configs[0]);
    const { body } = model.root as DecoderWithHead;
    const forward = body.forward.bind(body);
    body.forward = (input) =>
      forward({ ...input, virtual: null, positions: input.positions.slice(1, 0, 5) });
    await expect(logits(model)).rejects.toThrow(
      /VIRTUAL_TOKENS_UNSUPPORTED: the decoder of "llama" passes over virtual tokens \(5 were given\)/,
    );
  });
});
