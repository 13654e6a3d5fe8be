import { z } from 'zod';
import { createAttune } from './attune.js';
import type { MemoryModel } from './backend/backend.js';
import { CountingBackend } from './backend/countingBackend.js';
import { bytesPerElement, type DType, parseDType } from './backend/dtype.js';
import { sizeClass } from './backend/sizeClass.js';
import { definePlugin, PLUGIN_API_VERSION, type Plugin } from './di/plugin.js';
import type { RawConfig } from './io/hfConfig.js';
import { AutoModelForCausalLM } from './models/loading/auto.js';
import { dtypeOf } from './models/loading/readConfig.js';
import type { QuantizationConfig } from './models/quantization/bitsAndBytes.js';
import type { PluginQuantization } from './models/quantization/quantizationFormat.js';
import { isLayerWeight } from './nn/offload.js';
import { Backends } from './points.js';
import { opTable } from './tensor/opTable.js';
import type { PeftConfigInput } from './trainer/applyPeft.js';
import type { GenerationShape, MemoryPlan } from './trainer/memory/memoryPlan.js';
import { sizeOnly } from './trainer/memory/standInWeights.js';
import { SFTTrainer, type SftArgumentsInput } from './trainer/sftTrainer.js';
import { silentLogger } from './util/logger.js';
import { checkNames, type OptionsInput } from './util/options.js';

const estimateShape = {
  /** The contents of a config.json, as it is in the file. */
  config: z.custom<RawConfig>(),
  /** As for SFTTrainer. Rows are taken to fill `maxLength`. Default {}. */
  args: z.custom<SftArgumentsInput>().optional(),
  /** An adapter; needs the peft plugin. Default: all weights are trained. */
  peftConfig: z.custom<PeftConfigInput>().optional(),
  /** Storage of the weights. Default: with an adapter what the config says, else float32. */
  dtype: z.custom<DType>().optional(),
  /** As for fromPretrained: the base in 4 or 8 bits. Default: in full precision. */
  quantization: z.custom<QuantizationConfig | PluginQuantization>().optional(),
  /**
   * 'weights': those of the layers stay in host memory, as for fromPretrained. Default null:
   * everything is on the device.
   */
  offload: z.custom<'weights' | null>().optional(),
  /** Families, adapters, optimizers. No device is opened. Default: those of core. */
  plugins: z.custom<readonly Plugin[]>().optional(),
  /** Also what `model.generate` holds for so many tokens. Default: not planned. */
  generation: z.custom<GenerationShape>().optional(),
  /**
   * How the device takes memory: `backend.memoryModel()` of one that is open. Default: a GPU
   * through WebGPU.
   */
  device: z.custom<MemoryModel>().optional(),
};
const estimateOptions = z.strictObject(estimateShape);

/** Options of {@link estimateMemory}. */
export type EstimateMemoryOptions = OptionsInput<typeof estimateShape>;

/**
 * Plans what fine-tuning a model will hold on a device, from its config.json alone. No device is
 * opened, nothing is downloaded. The model is built, and an update recorded, on a backend that
 * counts.
 *
 * The default device takes memory as Dawn does, but for what kernels borrow: less than a per cent.
 *
 * @example console.log(String(await estimateMemory({ config, args: { perDeviceTrainBatchSize: 4, maxLength: 2048 } })));
 * @throws CONFIG_INVALID, UNKNOWN_NAME (model_type), ARGUMENTS_INVALID, PEFT_MISSING
 */
export async function estimateMemory(options: EstimateMemoryOptions): Promise<MemoryPlan> {
  checkNames(estimateOptions, options, { where: 'estimateMemory', code: 'ESTIMATE_OPTION' });
  const { config, args = {}, peftConfig, plugins = [], generation, device = webGpu } = options;
  const counting = definePlugin({
    name: 'estimate-memory',
    version: '0',
    apiVersion: PLUGIN_API_VERSION,
    register: (context) =>
      context.add(Backends, {
        name: 'counting',
        create: async () => new CountingBackend({ ...device, held: emptyDevice }),
      }),
  });
  await using attune = await createAttune({
    plugins: [...plugins, counting],
    backend: 'counting',
    logger: silentLogger,
  });
  const dtype = options.dtype ?? (peftConfig ? storageOf(config) : 'float32');
  const model = await AutoModelForCausalLM.fromConfig(config, {
    attune,
    dtype,
    initialize: false,
    ...(options.quantization && { quantization: options.quantization }),
  });
  if (options.offload)
    for (const [name, parameter] of model.root.namedParameters())
      if (isLayerWeight(name, parameter))
        parameter.offload(sizeOnly(parameter.size * bytesPerElement[dtype]));
  const trainer = new SFTTrainer({ model, trainDataset: [], peftConfig, args });
  const { perDeviceTrainBatchSize, maxLength } = trainer.args;
  const ids = new Array<number>(maxLength!).fill(0);
  return trainer.planMemory({
    rows: Array.from({ length: perDeviceTrainBatchSize }, () => ({ input_ids: ids, labels: ids })),
    ...(generation && { generation }),
  });
}

/** The ops whose meaning is also their fastest way: no backend has a kernel of that name. */
const WITHOUT_KERNEL: readonly string[] = ['linearCrossEntropy', 'linearCrossEntropyRows'];

const kernels: ReadonlySet<string> = new Set(
  opTable.map((op) => op.name).filter((name) => !WITHOUT_KERNEL.includes(name)),
);

/** Dawn's staging buffer is there from the beginning. */
const emptyDevice = { liveBytes: 0, reservedBytes: 4 * 2 ** 20, free: new Map<number, number>() };

/** A GPU with Dawn's kernels and size classes. */
const webGpu: MemoryModel = {
  info: {
    name: 'estimate',
    device: 'a GPU through WebGPU',
    vendor: '',
    software: false,
    features: [],
  },
  limits: { maxBufferBytes: Number.MAX_SAFE_INTEGER },
  supports: ({ op }) => kernels.has(op),
  capacity: sizeClass,
  held: emptyDevice,
};

function storageOf(config: RawConfig): DType {
  const named = dtypeOf(config);
  return typeof named === 'string' ? parseDType(named) : 'float32';
}
