import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { numel } from '@attune/core';
import { type TensorToWrite, writeSafetensors } from '@attune/core/io';
import { fixtureJson } from './support.js';

/** What `parity/rows_large_tables.py` wrote. */
export interface LargeTables {
  readonly config: {
    readonly vocab_size: number;
    readonly hidden_size: number;
    readonly intermediate_size: number;
    readonly num_hidden_layers: number;
    readonly num_attention_heads: number;
    readonly num_key_value_heads: number;
  };
  readonly lora: { readonly r: number; readonly alpha: number; readonly targetModules: string[] };
  readonly learningRate: number;
  readonly rows: readonly number[][];
  readonly loraLosses: readonly number[];
  readonly fullLossesOfOneLayer: readonly number[];
  readonly prompt: readonly number[];
  readonly greedy: readonly number[];
}

export const largeTables = (): LargeTables => fixtureJson('large-tables.json');

/** Which of 128 levels number i of a tensor has; see `parity/rows_large_tables.py`. */
export function levels(name: string, length: number): Uint8Array {
  let seed = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name))
    seed = Math.imul(seed ^ byte, 0x01000193) >>> 0;
  const out = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    let h = Math.imul(i, 0x9e3779b1) ^ seed;
    h ^= h >>> 15;
    h = Math.imul(h, 0x85ebca77);
    h ^= h >>> 13;
    h = Math.imul(h, 0xc2b2ae3d);
    h ^= h >>> 16;
    out[i] = h >>> 25;
  }
  return out;
}

/** The number of a level. */
export const levelValue = (level: number): number => (2 * level - 127) / 4096;

const float32Levels = Float32Array.from({ length: 128 }, (_, i) => levelValue(i));
const bfloat16Levels = Uint16Array.from(
  new Uint32Array(float32Levels.buffer),
  (bits) => bits >>> 16,
);
const ONE = 0x3f80;

/** `from` of a typed array makes a list first, too long for a table. */
function filled<T extends Uint16Array | Float32Array>(out: T, name: string, values: T): T {
  const held = levels(name, out.length);
  for (let i = 0; i < out.length; i++) out[i] = values[held[i]!]!;
  return out;
}

/** A tensor in bfloat16. */
export const bfloat16Of = (name: string, shape: readonly number[]): Uint16Array =>
  name.includes('norm')
    ? new Uint16Array(numel(shape)).fill(ONE)
    : filled(new Uint16Array(numel(shape)), name, bfloat16Levels);

const float32Of = (name: string, shape: readonly number[]): Float32Array =>
  filled(new Float32Array(numel(shape)), name, float32Levels);

/** Output and input features of the linear layers of a block. */
const linears = ({ config }: LargeTables): [string, number, number][] => {
  const { hidden_size: hidden, intermediate_size: wide } = config;
  const kv = (hidden / config.num_attention_heads) * config.num_key_value_heads;
  return [
    ['self_attn.q_proj', hidden, hidden],
    ['self_attn.k_proj', kv, hidden],
    ['self_attn.v_proj', kv, hidden],
    ['self_attn.o_proj', hidden, hidden],
    ['mlp.gate_proj', wide, hidden],
    ['mlp.up_proj', wide, hidden],
    ['mlp.down_proj', hidden, wide],
  ];
};

/** The model of so many layers, as transformers would save it. */
export async function writeLargeModel(
  folder: string,
  tables: LargeTables,
  layers: number,
): Promise<void> {
  const { config } = tables;
  const { vocab_size: vocabulary, hidden_size: hidden } = config;
  const shapes: [string, number[]][] = [
    ['model.embed_tokens.weight', [vocabulary, hidden]],
    ['model.norm.weight', [hidden]],
  ];
  for (let layer = 0; layer < layers; layer++) {
    const at = `model.layers.${layer}`;
    for (const [name, out, into] of linears(tables)) {
      shapes.push([`${at}.${name}.weight`, [out, into]]);
      if (/[qkv]_proj/.test(name)) shapes.push([`${at}.${name}.bias`, [out]]);
    }
    for (const norm of ['input_layernorm', 'post_attention_layernorm'])
      shapes.push([`${at}.${norm}.weight`, [hidden]]);
  }
  await mkdir(folder, { recursive: true });
  const whole = { ...config, num_hidden_layers: layers };
  await writeFile(join(folder, 'config.json'), JSON.stringify(whole));
  const tensors = shapes.map(
    ([name, shape]): TensorToWrite => ({
      ...{ name, shape, dtype: 'bfloat16' },
      data: () => bfloat16Of(name, shape),
    }),
  );
  await writeSafetensors(join(folder, 'model.safetensors'), tensors, { format: 'pt' });
}

/** The adapter from which the recorded run starts, as PEFT saves it. */
export async function writeLargeAdapter(folder: string, tables: LargeTables): Promise<void> {
  const { r, alpha, targetModules } = tables.lora;
  const tensors: TensorToWrite[] = [];
  for (let layer = 0; layer < tables.config.num_hidden_layers; layer++)
    for (const [linear, out, into] of linears(tables)) {
      const at = `base_model.model.model.layers.${layer}.${linear}`;
      const a = `${at}.lora_A.weight`;
      tensors.push(
        { name: a, dtype: 'float32', shape: [r, into], data: float32Of(a, [r, into]) },
        {
          ...{ name: `${at}.lora_B.weight`, dtype: 'float32', shape: [out, r] },
          data: new Float32Array(out * r),
        },
      );
    }
  await mkdir(folder, { recursive: true });
  const config = {
    ...{ peft_type: 'LORA', task_type: 'CAUSAL_LM', r, lora_alpha: alpha, lora_dropout: 0 },
    ...{ bias: 'none', target_modules: targetModules },
  };
  await writeFile(join(folder, 'adapter_config.json'), JSON.stringify(config));
  await writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors, { format: 'pt' });
}
