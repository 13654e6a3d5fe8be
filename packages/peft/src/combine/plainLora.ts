import { AttuneError } from '@attune/core';
import type { PeftConfig } from '../contract/config.js';
import type { SavedTensor } from '../files/writeAdapter.js';
import { startsFromBase } from '../methods/lora/start.js';
import { AdaptedLinear } from '../slots/adaptedLinear.js';
import type { AttachedParameter } from '../slots/adapterSlot.js';

/**
 * An adapter that started with a part of the base (PiSSA, OLoRA) as a plain LoRA of twice the rank,
 * which fits the base that everybody has: B A - B0 A0 = [B, -B0] [A; A0]. alpha is twice as large
 * too (sqrt(2) times with rsLoRA), so that the scale stays; PEFT's
 * path_initial_model_for_weight_conversion writes the same.
 *
 * @param held what the adapter has in the model
 * @throws PEFT_NOT_PLAIN_LORA
 */
export async function plainLora(
  held: readonly AttachedParameter[],
  adapter: string,
  config: PeftConfig,
): Promise<{ readonly config: PeftConfig; readonly tensors: ReadonlyMap<string, SavedTensor> }> {
  checkConvertible(adapter, config);
  const tensors = new Map<string, SavedTensor>();
  for (const { isTrained, fileName, parameter } of held)
    if (isTrained) tensors.set(fileName!, parameter);
  for (const slot of new Set(held.map((own) => own.slot))) {
    if (!(slot instanceof AdaptedLinear)) continue;
    const here = slot.heldBy(adapter);
    const find = (name: string) => here.find((own) => own.name === name);
    const read = async (side: 'A' | 'B') => {
      const now = await find(side)!.parameter.tensor.data();
      // An embedding starts without a part of the base: zeros fill it up to the rank.
      const before = await find(`start${side}`)?.parameter.tensor.data();
      return [now, before ?? new Float32Array(now.length)] as const;
    };
    const { inFeatures, outFeatures } = slot;
    const [a, a0] = await read('A');
    const [b, b0] = await read('B');
    const r = a.length / inFeatures;
    const joined = new Float32Array(2 * b.length);
    for (let row = 0; row < outFeatures; row++)
      for (let i = 0; i < r; i++) {
        joined[row * 2 * r + i] = b[row * r + i]!;
        joined[row * 2 * r + r + i] = -b0[row * r + i]!;
      }
    const put = (side: 'A' | 'B', shape: readonly number[], data: Float32Array) =>
      tensors.set(find(side)!.fileName!, {
        shape,
        tensor: { data: () => Promise.resolve(data) },
      });
    put('A', [2 * r, inFeatures], Float32Array.from([...a, ...a0]));
    put('B', [outFeatures, 2 * r], joined);
  }
  const growth = config.useRslora ? Math.SQRT2 : 2;
  const times = (table: unknown, factor: number) =>
    Object.fromEntries(
      Object.entries(table as Record<string, number>).map(([key, value]) => [key, value * factor]),
    );
  return {
    tensors,
    config: {
      ...config,
      initLoraWeights: true,
      r: Number(config.r) * 2,
      loraAlpha: Number(config.loraAlpha) * growth,
      rankPattern: times(config.rankPattern, 2),
      alphaPattern: times(config.alphaPattern, growth),
    },
  };
}

function checkConvertible(adapter: string, config: PeftConfig): void {
  const why = !startsFromBase(config.initLoraWeights)
    ? 'did not start with a part of the base: it is one, or no LoRA'
    : config.useDora
      ? 'has magnitudes (useDora), which no weight difference holds'
      : null;
  if (why === null) return;
  throw new AttuneError('PEFT_NOT_PLAIN_LORA', `plainLora: "${adapter}" ${why}.`, {
    remedy: 'Save it without plainLora, or merge it into the base.',
  });
}
