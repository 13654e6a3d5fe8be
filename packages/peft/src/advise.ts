import {
  AttuneError,
  type EstimateMemoryOptions,
  estimateMemory,
  type MemoryPlan,
} from '@attune/core';
import { type RawConfig, readHfConfig } from '@attune/core/io';
import { stat } from '@attune/core/platform';
import { formatBytes, type OptionsInput, parseBytes, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import { peft } from './plugin.js';

/** Ways to fine-tune, from the one that changes most to the one that holds least. */
export type TrainingMethod = 'full' | 'lora' | 'qlora';

const isObject = (value: unknown) => typeof value === 'object' && value !== null;

const adviseShape = {
  /** What the device may hold, in bytes or as text: "24GB" (10^9 each), "24GiB" (2^30). */
  gpuMemory: z.union([z.number(), z.string()]).meta({ aka: 'memory vram maxmemory gpu' }),
  /** How many tasks the model is to be trained for, each by itself. Default 1. */
  tasks: z.number().default(1).meta({ aka: 'numtasks' }),
  /**
   * The model itself: its folder, or its config.json as an object. Or how many parameters it has,
   * as a number or as text ("7B", "360M"): then a Llama of that size stands for it, with a
   * vocabulary of 32,000.
   */
  modelSize: z
    .union(
      [z.number(), z.string(), z.custom<RawConfig>(isObject)],
      'expected a number, text or a config',
    )
    .meta({ aka: 'model size parameters params numparameters config' }),
  /** Tokens of a row. Default 1024, the Trainer's. */
  maxLength: z.number().default(1024).meta({ aka: 'maxseqlength length seqlen' }),
  /**
   * Rows that are on the device at a time. Default 1: gradientAccumulationSteps makes a larger
   * batch of them.
   */
  perDeviceTrainBatchSize: z.number().default(1).meta({ aka: 'batchsize batch trainbatchsize' }),
};
const adviseOptions = z.strictObject(adviseShape);

/** Options of {@link advise}. */
export type AdviseOptions = OptionsInput<typeof adviseShape>;

/** What one way of fine-tuning would hold. */
export interface MethodEstimate {
  readonly method: TrainingMethod;
  /** Most bytes on the device at a time, as {@link estimateMemory} predicts them. */
  readonly predictedBytes: number;
  readonly fits: boolean;
  /**
   * Bytes of what is kept afterwards for all tasks: whole models, or one base with an adapter for
   * each.
   */
  readonly keptBytes: number;
  readonly plan: MemoryPlan;
}

/** What {@link advise} says. */
export interface Advice {
  /** Null: none of them fits. */
  readonly method: TrainingMethod | null;
  /** Why, a sentence each. */
  readonly reasons: readonly string[];
  /** All three, by method. */
  readonly estimates: Readonly<Record<TrainingMethod, MethodEstimate>>;
  /** The reasons and a table. */
  toString(): string;
}

/**
 * Rank 16 on all linear layers: the usual start, near full fine-tuning on data sets of usual size.
 * arXiv:2106.09685
 */
const adapter = { peftType: 'LORA', r: 16, targetModules: 'all-linear' } as const;

const ways: Readonly<Record<TrainingMethod, Partial<EstimateMemoryOptions>>> = {
  full: { dtype: 'float32' },
  lora: { dtype: 'bfloat16', peftConfig: adapter },
  qlora: {
    dtype: 'bfloat16',
    peftConfig: adapter,
    quantization: { loadIn4bit: true, bnb4bitQuantType: 'nf4', bnb4bitUseDoubleQuant: true },
  },
};

const names: Readonly<Record<TrainingMethod, string>> = {
  full: 'full fine-tuning (float32, AdamW)',
  lora: 'LoRA r=16 on a bfloat16 base',
  qlora: 'QLoRA r=16 on an NF4 base',
};

/**
 * Full fine-tuning, LoRA or QLoRA, by the bytes that each would hold on this device: what
 * `estimateMemory` counts for the model, with gradient checkpointing and AdamW. No rule of thumb is
 * involved, and nothing is downloaded.
 *
 * One task: the first of the three that fits, since each is a little weaker than the one before.
 * Several tasks: an adapter for each, on one base, unless none fits.
 *
 * @example console.log(String(await advise({ gpuMemory: '24GB', tasks: 3, modelSize: '7B' })));
 * @throws UNKNOWN_OPTION, INVALID_OPTION, SIZE_INVALID, ADVISE_INVALID, and what estimateMemory
 *   throws for a config
 */
export async function advise(options: AdviseOptions): Promise<Advice> {
  const checked = parseOptions(adviseOptions, options, { where: 'advise' });
  const { tasks, maxLength, perDeviceTrainBatchSize, modelSize } = checked;
  const memory = parseBytes(options.gpuMemory, 'gpuMemory');
  for (const [name, value] of Object.entries({ tasks, maxLength, perDeviceTrainBatchSize }))
    if (!Number.isSafeInteger(value) || value < 1)
      throw new AttuneError('ADVISE_INVALID', `${name} is ${value}.`, {
        remedy: 'Give a whole number, 1 or more.',
      });
  const own = await configOf(modelSize);
  const config = own ?? llamaOf(parseCount(modelSize as number | string), maxLength);
  const estimate = async (method: TrainingMethod): Promise<MethodEstimate> => {
    const plan = await estimateMemory({
      config,
      plugins: [peft()],
      args: { maxLength, perDeviceTrainBatchSize, gradientCheckpointing: true },
      ...ways[method],
    });
    const predictedBytes = plan.reservedBytes;
    const trained = 4 * plan.trainedParameters; // float32
    const keptBytes = tasks * trained + (method === 'full' ? 0 : plan.bytesOf('weights') - trained);
    return { method, predictedBytes, fits: predictedBytes <= memory, keptBytes, plan };
  };
  const estimates = {
    full: await estimate('full'),
    lora: await estimate('lora'),
    qlora: await estimate('qlora'),
  };
  const method = choose(estimates, tasks);
  const has =
    typeof options.gpuMemory === 'string'
      ? `${options.gpuMemory} (${formatBytes(memory)})`
      : formatBytes(memory);
  const reasons = reasonsOf(estimates, { method, tasks, has });
  if (!own)
    reasons.push(
      `The model is taken for a Llama of ${config.num_hidden_layers} layers, width ${config.hidden_size}: give its config.json for its own figures.`,
    );
  const rows = Object.values(estimates).map(
    ({ method: name, predictedBytes, fits }) =>
      `  ${names[name].padEnd(36)}${formatBytes(predictedBytes).padStart(10)}  ${fits ? 'fits' : 'too large'}`,
  );
  return {
    method,
    reasons,
    estimates,
    toString: () =>
      [
        `${method ?? 'none of the three'}, on a device of ${has}:`,
        ...reasons.map((reason) => `- ${reason}`),
        ...rows,
      ].join('\n'),
  };
}

type Estimates = Advice['estimates'];

function choose({ full, lora, qlora }: Estimates, tasks: number): TrainingMethod | null {
  if (full.fits && tasks === 1) return 'full';
  if (lora.fits) return 'lora';
  if (qlora.fits) return 'qlora';
  return full.fits ? 'full' : null;
}

interface Choice {
  readonly method: TrainingMethod | null;
  readonly tasks: number;
  /** The device's memory, in words. */
  readonly has: string;
}

function reasonsOf(estimates: Estimates, { method, tasks, has }: Choice): string[] {
  const { full, lora, qlora } = estimates;
  const needs = ({ predictedBytes }: MethodEstimate) => formatBytes(predictedBytes);
  const adapters = `${tasks} tasks: with adapters ${formatBytes(Math.min(lora.keptBytes, qlora.keptBytes))} are kept, one base for all; as whole models ${formatBytes(full.keptBytes)}.`;
  switch (method) {
    case 'full':
      return [
        `Full fine-tuning holds ${needs(full)} of ${has}, and no adapter can learn what it cannot.`,
        `LoRA would hold ${needs(lora)}, and forgets less of what the base knows: prefer it for small data sets.`,
      ];
    case 'lora':
      return tasks > 1
        ? [`LoRA holds ${needs(lora)} of ${has}.`, adapters]
        : [
            `Full fine-tuning would hold ${needs(full)}, more than ${has}.`,
            `LoRA holds ${needs(lora)}.`,
          ];
    case 'qlora':
      return [
        `LoRA on a bfloat16 base would hold ${needs(lora)}, more than ${has}.`,
        `QLoRA holds ${needs(qlora)}; its weights take ${formatBytes(qlora.plan.bytesOf('weights'))} instead of ${formatBytes(lora.plan.bytesOf('weights'))}, and an update takes longer.`,
        ...(tasks > 1 ? [adapters] : []),
      ];
    default:
      return [
        `The least of the three, QLoRA, would hold ${needs(qlora)}, more than ${has}.`,
        'Shorter rows (maxLength) and fewer of them (perDeviceTrainBatchSize) hold less; offload: "weights" of fromPretrained keeps the base in host memory; or take a smaller model.',
      ];
  }
}

/**
 * The config of a model that is named or given; null: modelSize is a size.
 *
 * @throws CONFIG_MISSING, CONFIG_INVALID
 */
async function configOf(modelSize: AdviseOptions['modelSize']): Promise<RawConfig | null> {
  if (typeof modelSize === 'object') return modelSize;
  const folder = await stat(String(modelSize)).catch(() => null);
  return folder?.isDirectory() ? (await readHfConfig(String(modelSize))).config : null;
}

/** "7B", "360M", 1.5e9. @throws ADVISE_INVALID */
function parseCount(size: number | string): number {
  const [, digits, unit = ''] = /^\s*([\d.]+(?:e\d+)?)\s*([KMBT]?)\s*$/i.exec(String(size)) ?? [];
  const count =
    Number(digits) * { '': 1, K: 1e3, M: 1e6, B: 1e9, T: 1e12 }[unit.toUpperCase() as 'K']!;
  if (count >= 1e6) return count;
  throw new AttuneError('ADVISE_INVALID', `modelSize is ${JSON.stringify(size)}.`, {
    remedy:
      'Give the number of parameters, a million or more (7e9, "7B", "360M"), the folder of the model, or its config.json as an object.',
  });
}

const VOCABULARY = 32_000;
/**
 * Numbers in a layer of width d whose inner width is 8/3 d: 4 d^2 of attention, 8 d^2 behind it.
 */
const layerSize = (width: number): number => 12 * width * width;

/**
 * A Llama of about `parameters`: 128 features of width for each layer, as the published ones have.
 */
function llamaOf(parameters: number, maxLength: number): RawConfig {
  const of = (layers: number) => {
    const width = 128 * layers;
    return { layers, width, size: layers * layerSize(width) + 2 * VOCABULARY * width };
  };
  let layers = 1;
  while (of(layers + 1).size <= parameters) layers++;
  // That width, with as many layers as come nearest; the smallest models are nothing but a
  // vocabulary.
  const { width } = of(layers);
  const rest = parameters - 2 * VOCABULARY * width;
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: VOCABULARY,
    hidden_size: width,
    intermediate_size: Math.round((width * 8) / 3 / 32) * 32,
    num_hidden_layers: Math.max(1, Math.round(rest / layerSize(width))),
    num_attention_heads: width / 64,
    num_key_value_heads: width / 64,
    max_position_embeddings: Math.max(4096, maxLength),
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    tie_word_embeddings: false,
    hidden_act: 'silu',
  };
}
