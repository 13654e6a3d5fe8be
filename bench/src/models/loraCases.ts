import type { RawConfig } from '@attune/core/io';
import type { QuantizationConfig } from '@attune/core/models';
import type { Published } from '../harness/measure.js';
import {
  distilGpt2,
  gpt2Medium,
  llama1b,
  llama3b,
  llama8b,
  qwen05b,
  qwen17b,
  tiny,
} from './shapes.js';

/** One update of a model on a GPU, and what others published of the same work. */
export interface LoraCase {
  readonly name: string;
  readonly config: RawConfig;
  readonly batchSize: number;
  /** Tokens of a row. All are filled: a packed row is one document here. */
  readonly length: number;
  /** 0: everything is trained, held in float32. */
  readonly loraRank: number;
  readonly loraAlpha?: number;
  readonly targetModules?: readonly string[];
  readonly gradientCheckpointing?: boolean;
  readonly quantization?: QuantizationConfig;
  readonly published?: Published;
  /** Small enough for a software adapter. */
  readonly small?: boolean;
}

const nf4: QuantizationConfig = {
  loadIn4bit: true,
  bnb4bitQuantType: 'nf4',
  bnb4bitUseDoubleQuant: true,
};
const mlp = ['gate_proj', 'up_proj', 'down_proj'];

const qvac: Published = {
  by: 'QVAC Fabric, docs/BENCHMARKS.md: weights in Q8_0, through Vulkan',
  on: 'RTX 4090',
  tokensPerSecond: 116,
};
const torchlette = (msPerUpdate: number): Published => ({
  by: 'torchlette, its notes: Node, Dawn and Vulkan as here, with a gradient scaler',
  on: 'A100',
  msPerUpdate,
});
const torchtune = (on: string, tokensPerSecond: number): Published => ({
  by: 'torchtune, README: PyTorch, bfloat16; rows in a batch are not told',
  on,
  tokensPerSecond,
});

const llama3bRun = {
  batchSize: 1,
  length: 4096,
  loraRank: 64,
  loraAlpha: 128,
  targetModules: ['q_proj', 'v_proj', 'o_proj', ...mlp],
  gradientCheckpointing: true,
};
const usual = { batchSize: 2, length: 512, loraRank: 16 };

/** The most telling first: the time may be over before the last. */
export const loraCases: readonly LoraCase[] = [
  {
    name: 'tiny',
    config: tiny,
    ...usual,
    length: 32,
    quantization: nf4,
    small: true,
  },
  { name: 'Qwen2.5-0.5B', config: qwen05b, ...usual },
  {
    name: 'DistilGPT-2',
    config: distilGpt2,
    batchSize: 1,
    length: 512,
    loraRank: 0,
    published: torchlette(50),
  },
  {
    name: 'Qwen3-1.7B int8',
    config: qwen17b,
    batchSize: 1,
    length: 128,
    loraRank: 8,
    quantization: { loadIn8bit: true },
    published: qvac,
  },
  {
    name: 'GPT-2 Medium',
    config: gpt2Medium,
    batchSize: 1,
    length: 512,
    loraRank: 0,
    published: torchlette(190),
  },
  { name: 'Llama-3.2-1B NF4', config: llama1b, ...usual, quantization: nf4 },
  {
    name: 'Llama-3.2-3B',
    config: llama3b,
    ...llama3bRun,
    published: torchtune('A100', 8210),
  },
  {
    name: 'Llama-3.2-3B NF4',
    config: llama3b,
    ...llama3bRun,
    quantization: nf4,
    published: torchtune('A100', 8035),
  },
  {
    name: 'Llama-3.1-8B NF4',
    config: llama8b,
    batchSize: 1,
    length: 2048,
    loraRank: 8,
    loraAlpha: 16,
    targetModules: ['q_proj', 'k_proj', 'v_proj', 'o_proj', ...mlp],
    gradientCheckpointing: true,
    quantization: nf4,
    published: torchtune('RTX 4090', 2413),
  },
  { name: 'Llama-3.2-1B', config: llama1b, ...usual },
  { name: 'Qwen2.5-0.5B NF4', config: qwen05b, ...usual, quantization: nf4 },
];
