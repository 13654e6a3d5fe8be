import { AttuneError, type HubOptions } from '@attune/core';
import { decode } from '@attune/core/backend';
import { type HostTensorData, hubOptions, type SafetensorsFile } from '@attune/core/io';
import type { AdapterDeltas } from '@attune/core/models';
import { algebra } from '@attune/core/tensor';
import { parseOptions } from '@attune/core/util';
import { openWeights, readAdapterConfig } from '../files/adapterFolder.js';
import { resolveAdapter } from '../files/resolveAdapter.js';
import {
  isOn,
  type LoraPair,
  loraPairs,
  meantScale,
  type SavedAdapter,
  some,
} from '../interop/savedAdapter.js';
import { conv1dPairs, READ_BY_PEFT_ALONE, takesFromBase } from '../interop/shared.js';

/** Options of PEFT with which an adapter is more than a pair for each layer. */
const OTHERS = ['alora_invocation_tokens', 'target_parameters', 'trainable_token_indices'];

/**
 * What a saved LoRA adds to each weight of its base, s B A, without the base: for a merge of
 * `base+adapter`.
 *
 * @param nameOrPath a folder with adapter_config.json and adapter_model.safetensors, or a Hub id
 * @throws PEFT_NOT_A_DELTA for what no difference of weights holds (other methods, DoRA, biases,
 *   whole modules, a start from the base), or whose weight cannot be known without the base
 *   (embeddings, GPT-2's layers without fan_in_fan_out); PEFT_ADAPTER_MISSING,
 *   PEFT_ADAPTER_INCOMPLETE, SAFETENSORS_..., HUB_..., UNKNOWN_OPTION
 */
export async function openAdapterDeltas(
  nameOrPath: string,
  options: HubOptions = {},
): Promise<AdapterDeltas> {
  parseOptions(hubOptions, options, { where: 'opening an adapter', code: 'PEFT_CALL' });
  const folder = await resolveAdapter(nameOrPath, options);
  const { path, fields } = await readAdapterConfig(folder);
  const file = await openWeights(folder);
  try {
    const tensors = new Map(file.names.map((name) => [name, file.info(name).shape]));
    const adapter = { fields, tensors };
    const refusal = whyNoDelta(adapter);
    if (refusal !== null)
      throw new AttuneError('PEFT_NOT_A_DELTA', `${path}: the adapter ${refusal}.`, {
        remedy: 'Load it onto its base, mergeAndUnload, and give the merged model instead.',
      });
    return new LoraDeltas(file, adapter);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Why an adapter is more than a pair of A and B for each layer; null: it is not. */
export function whyNoPairs(adapter: SavedAdapter): string | null {
  const { fields } = adapter;
  if (fields.peft_type !== 'LORA') return `is ${JSON.stringify(fields.peft_type)}, not LORA`;
  if (isOn(fields.use_dora)) return 'has magnitudes (use_dora), which scale the whole weight';
  const init = fields.init_lora_weights;
  if (takesFromBase(init)) return `started with a part of the base (init_lora_weights "${init}")`;
  const option = [...READ_BY_PEFT_ALONE, ...OTHERS].find((name) => isOn(fields[name]));
  if (option) return `has ${option} = ${JSON.stringify(fields[option])}, which is more than B A`;
  const { pairs, others } = loraPairs(adapter);
  if (others.length > 0) return `holds more than A and B: ${some(others)}`;
  const broken = pairs.filter(({ a, b }) => !a || !b || a[0] !== b[1]);
  if (broken.length > 0)
    return `has no pair of A and B for ${some(broken.map((pair) => pair.path))}`;
  return null;
}

/** Why an adapter is no difference of weights; null: it is one. */
function whyNoDelta(adapter: SavedAdapter): string | null {
  const { fields } = adapter;
  const why = whyNoPairs(adapter);
  if (why !== null) return why;
  const { pairs } = loraPairs(adapter);
  const embedded = pairs.filter((pair) => pair.isEmbedding);
  if (embedded.length > 0)
    return `adapts ${some(embedded.map((pair) => pair.path))}, whose table may be the head too`;
  const turned = fields.fan_in_fan_out === true ? [] : conv1dPairs(adapter, pairs);
  if (turned.length > 0)
    return `adapts ${some(turned.map((pair) => pair.path))}, which in GPT-2 lie transposed, without saying so (fan_in_fan_out)`;
  return null;
}

class LoraDeltas implements AdapterDeltas {
  readonly #pairs: ReadonlyMap<string, LoraPair>;

  constructor(
    private readonly file: SafetensorsFile,
    private readonly adapter: SavedAdapter,
  ) {
    const { pairs } = loraPairs(adapter);
    this.#pairs = new Map(pairs.map((pair) => [`${pair.path}.weight`, pair]));
  }

  get baseModelNameOrPath(): string | null {
    const { base_model_name_or_path: name } = this.adapter.fields;
    return typeof name === 'string' && name !== '' ? name : null;
  }

  get names(): readonly string[] {
    return [...this.#pairs.keys()];
  }

  shapeOf(name: string): readonly number[] {
    const { a, b } = this.#pair(name);
    const [out, inner] = [b![0]!, a![1]!];
    return this.adapter.fields.fan_in_fan_out === true ? [inner, out] : [out, inner];
  }

  #pair(name: string): LoraPair {
    const pair = this.#pairs.get(name);
    if (pair) return pair;
    throw new AttuneError('PEFT_TENSOR_UNKNOWN', `${this.file.path} changes no "${name}".`, {
      remedy: `It changes ${some(this.names)}.`,
    });
  }

  /** s B A in float64, rounded once. */
  async read(name: string): Promise<HostTensorData> {
    const pair = this.#pair(name);
    const [b, a] = [await this.#factor(pair, 'B'), await this.#factor(pair, 'A')];
    const product = algebra.product(b, a);
    const own = this.adapter.fields.fan_in_fan_out === true ? algebra.transposed(product) : product;
    const scale = meantScale(this.adapter, pair.path);
    const data = Float32Array.from(own.data, (value) => value * scale);
    return { name, dtype: 'float32', shape: [own.rows, own.columns], data };
  }

  async #factor({ path }: LoraPair, side: 'A' | 'B'): Promise<algebra.Dense> {
    const plain = `${path}.lora_${side}.weight`;
    const name = this.file.has(plain) ? plain : `base_model.model.${plain}`;
    const { shape, dtype, data } = await this.file.read(name);
    const bytes = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
    const values = decode(bytes as ArrayBuffer, dtype, data.length);
    return { rows: shape[0]!, columns: shape[1]!, data: values };
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
