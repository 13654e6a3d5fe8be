import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  type CausalLM,
  createAttune,
  type QuantizationConfig,
} from '@attune/core';
import { SafetensorsFile, WeightFolder, writeSafetensors } from '@attune/core/io';
import { BitsAndBytesLinear } from '@attune/core/nn';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { skipTest } from '../../src/models/quantization/quantizeLayers.js';
import { ListLogger } from '../trainer/support.js';
import { fixture, fixtureJson, largestDifference, reference } from './support.js';

let attune: Attune;
let scratch: string;
beforeEach(async () => {
  attune = await reference();
  scratch = await mkdtemp(join(tmpdir(), 'attune-quantized-'));
});
afterEach(async () => {
  await attune.dispose();
  await rm(scratch, { recursive: true, force: true });
});

const checkpoints = ['tiny-llama-tied-nf4', 'tiny-qwen2-fp4', 'tiny-qwen2-int8'];
const load = (folder: string, quantization?: QuantizationConfig) =>
  AutoModelForCausalLM.fromPretrained(folder, { attune, ...(quantization && { quantization }) });
const layerOf = (model: CausalLM, path: string) => model.root.submodule<BitsAndBytesLinear>(path);
const weightOf = async (model: CausalLM, path: string) => {
  const weight = layerOf(model, path).dequantize();
  const values = await weight.data();
  weight.dispose();
  return values;
};
const quantizedIn = (model: CausalLM) =>
  [...model.root.namedModules()].filter(([, m]) => m instanceof BitsAndBytesLinear).map(([p]) => p);

// Rows 63, 64: what transformers and bitsandbytes wrote.
describe.each(checkpoints)('a checkpoint of bitsandbytes: %s', (name) => {
  it('loads as it is: the same layers, weights and logits', async () => {
    const model = await load(fixture(name));
    const { quantized } = fixtureJson(`${name}/run.json`);
    expect(quantizedIn(model).sort()).toEqual([...quantized].sort());
    await using expected = await SafetensorsFile.open(fixture(`${name}/expected.safetensors`));
    for (const key of expected.names.filter((n) => n.startsWith('weight.'))) {
      const theirs = (await expected.read(key)).data as Float32Array;
      const ours = await weightOf(model, key.slice('weight.'.length));
      expect(largestDifference(ours, theirs)).toBeLessThan(1e-7);
    }
    const ids = await expected.read('input_ids');
    const logits = attune.engine.noGrad(() =>
      model.forward({ inputIds: attune.engine.fromBytes(ids.data, ids.shape, 'int32') }),
    );
    const theirs = (await expected.read('logits')).data as Float32Array;
    expect(largestDifference(await logits.data(), theirs)).toBeLessThan(1e-5);
  });

  it('is written back as it was', async () => {
    await (await load(fixture(name))).savePretrained(scratch);
    await using theirs = await WeightFolder.open(fixture(name));
    await using ours = await WeightFolder.open(scratch);
    expect([...ours.names].sort()).toEqual([...theirs.names].sort());
    for (const tensor of theirs.names) {
      const bytes = [ours, theirs].map((folder) => folder.file(tensor).readBytes(tensor));
      const [a, b] = await Promise.all(bytes);
      if (tensor.includes('quant_state')) expect(json(a!)).toEqual(json(b!));
      else {
        expect(ours.info(tensor).shape, tensor).toEqual(theirs.info(tensor).shape);
        expect(a, tensor).toEqual(b);
      }
    }
    const config = JSON.parse(await readFile(join(scratch, 'config.json'), 'utf8'));
    const { quantization_config: theirConfig } = fixtureJson(`${name}/config.json`);
    for (const [key, value] of Object.entries(config.quantization_config))
      if (value !== null) expect(value, key).toEqual(theirConfig[key]);
    expect(quantizedIn(await load(scratch))).toEqual(quantizedIn(await load(fixture(name))));
  });
});

const json = (bytes: Uint8Array) => JSON.parse(new TextDecoder().decode(bytes));

describe('quantising while loading', () => {
  it('4 bits: the codes and scales of bitsandbytes', async () => {
    const ours = await load(fixture('tiny-qwen2'), { loadIn4bit: true });
    const theirs = await load(fixture('tiny-qwen2-fp4'));
    for (const path of quantizedIn(theirs))
      expect(await weightOf(ours, path), path).toEqual(await weightOf(theirs, path));
  });

  // Torch computes 127 / absmax as 127 * (1 / absmax) on a CPU: an ulp, which decides halves now
  // and then.
  it('8 bits: the scales of bitsandbytes, and all but one of a thousand codes', async () => {
    const ours = await load(fixture('tiny-qwen2'), { load_in_8bit: true } as QuantizationConfig);
    const theirs = await load(fixture('tiny-qwen2-int8'));
    let weights = 0;
    let missed = 0;
    for (const path of quantizedIn(theirs)) {
      const scales = (model: CausalLM) => layerOf(model, path).ownBuffers.get('weight.absmax')!;
      expect(await scales(ours).tensor.data()).toEqual(await scales(theirs).tensor.data());
      const [a, b] = [await weightOf(ours, path), await weightOf(theirs, path)];
      expect(largestDifference(a, b)).toBeLessThan(0.005); // a step of the widest row
      missed += a.filter((w, i) => w !== b[i]).length;
      weights += a.length;
    }
    expect(missed / weights).toBeLessThan(0.001);
  });

  // bitsandbytes looks scales up in a coarse table on a CPU, and misses the nearest code now and
  // then.
  it('double quantisation: the same codes, scales off by a step in less than one of a hundred', async () => {
    const ours = await load(fixture('tiny-llama-tied'), {
      loadIn4bit: true,
      bnb4bitQuantType: 'nf4',
      bnb4bitUseDoubleQuant: true,
    });
    const theirs = await load(fixture('tiny-llama-tied-nf4'));
    let scales = 0;
    let missed = 0;
    for (const path of quantizedIn(theirs)) {
      const part = async (model: CausalLM, name: string) => {
        const words = await layerOf(model, path).ownBuffers.get(name)!.tensor.data();
        return new Uint8Array(words.buffer);
      };
      expect(await part(ours, 'weight')).toEqual(await part(theirs, 'weight'));
      const [a, b] = [await part(ours, 'weight.absmax'), await part(theirs, 'weight.absmax')];
      a.forEach((code, i) => {
        expect(Math.abs(code - b[i]!)).toBeLessThanOrEqual(1);
        if (code !== b[i]) missed++;
      });
      scales += a.length;
    }
    expect(missed / scales).toBeLessThan(0.01);
  });

  it('stores at most 4.13 bits a weight, counted', async () => {
    const config = {
      ...fixtureJson('tiny-llama/config.json'),
      hidden_size: 128,
      intermediate_size: 1024,
      num_attention_heads: 8,
      num_key_value_heads: 8,
      head_dim: 16,
      num_hidden_layers: 1,
      vocab_size: 16,
    };
    const model = await AutoModelForCausalLM.fromConfig(config, {
      attune,
      quantization: { loadIn4bit: true, bnb4bitQuantType: 'nf4', bnb4bitUseDoubleQuant: true },
    });
    const layers = quantizedIn(model).map((path) => layerOf(model, path));
    const bits = 8 * layers.reduce((sum, layer) => sum + layer.storedBytes, 0);
    const weights = layers.reduce((sum, layer) => sum + layer.weightSize, 0);
    expect(weights).toBe(4 * 128 * 128 + 3 * 128 * 1024);
    expect(bits / weights).toBeLessThanOrEqual(4.13);
  });

  it('finds floats that were saved without the first part of their names', async () => {
    const expected = await load(fixture('tiny-llama'), { loadIn4bit: true });
    await using weights = await WeightFolder.open(fixture('tiny-llama'));
    const tensors = weights.names.map(async (name) => {
      const { dtype, shape, data } = await weights.get(name);
      return { name: name.replace(/^model\./, ''), dtype, shape, data };
    });
    await cp(fixture('tiny-llama/config.json'), join(scratch, 'config.json'));
    await writeSafetensors(join(scratch, 'model.safetensors'), await Promise.all(tensors));
    const model = await load(scratch, { loadIn4bit: true });
    for (const path of quantizedIn(expected))
      expect(await weightOf(model, path)).toEqual(await weightOf(expected, path));
  });

  it('never holds a quantised weight in full on the device', async () => {
    await load(fixture('tiny-llama'), { loadIn4bit: true });
    const { peakBytes } = attune.backend.stats;
    const quantized = await attune.backend.stats.liveBytes;
    expect(peakBytes - quantized).toBeLessThan(4096);
  });

  it('leaves out what llmInt8SkipModules names', async () => {
    const model = await load(fixture('tiny-llama'), {
      loadIn8bit: true,
      llmInt8SkipModules: ['lm_head', 'down_proj', 'model.layers.1'],
    });
    const paths = quantizedIn(model);
    expect(paths).toHaveLength(6);
    expect(paths.some((p) => /down_proj|layers\.1|lm_head/.test(p))).toBe(false);
  });

  it.each(fixtureJson('row405-python-regex.json').skips as [string, string | null][])(
    "leaves out for %s what transformers' should_convert_module does",
    (name, expected) => {
      const { names } = fixtureJson('row405-python-regex.json') as { names: string[] };
      if (expected === null) {
        expect(() => skipTest(name, 'llmInt8SkipModules')).toThrow(/QUANTIZATION_INVALID/);
        return;
      }
      const bits = names
        .map((path) => (skipTest(name, 'llmInt8SkipModules')(path) ? '1' : '0'))
        .join('');
      const digits = bits.padEnd(Math.ceil(bits.length / 4) * 4, '0').match(/..../g)!;
      expect(digits.map((four) => Number.parseInt(four, 2).toString(16)).join('')).toBe(expected);
    },
  );

  it('says which of the given llmInt8SkipModules leave out nothing', async () => {
    const logger = new ListLogger();
    await using said = await createAttune({ backend: 'reference', logger });
    await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), {
      attune: said,
      quantization: { loadIn8bit: true, llmInt8SkipModules: ['lm_head', 'downproj'] },
    });
    expect(logger.lines).toHaveLength(1);
    expect(logger.lines[0]).toMatch(/llmInt8SkipModules \["downproj"\] match no module.*down_proj/);
  });

  it.each<[string, object, string, RegExp]>([
    ['no bits', {}, 'QUANTIZATION_INVALID', /loadIn4bit and loadIn8bit/],
    ['both', { loadIn4bit: true, loadIn8bit: true }, 'QUANTIZATION_INVALID', /both true/],
    ['a misspelt option', { loadIn4Bits: true }, 'UNKNOWN_OPTION', /loadIn4bit/],
    [
      'another type',
      { loadIn4bit: true, bnb4bitQuantType: 'int4' },
      'QUANTIZATION_INVALID',
      /bnb4bitQuantType is "int4"/,
    ],
    ['another library', { quantMethod: 'gptq', bits: 4 }, 'CHECKPOINT_QUANTIZED', /gptq/],
    [
      'nothing left to quantise',
      { loadIn4bit: true, llmInt8SkipModules: ['model', 'lm_head'] },
      'QUANTIZATION_INVALID',
      /model, lm_head/,
    ],
  ])('refuses %s', async (_, options, code, says) => {
    const before = attune.backend.stats.liveBytes;
    await expect(load(fixture('tiny-llama'), options)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(says),
    });
    expect(attune.backend.stats.liveBytes).toBe(before);
  });

  it('refuses a checkpoint that was quantised otherwise than its config says', async () => {
    await cp(fixture('tiny-qwen2-fp4'), scratch, { recursive: true });
    const file = join(scratch, 'config.json');
    const config = JSON.parse(await readFile(file, 'utf8'));
    config.quantization_config.bnb_4bit_quant_type = 'nf4';
    await writeFile(file, JSON.stringify(config));
    await expect(load(scratch)).rejects.toMatchObject({
      code: 'WEIGHTS_QUANTIZED_AS',
      message: expect.stringMatching(/fp4 in blocks of 64; quantization_config says nf4/),
    });
  });
});
