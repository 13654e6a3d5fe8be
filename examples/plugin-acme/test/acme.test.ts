import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AutoModelForCausalLM,
  createAttune,
  type LanguageModel,
  loadDataset,
  silentLogger,
  Trainer,
} from '@attune/core';
import type { TextTokenizer } from '@attune/core/text';
import { getPeftModel, PeftModel, peft } from '@attune/peft';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { acme } from '../src/index.js';

const tiny = join(import.meta.dirname, '../../../parity/fixtures/tiny-qwen2'); // its q_proj has a bias
const config = { peftType: 'CHANNEL_SCALE', targetModules: ['q_proj', 'down_proj'] } as const;

/** A token for each letter. */
const letters: TextTokenizer = {
  eosToken: null,
  encode: (text) => Array.from(text, (letter) => letter.charCodeAt(0) % 20),
  applyChatTemplate: () => '',
};

const open = () =>
  createAttune({ plugins: [peft(), acme()], backend: 'reference', logger: silentLogger });

async function logits(model: LanguageModel): Promise<Float32Array> {
  const { engine } = model;
  const out = engine.noGrad(() =>
    engine.scope('logits', () =>
      model.forward({ inputIds: engine.tensor([5, 9, 2, 7], [1, 4], 'int32') }),
    ),
  );
  const values = (await out.data()) as Float32Array;
  out.dispose();
  return values;
}

/** Away from the start, so that the adapter does something. */
function disturb(model: PeftModel): void {
  for (const [name, parameter] of model.root.namedParameters())
    if (name.includes('.scale.'))
      parameter.replace(
        model.engine.tensor(
          Float32Array.from({ length: parameter.size }, (_, i) => 1 + (i % 5) / 10),
        ),
      );
}

describe('a PEFT method from another package', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'acme-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  test('its own option is parsed, and a mistyped one named', async () => {
    await using attune = await open();
    const base = await AutoModelForCausalLM.fromPretrained(tiny, { attune });
    // What JavaScript would let through.
    const mistyped = { ...config, intit: 2 } as typeof config;
    const wrong = { ...config, init: 'one' } as object as typeof config;
    expect(() => getPeftModel(base, mistyped)).toThrow(
      /peftConfig\.intit is not an option of CHANNEL_SCALE[\s\S]*Did you mean "init"/,
    );
    expect(() => getPeftModel(base, wrong)).toThrow(/peftConfig\.init is "one"/);
    const before = await logits(base);
    expect(await logits(getPeftModel(base, { ...config, init: 2 }))).not.toEqual(before);
  });

  test('peft_type CHANNEL_SCALE in adapter_config.json resolves', async () => {
    await using attune = await open();
    const model = getPeftModel(await AutoModelForCausalLM.fromPretrained(tiny, { attune }), config);
    disturb(model);
    await model.savePretrained(folder);
    const written = JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8'));
    expect(written).toMatchObject({
      peft_type: 'CHANNEL_SCALE',
      init: 1,
      target_modules: ['q_proj', 'down_proj'],
    });

    const other = await AutoModelForCausalLM.fromPretrained(tiny, { attune });
    const loaded = await PeftModel.fromPretrained(other, folder);
    expect(await logits(loaded)).toEqual(await logits(model));
  });

  test('without the plugin, the error says which methods there are', async () => {
    await using attune = await createAttune({ plugins: [peft()], backend: 'reference' });
    const base = await AutoModelForCausalLM.fromPretrained(tiny, { attune });
    expect(() => getPeftModel(base, config)).toThrow(
      /PEFT_TYPE_UNKNOWN: peftConfig: unknown peftType "CHANNEL_SCALE"[\s\S]*Known: LORA/,
    );
  });
});

test('all of it by name, in one run', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'acme-'));
  const said: string[] = [];
  const logger = { ...silentLogger, info: (message: string) => void said.push(message) };
  await using attune = await createAttune({
    plugins: [peft(), acme()],
    backend: 'reference',
    logger,
  });
  const file = join(folder, 'train.tsv');
  await writeFile(file, 'text\tsource\nabcde\tbook\nbcab\tweb\n');
  const rows = await loadDataset('acme-tsv', { attune, dataFiles: file });
  const trainer = new Trainer({
    model: await AutoModelForCausalLM.fromPretrained(tiny, { attune }),
    tokenizer: letters,
    trainDataset: rows,
    evalDataset: rows,
    objective: 'acme-z-loss',
    objectiveOptions: { weight: 0.01 },
    peftConfig: config,
    callbacks: ['stop-below'], // its logger comes from the container
    args: {
      ...{ outputDir: folder, reportTo: 'acme-csv', saveStrategy: 'no', loggingSteps: 1 },
      ...{ maxSteps: 4, evalStrategy: 'steps', evalSteps: 4, learningRate: 1 },
      ...{ lrSchedulerType: 'acme_restarts', lrSchedulerKwargs: { cycles: 2 } },
    },
  });
  await trainer.train();
  const logs = trainer.state.logHistory.filter((row) => 'loss' in row);
  expect(logs.map(({ learningRate }) => learningRate)).toEqual([1, 0.5, 1, 0.5]);
  expect(logs[0]!.zLoss).toBeGreaterThan(0);
  const written = (await readFile(join(folder, 'losses.csv'), 'utf8')).trimEnd().split('\n');
  expect(written).toEqual(['step,loss', ...logs.map(({ step, loss }) => `${step},${loss}`)]);
  expect(said.join()).toMatch(/step 4: \d/);
  await rm(folder, { recursive: true });
});
