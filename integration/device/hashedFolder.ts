import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { bytesPerElement, encode } from '@attune/core/backend';
import { fixtureJson, temporaryFolder } from './support.js';

/** Weights that follow from a rule, as `parity/rows_real_size.py` has it. */

type HashedDType = 'bfloat16' | 'float32';

interface HashedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** 0: every element is `value`. */
  readonly std: number;
  readonly value?: number;
}

/** The recorded runs, and what the rule needs. */
export const realSize = fixtureJson('real-size.json');

const CHUNK = 2 ** 22;

export function fnv1a(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

/** The upper half of a hash of 32 bits. */
function mixed(x: number): number {
  x ^= x >>> 16;
  x = Math.imul(x, 0x7feb352d);
  x ^= x >>> 15;
  x = Math.imul(x, 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 16;
}

/** Elements `from` to `to`, in their storage form. */
export function hashed(
  { name, std, value = 0 }: HashedTensor,
  dtype: HashedDType,
  from: number,
  to: number,
): Uint16Array | Float32Array {
  const words = dtype === 'bfloat16' ? Uint16Array : Float32Array;
  const table = encode(
    Array.from({ length: 65_536 }, (_, k) => ((k - 32_767.5) / 32_768) * (Math.sqrt(3) * std)),
    dtype,
  ) as Uint16Array | Float32Array;
  const out = new words(to - from);
  if (std === 0) return out.fill(encode([value], dtype)[0] as number);
  const seed = fnv1a(name);
  for (let i = from; i < to; i++) out[i - from] = table[mixed((i + seed) | 0)]!;
  return out;
}

/** A safetensors file, written tensor by tensor. */
function writeHashed(path: string, tensors: readonly HashedTensor[], dtype: HashedDType): void {
  let offset = 0;
  const header: Record<string, unknown> = {};
  const sizes = tensors.map(({ shape }) => shape.reduce((n, d) => n * d, 1));
  for (const [i, { name, shape }] of tensors.entries()) {
    const end = offset + sizes[i]! * bytesPerElement[dtype];
    header[name] = {
      dtype: dtype === 'bfloat16' ? 'BF16' : 'F32',
      shape,
      data_offsets: [offset, end],
    };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = openSync(path, 'w');
  writeSync(file, Buffer.concat([length, json]));
  for (const [i, tensor] of tensors.entries())
    for (let from = 0; from < sizes[i]!; from += CHUNK) {
      const words = hashed(tensor, dtype, from, Math.min(from + CHUNK, sizes[i]!));
      writeSync(file, new Uint8Array(words.buffer));
    }
  closeSync(file);
}

const stdOf = (name: string): number =>
  (Object.entries(realSize.std) as [string, number][]).find(([end]) => name.endsWith(end))![1];

/** [out, in] of each linear layer of a block of Qwen2. */
function linears(): Record<string, readonly [number, number]> {
  const { hidden_size: width, intermediate_size: inner } = realSize.config;
  const { num_attention_heads: heads, num_key_value_heads: groups } = realSize.config;
  const keys = (width / heads) * groups;
  return {
    'self_attn.q_proj': [width, width],
    'self_attn.k_proj': [keys, width],
    'self_attn.v_proj': [keys, width],
    'self_attn.o_proj': [width, width],
    'mlp.gate_proj': [inner, width],
    'mlp.up_proj': [inner, width],
    'mlp.down_proj': [width, inner],
  };
}

/** A folder of the shape of Qwen2.5-0.5B, 988 MB in bfloat16; with fewer layers by wish. */
export function realSizeFolder(layers: number = realSize.config.num_hidden_layers): string {
  const config = { ...realSize.config, num_hidden_layers: layers };
  const width = config.hidden_size;
  const weight = (name: string, shape: readonly number[]) => ({ name, shape, std: stdOf(name) });
  const norm = (name: string) => ({ name: `${name}.weight`, shape: [width], std: 0, value: 1 });
  const tensors: HashedTensor[] = [
    weight('model.embed_tokens.weight', [config.vocab_size, width]),
    norm('model.norm'),
  ];
  for (let layer = 0; layer < layers; layer++) {
    const at = `model.layers.${layer}`;
    tensors.push(norm(`${at}.input_layernorm`), norm(`${at}.post_attention_layernorm`));
    for (const [path, shape] of Object.entries(linears())) {
      tensors.push(weight(`${at}.${path}.weight`, shape));
      if (/[qkv]_proj$/.test(path)) tensors.push(weight(`${at}.${path}.bias`, [shape[0]]));
    }
  }
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  writeHashed(join(folder, 'model.safetensors'), tensors, 'bfloat16');
  return folder;
}

/** The adapter that the recorded runs begin with, as PEFT saves one. */
export function realSizeAdapter(): string {
  const { r, lora_alpha } = realSize.lora;
  const tensors: HashedTensor[] = [];
  for (let layer = 0; layer < realSize.config.num_hidden_layers; layer++)
    for (const [path, [out, into]] of Object.entries(linears())) {
      const at = `base_model.model.model.layers.${layer}.${path}`;
      const name = `${at}.lora_A.weight`;
      tensors.push({ name, shape: [r, into], std: stdOf(name) });
      tensors.push({ name: `${at}.lora_B.weight`, shape: [out, r], std: 0 });
    }
  const folder = join(temporaryFolder(), 'adapter');
  mkdirSync(folder);
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    r,
    lora_alpha,
    lora_dropout: 0,
    target_modules: Object.keys(linears()).map((path) => path.split('.')[1]),
  };
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(config));
  writeHashed(join(folder, 'adapter_model.safetensors'), tensors, 'float32');
  return folder;
}
