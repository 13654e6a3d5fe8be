// Whether the loop waits for rows: updates on rows of text that were tokenised before the first
// one, that come from a stream and are tokenised while the device works, and that are read when
// they are asked for. The model is small, so that tokenising has little time to hide in.
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AutoModelForCausalLM, AutoTokenizer, loadDataset, SFTTrainer } from '@attune/core';
import { bench } from './harness/bench.js';
import { median } from './harness/measure.js';
import { tinyLmConfig } from './models/tinyLm.js';

const demo = fileURLToPath(new URL('../../examples/demo/', import.meta.url));
const UPDATES = 10;
const ROWS = 8;

await bench([], async ({ run, attune }) => {
  const tokenizer = await AutoTokenizer.fromPretrained(join(demo, 'base'));
  const dataFiles = join(demo, 'data', 'sft.train.jsonl');
  const inMemory = await loadDataset('json', { dataFiles });
  const stream = await loadDataset('json', { dataFiles, streaming: true });
  const texts = inMemory
    .select(256)
    .toArray()
    .map(({ prompt }) => String(prompt));
  let tokens = 0;
  await run('tokenising 256 prompts', () => ({
    ours: {
      run: async () => {
        tokens = texts.reduce((n, text) => n + tokenizer.encode(text).length, 0);
      },
    },
    facts: (ms) => ({ tokensPerSecond: (1000 * tokens) / ms }),
  }));
  for (const [name, trainDataset, args] of [
    ['in memory', inMemory, {}],
    ['stream', stream, {}],
    ['stream, nothing ahead', stream, { dataloaderPrefetchFactor: 0 }],
    ['stream, packed', stream, { packing: true, maxLength: 256 }],
  ] as const)
    await run(`updates of ${ROWS} rows, ${name}`, async () => {
      const model = await AutoModelForCausalLM.fromConfig(
        {
          ...tinyLmConfig,
          hidden_size: 64,
          intermediate_size: 128,
          num_hidden_layers: 2,
          num_attention_heads: 2,
          num_key_value_heads: 2,
          head_dim: 32,
        },
        { attune, seed: 1 },
      );
      const waits: number[] = [];
      return {
        ours: {
          run: async () => {
            const trainer = new SFTTrainer({
              model,
              tokenizer,
              trainDataset,
              args: {
                outputDir: join(tmpdir(), 'attune-bench'),
                saveStrategy: 'no',
                maxSteps: UPDATES,
                perDeviceTrainBatchSize: ROWS,
                maxLength: 160,
                ...args,
              },
            });
            const { metrics } = await trainer.train();
            waits.push((metrics.trainDataWaitMs as number) / UPDATES);
            tokens = trainer.state.numInputTokensSeen / UPDATES;
          },
          dispose: () => model.dispose(),
        },
        inner: UPDATES,
        facts: (ms) => ({
          dataWaitMs: median(waits),
          dataWaitShare: median(waits) / ms,
          tokensPerUpdate: tokens,
        }),
      };
    });
});
