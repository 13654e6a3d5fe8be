import { join } from 'node:path';
import { AutoModelForCausalLM, type CausalLM, SFTTrainer } from '@attune/core';
import { getPeftModel, PeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import {
  disturb,
  fixture,
  fixtures,
  folder,
  largestDifference,
  load,
  logits,
  open,
  readTensors,
} from '../support.js';

// Under a sliding window a prompt's answer is what it gives alone: what lies between virtual tokens
// and a text in one row of a batch, padding or texts packed before, takes no place in the window.

const configs = [
  { peftType: 'PROMPT_TUNING', numVirtualTokens: 4 },
  { peftType: 'P_TUNING', numVirtualTokens: 3, encoderHiddenSize: 8 },
  { peftType: 'PREFIX_TUNING', numVirtualTokens: 4 },
] as const;

const families = ['tiny-mistral', 'tiny-gemma2', 'tiny-gemma3', 'tiny-qwen2-window', 'phi3'];

/**
 * Phi-3 without longrope, whose frequencies follow the longest text of a batch, as in transformers.
 */
const phi3 = {
  model_type: 'phi3',
  vocab_size: 64,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 128,
  sliding_window: 6,
  initializer_range: 0.3,
  pad_token_id: null,
};

async function windowed(family: string): Promise<CausalLM> {
  const attune = await open();
  return family === 'phi3'
    ? AutoModelForCausalLM.fromConfig(phi3, { attune })
    : load(attune, family, 'float32');
}

/** Logits of the given rows alone, one after the other. */
async function alone(model: PeftModel, rows: readonly (readonly number[])[]): Promise<number[]> {
  const all: number[] = [];
  for (const row of rows) all.push(...(await logits(model, [row])));
  return all;
}

/** Logits of rows in one batch, behind `pad` columns of padding. */
async function together(model: PeftModel, rows: readonly (readonly number[])[], pad: number) {
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
  const values = await out.data();
  out.dispose();
  return values;
}

const ids = (length: number, step: number) =>
  Array.from({ length }, (_, t) => 3 + ((t * step + step) % 50));

/** parity/rows_prompt_windows.py: single prompts, shorter and longer than the window. */
describe('what PEFT computes of a prompt', () => {
  const { texts, newTokens } = fixture<{
    readonly newTokens: number;
    readonly texts: Readonly<Record<string, Readonly<Record<string, number[]>>>>;
  }>('prompt-windows/texts.json');

  test.each(Object.keys(texts))('%s', async (name) => {
    const base = await load(await open(), name.replace(/-[a-z]+$/, ''), 'float32');
    const from = join(fixtures, 'prompt-windows', name);
    const model = await PeftModel.fromPretrained(base, from);
    const expected = await readTensors(join(from, 'expected.safetensors'));
    for (const [length, text] of Object.entries(texts[name]!)) {
      const prompt = text.slice(0, Number(length));
      const theirs = expected.get(`logits.${length}`)!.data as Float32Array;
      const ours = (await logits(model, [prompt])).slice(-theirs.length);
      expect(largestDifference(ours, theirs)).toBeLessThan(2e-5);
      const options = { maxNewTokens: newTokens, eosTokenId: null };
      const beside = text.slice(0, 6);
      const { sequences } = await model.generate({ inputIds: [prompt, beside], ...options });
      expect(sequences[0]).toEqual(text);
    }
  });
});

describe.each(families)('%s', (family) => {
  describe.each(configs)('$peftType', (config) => {
    const adapted = async () => {
      const base = await windowed(family);
      const windows = [...base.root.namedModules()].map(
        ([, module]) => (module as { window?: number }).window ?? 0,
      );
      const model = getPeftModel(base, config);
      disturb(model, 0.5);
      return { model, window: Math.max(...windows) };
    };

    test('packed and padded rows see the virtual tokens as alone', async () => {
      const { model, window } = await adapted();
      expect(window).toBeGreaterThan(0);
      // Shorter than the window, as long as it is with the virtual tokens, longer.
      const rows = [
        ids(3, 7),
        ids(window - config.numVirtualTokens, 3),
        ids(window + 3, 5),
        ids(2, 11),
      ];
      const expected = await alone(model, rows);
      expect(largestDifference(await together(model, rows, 0), expected)).toBeLessThan(1e-5);
      expect(largestDifference(await together(model, rows, window), expected)).toBeLessThan(1e-5);
    });

    test('prompts of a batch are answered as alone: cached, whole, in beams', async () => {
      const { model, window } = await adapted();
      const prompts = [ids(2, 7), ids(window + 5, 3), ids(Math.max(1, window - 2), 5)];
      const options = { maxNewTokens: 4, eosTokenId: null };
      for (const more of [{}, { useCache: false }, { numBeams: 2 }]) {
        const { sequences } = await model.generate({ inputIds: prompts, ...options, ...more });
        for (const [i, prompt] of prompts.entries()) {
          const one = await model.generate({ inputIds: [prompt], ...options, ...more });
          expect(sequences[i]).toEqual(one.sequences[0]);
        }
      }
    });
  });
});

test('training: the loss and the gradient of rows packed or in batches are those of the rows alone', async () => {
  for (const config of configs) {
    const losses: number[] = [];
    const norms: number[] = [];
    for (const args of [
      { perDeviceTrainBatchSize: 1, gradientAccumulationSteps: 4 },
      { perDeviceTrainBatchSize: 4 },
      { perDeviceTrainBatchSize: 1, packing: true, maxLength: 32 },
      { perDeviceTrainBatchSize: 4, gradientCheckpointing: true },
    ]) {
      const base = await load(await open(), 'tiny-gemma2', 'float32');
      const model = getPeftModel(base, config);
      const parameter = [...model.root.namedParameters()].filter(([, p]) => p.trainable);
      for (const [, p] of parameter)
        p.write(Float32Array.from({ length: p.size }, (_, i) => Math.sin(i)));
      const trainer = new SFTTrainer({
        model,
        trainDataset: [9, 3, 12, 7].map((n, i) => ({ input_ids: ids(n, i + 2) })),
        args: {
          outputDir: await folder(),
          maxSteps: 1,
          loggingSteps: 1,
          shuffle: false,
          saveStrategy: 'no',
          preflight: 'off',
          ...args,
        },
      });
      trainer.on('log', ({ logs }) => {
        if (!('gradNorm' in logs)) return;
        losses.push(logs.loss as number);
        norms.push(logs.gradNorm as number);
      });
      await trainer.train();
    }
    expect(losses).toHaveLength(4);
    for (const loss of losses) expect(loss).toBeCloseTo(losses[0]!, 5);
    for (const norm of norms) expect(norm / norms[0]!).toBeCloseTo(1, 4);
  }
});
