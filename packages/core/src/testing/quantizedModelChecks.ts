import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Attune } from '../attune.js';
import type { ReferenceBackend } from '../backend/reference/referenceBackend.js';
import { estimateMemory } from '../estimateMemory.js';
import type { CausalLM } from '../models/causalLm.js';
import { AutoModelForCausalLM } from '../models/loading/auto.js';
import { bitsAndBytes } from '../models/quantization/bitsAndBytes.js';
import { parseQuantization } from '../models/quantization/parseQuantization.js';
import {
  type QuantizationFormat,
  QuantizationFormats,
} from '../models/quantization/quantizationFormat.js';
import { quantizedLayers } from '../models/quantization/quantizeLayers.js';
import type { QuantizedLayer } from '../nn/quantizedLayer.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import type { KitCheck, kitOf } from './kit.js';
import { inFolder, kitAttune, kitPlugin } from './trainingKit.js';

/** A Qwen2 of one layer, since its projections have biases; every width is a multiple of 64. */
const config = {
  model_type: 'qwen2',
  vocab_size: 17,
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  initializer_range: 0.3,
  tie_word_embeddings: false,
};

/** The part of the kit for quantisation formats that looks at whole models. */
export function quantizedModelChecks(
  format: QuantizationFormat,
  options: Readonly<Record<string, unknown>>,
  encode: (layer: QuantizedLayer, rows: Float32Array) => unknown,
  { check, fail, rejected }: ReturnType<typeof kitOf>,
): KitCheck[] {
  const quantization = { quantMethod: format.method, ...options };
  // That of core is there already.
  const plugins = [
    kitPlugin((context) => {
      if (format !== bitsAndBytes) context.add(QuantizationFormats, format);
    }),
  ];
  const open = () => kitAttune(plugins);

  /** The same floats always, also where the format makes no codes. */
  const modelOn = async (attune: Attune): Promise<CausalLM> => {
    const floats = await AutoModelForCausalLM.fromConfig(config, { attune, seed: 1 });
    const model = await AutoModelForCausalLM.fromConfig(config, {
      attune,
      quantization,
      initialize: false,
    });
    const given = new Map(floats.root.namedParameters());
    for (const [name, parameter] of model.root.namedParameters())
      parameter.write(new Float32Array((await given.get(name)!.read()).slice().buffer));
    for (const [path, layer] of quantizedLayers(model.root)) {
      const bytes = await given.get(`${path}.weight`)!.read();
      layer.load(encode(layer, new Float32Array(bytes.slice().buffer)));
    }
    floats.dispose();
    return model;
  };

  return [
    check('an option of a wrong kind is an AttuneError', async () => {
      await using attune = await open();
      for (const name of Object.keys(format.options.shape)) {
        const wrong = { ...quantization, [name]: { 'no such': 'value' } };
        try {
          const made = { attune, quantization: wrong, initialize: false };
          (await AutoModelForCausalLM.fromConfig(config, made)).dispose();
        } catch (error) {
          if (!AttuneError.isInstance(error))
            fail(
              `"${name}" as an object gives ${String(error)}`,
              'Give the option a schema; throw AttuneErrors in check and layers.',
            );
        }
      }
    }),
    check('the options go through config.json', async () => {
      await using attune = await open();
      const model = await modelOn(attune);
      const formats = attune.registry(QuantizationFormats);
      const raw = JSON.parse(JSON.stringify(model.config.raw.quantization_config));
      const parse = (input: unknown) => parseQuantization(formats, input, 'the kit')?.options;
      const given = parse(quantization);
      let read: unknown;
      try {
        read = parse(raw);
      } catch (error) {
        read = error;
      }
      if (raw.quant_method !== format.method || !isDeepStrictEqual(read, given))
        fail(
          `config.json has ${JSON.stringify(raw)}, which is read as ${read instanceof Error ? read.message : JSON.stringify(read)}, not as ${JSON.stringify(given)}`,
          'Take options that JSON has; what a schema gives must be what it takes.',
        );
    }),
    check('a model holds the bytes that are planned', async () => {
      await using attune = await open();
      const { stats } = attune.backend;
      const floats = await AutoModelForCausalLM.fromConfig(config, { attune });
      const ofFloats = stats.liveBytes;
      floats.dispose();
      const before = stats.liveBytes;
      const layers = [...quantizedLayers((await modelOn(attune)).root).values()];
      const instead = layers.reduce((sum, { weightSize }) => sum + 4 * weightSize, 0);
      const real = stats.liveBytes - before - (ofFloats - before - instead);
      const plan = await estimateMemory({ config, quantization, plugins, dtype: 'float32' });
      const planned = plan.entries.find(({ detail }) => detail === 'quantised')?.bytes ?? 0;
      if (real !== planned)
        fail(
          `the quantised weights of a model hold ${real} bytes, and ${planned} are planned`,
          'Make all tensors of a layer in its constructor, with addBuffer; load writes into them.',
        );
    }),
    check(
      format.write
        ? 'a model that was saved has the same bits'
        : 'a model is not saved, with an AttuneError',
      () =>
        inFolder(async (folder) => {
          await using attune = await open();
          const model = await modelOn(attune);
          if (!format.write) {
            const remedy = 'Leave write out where the format has none.';
            const error = await rejected('saving', () => model.savePretrained(folder), remedy);
            if (!AttuneError.isInstance(error)) fail(`saving gives ${String(error)}`, remedy);
            return;
          }
          await model.savePretrained(folder);
          const loaded = await AutoModelForCausalLM.fromPretrained(folder, { attune });
          const layers = quantizedLayers(loaded.root);
          for (const [path, layer] of quantizedLayers(model.root)) {
            const other = layers.get(path);
            if (!other || !isDeepStrictEqual(weightOf(other), weightOf(layer)))
              fail(
                `${path} is another weight after saving and loading`,
                'write what read reads, all of it, under the same names.',
              );
          }
          await refusesOther(attune, folder);
        }),
    ),
    check('a checkpoint of floats is quantised as it is loaded, or refused', () =>
      inFolder(async (folder) => {
        await using attune = await open();
        const floats = await AutoModelForCausalLM.fromConfig(config, { attune, seed: 1 });
        await floats.savePretrained(folder);
        const model = await modelOn(attune);
        const layers = quantizedLayers(model.root);
        const load = () => AutoModelForCausalLM.fromPretrained(folder, { attune, quantization });
        if (![...layers.values()].some((layer) => layer.encode)) {
          const remedy = 'Let read give null where the checkpoint has floats.';
          const error = await rejected('a checkpoint of floats', load, remedy);
          if (!AttuneError.isInstance(error)) fail(`floats give ${String(error)}`, remedy);
          return;
        }
        for (const [path, layer] of quantizedLayers((await load()).root))
          if (!isDeepStrictEqual(weightOf(layer), weightOf(layers.get(path)!)))
            fail(
              `${path} is another weight than that of its rows`,
              'Let read give null where the checkpoint has floats.',
            );
      }),
    ),
  ];

  /** Files that are not what config.json says. */
  async function refusesOther(attune: Attune, folder: string): Promise<void> {
    const file = join(folder, 'config.json');
    const raw = JSON.parse(await readFile(file, 'utf8'));
    await writeFile(file, JSON.stringify({ ...raw, intermediate_size: 64 }));
    const remedy = 'Let read check types and sizes: weights.readPart(name, dtype, numBytes).';
    const load = () => AutoModelForCausalLM.fromPretrained(folder, { attune });
    const error = await rejected('a checkpoint of another size', load, remedy);
    if (!AttuneError.isInstance(error))
      fail(`a checkpoint of another size gives ${String(error)}`, remedy);
  }
}

/** The numbers of a layer's weight, in float64. */
function weightOf(layer: QuantizedLayer): Float64Array {
  const { engine } = layer;
  const read = ({ operand }: Tensor) => (engine.backend as ReferenceBackend).peek(operand).slice();
  return engine.noGrad(() => engine.scope('weight', () => read(layer.dequantize())));
}
