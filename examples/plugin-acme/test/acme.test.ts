import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AutoModelForCausalLM,
  Callbacks,
  createAttune,
  type LanguageModel,
  silentLogger,
} from '@attune/core';
import { getPeftModel, PeftModel, peft } from '@attune/peft';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { acme } from '../src/index.js';

const tiny = join(import.meta.dirname, '../../../parity/fixtures/tiny-qwen2'); // its q_proj has a bias
const config = { peftType: 'CHANNEL_SCALE', targetModules: ['q_proj', 'down_proj'] } as const;

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

const largestDifference = (a: Float32Array, b: Float32Array) =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);

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

  test('step 0 equals the base model, and only its scales are trainable', async () => {
    await using attune = await open();
    const base = await AutoModelForCausalLM.fromPretrained(tiny, { attune });
    const before = await logits(base);
    const model = getPeftModel(base, config);
    expect(await logits(model)).toEqual(before);
    const trained = [...model.root.namedParameters()].filter(([, p]) => p.trainable);
    expect(trained.map(([name]) => name)).toEqual([
      'model.layers.0.self_attn.q_proj.scale.default',
      'model.layers.0.mlp.down_proj.scale.default',
      'model.layers.1.self_attn.q_proj.scale.default',
      'model.layers.1.mlp.down_proj.scale.default',
    ]);
  });

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

  test('merged logits equal adapted logits', async () => {
    await using attune = await open();
    const base = await AutoModelForCausalLM.fromPretrained(tiny, { attune });
    const before = await logits(base);
    const model = getPeftModel(base, config);
    disturb(model);
    const adapted = await logits(model);
    expect(largestDifference(adapted, before)).toBeGreaterThan(1e-2);
    const merged = await model.mergeAndUnload();
    expect(largestDifference(await logits(merged), adapted)).toBeLessThan(1e-5);
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

  test('the callback is built by the container, its logger injected', async () => {
    const said: string[] = [];
    const logger = { ...silentLogger, info: (message: string) => said.push(message) };
    await using attune = await createAttune({
      plugins: [peft(), acme()],
      backend: 'reference',
      logger,
    });
    const callback = attune.registry(Callbacks).get('stop-below');
    const control = { shouldTrainingStop: false };
    const context = { state: { globalStep: 20 }, control } as unknown as Parameters<
      NonNullable<typeof callback.onEvaluate>
    >[0];
    await callback.onEvaluate?.(context, { evalLoss: 0.5 } as never);
    expect(control.shouldTrainingStop).toBe(true);
    expect(said).toEqual(['step 20: 0.5']);
  });
});
