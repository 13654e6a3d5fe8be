import { AttuneError } from '@attune/core';
import { formatPeftConfig, type PeftConfig } from '../contract/config.js';
import type { PeftMethod } from '../contract/methodKinds.js';
import { nameInFile } from '../files/names.js';
import type { SavedTensor } from '../files/writeAdapter.js';
import { problemsFor } from '../interop/checkAdapter.js';
import type { AdapterProblemCode } from '../interop/problem.js';
import { factorKey } from '../methods/lora/factors.js';
import { startsFromBase } from '../methods/lora/start.js';
import { loraScaling } from '../methods/lora.js';
import { AdaptedLinear } from '../slots/adaptedLinear.js';
import type { AttachedParameter } from '../slots/adapterSlot.js';
import { plainLora } from './plainLora.js';

interface Adapter {
  readonly name: string;
  readonly method: PeftMethod;
  readonly config: PeftConfig;
  /** What savePretrained writes, by names in the base model. */
  readonly tensors: ReadonlyMap<string, SavedTensor>;
}

/** What baking the scale mends, or what is a matter of how the reader is started. */
const MENDED: ReadonlySet<AdapterProblemCode> = new Set([
  'RSLORA_SCALE',
  'PATTERN_SCALE',
  'START_FROM_BASE',
  'RANK',
  'BASE',
]);

/**
 * An adapter as PEFT, vLLM and llama.cpp all read it rightly: one rank R for all layers, lora_alpha
 * = R, no rsLoRA and no patterns, so that every rule gives the scale 1; the layer's own scale s is
 * in B.
 *
 *     s B A = 1 [s B, 0] [A; 0]
 *
 * R is the largest rank of a layer; zeros fill up the others. A start from the base (PiSSA, OLoRA)
 * becomes a plain LoRA first, which doubles the rank. s B is rounded once, to float32.
 *
 * @param held what the adapter has in the model
 * @throws PEFT_NOT_PORTABLE for what one of the three cannot read: other methods, DoRA, biases,
 *   whole modules, embeddings, heads, GPT-2's layers
 */
export async function portableLora(
  held: readonly AttachedParameter[],
  { name, method, config, tensors }: Adapter,
): Promise<{ readonly config: PeftConfig; readonly tensors: ReadonlyMap<string, SavedTensor> }> {
  checkPortable({ name, method, config, tensors });
  const plain = startsFromBase(config.initLoraWeights)
    ? (await plainLora(held, name, config)).tensors
    : tensors;
  const layers = [...new Set(held.map((own) => own.slot))].filter(
    (slot) => slot instanceof AdaptedLinear,
  );
  const nameOf = (slot: AdaptedLinear, side: 'A' | 'B') =>
    `${slot.path}.${factorKey(slot.layer, side)}`;
  const ranks = layers.map((slot) => plain.get(nameOf(slot, 'A'))!.shape[0]!);
  const rank = Math.max(...ranks);
  const portable = new Map<string, SavedTensor>();
  layers.forEach((slot, i) => {
    const [r, a, b] = [ranks[i]!, nameOf(slot, 'A'), nameOf(slot, 'B')];
    const scale = loraScaling(slot.configOf(name) as unknown as Parameters<typeof loraScaling>[0]);
    portable.set(a, {
      shape: [rank, slot.inFeatures],
      tensor: { data: async () => rowsBelow(await plain.get(a)!.tensor.data(), rank, r) },
    });
    portable.set(b, {
      shape: [slot.outFeatures, rank],
      tensor: {
        data: async () => scaledBeside(await plain.get(b)!.tensor.data(), scale, rank, r),
      },
    });
  });
  return {
    tensors: portable,
    config: {
      ...config,
      initLoraWeights: true,
      useRslora: false,
      r: rank,
      loraAlpha: rank,
      rankPattern: {},
      alphaPattern: {},
    },
  };
}

/** [r, n] -> [rank, n]: zeros below. */
function rowsBelow(values: ArrayLike<number>, rank: number, r: number): Float32Array {
  const out = new Float32Array((values.length / r) * rank);
  out.set(values);
  return out;
}

/** [n, r] -> [n, rank]: times s, zeros to the right. */
function scaledBeside(
  values: ArrayLike<number>,
  scale: number,
  rank: number,
  r: number,
): Float32Array {
  const out = new Float32Array((values.length / r) * rank);
  for (let i = 0; i < values.length; i++)
    out[Math.floor(i / r) * rank + (i % r)] = values[i]! * scale;
  return out;
}

function checkPortable({ name, method, config, tensors }: Adapter): void {
  const saved = {
    fields: JSON.parse(formatPeftConfig(method, config)) as Record<string, unknown>,
    tensors: new Map([...tensors].map(([key, { shape }]) => [nameInFile(method, key), shape])),
  };
  const problems = (['vllm', 'llama.cpp'] as const)
    .flatMap((target) => problemsFor(saved, target, Number.POSITIVE_INFINITY))
    .filter(({ code }) => !MENDED.has(code));
  const [first] = problems;
  if (!first) return;
  throw new AttuneError('PEFT_NOT_PORTABLE', `portable: "${name}": ${first.message}`, {
    remedy: 'Save it without portable, or merge it (mergeAndUnload) and save the model.',
    details: { problems },
  });
}
