import type { Engine } from '@attune/core';
import type { HostTensorData } from '@attune/core/io';
import type { Module } from '@attune/core/nn';
import type { PeftConfig } from '../contract/config.js';
import { factorKey } from '../methods/lora/factors.js';
import { startsFromBase } from '../methods/lora/start.js';
import { loraScaling } from '../methods/lora.js';
import { AdaptedLinear } from '../slots/adaptedLinear.js';
import { partsOf } from '../slots/adapterSlot.js';
import { combineLayer, type LoraFactors, paddedFactor } from './combineLayer.js';
import {
  invalidCombination,
  planCombination,
  type WeightedAdapterOptions,
} from './planCombination.js';

/** Config and tensors of the new adapter, which the model does not have yet. */
export interface CombinedAdapter {
  readonly fields: Readonly<Record<string, unknown>>;
  /** By their names in files. */
  readonly tensors: ReadonlyMap<string, HostTensorData>;
}

/**
 * Reads the adapters back and combines them layer by layer. Changes nothing.
 *
 * @param configs of the adapters, in their order
 * @throws PEFT_COMBINATION for other methods, and for what a weight difference does not hold:
 *   trained biases, magnitudes (DoRA), modulesToSave
 */
export async function combineAdapters(
  engine: Engine,
  root: Module,
  configs: readonly PeftConfig[],
  options: WeightedAdapterOptions,
): Promise<CombinedAdapter> {
  options.adapters.forEach((name, i) => {
    checkCombinable(name, configs[i]!);
  });
  const layers = partsOf(root)
    .reverse()
    .filter((slot) => slot instanceof AdaptedLinear)
    .filter((slot) => options.adapters.some((name) => slot.configOf(name)));
  const ranks = options.adapters.map((name) =>
    layers.reduce((most, layer) => Math.max(most, Number(layer.configOf(name)?.r ?? 0)), 0),
  );
  const plan = planCombination(
    { ...options, where: WHERE, density: options.density, seed: options.seed ?? engine.seed },
    ranks,
  );
  const tensors = new Map<string, HostTensorData>();
  for (const layer of layers) {
    const factors: LoraFactors[] = [];
    for (const [i, name] of options.adapters.entries()) {
      const held = await loraFactors(layer, name);
      if (held) factors.push({ ...held, weight: options.weights[i]!, density: plan.densities[i]! });
    }
    const combined = combineLayer(factors, plan, layer.path);
    for (const side of ['a', 'b'] as const) {
      const name = `${layer.path}.${factorKey(layer.layer, side === 'a' ? 'A' : 'B')}`;
      tensors.set(name, paddedFactor(name, combined[side], plan.rank, side));
    }
  }
  return {
    tensors,
    fields: combinedFields(
      configs[0]!,
      plan.rank,
      layers.map(({ path }) => path),
    ),
  };
}

/** The config of what was combined: that of the first adapter, with scale 1 on every layer. */
export const combinedFields = (
  config: PeftConfig,
  rank: number,
  paths: readonly string[],
): PeftConfig => ({
  ...config,
  r: rank,
  loraAlpha: rank,
  useRslora: false,
  rankPattern: {},
  alphaPattern: {},
  loraDropout: 0,
  inferenceMode: true,
  layersToTransform: null,
  layersPattern: null,
  excludeModules: null,
  targetModules: paths,
});

const WHERE = 'addWeightedAdapter';

function checkCombinable(name: string, config: PeftConfig): void {
  const refuse = (why: string, remedy: string) => {
    throw invalidCombination(WHERE)(`"${name}" ${why}`, remedy);
  };
  if (config.peftType !== 'LORA')
    refuse(
      `is a ${config.peftType} adapter`,
      'Combine LoRA adapters; merge others one after the other.',
    );
  if (config.useDora === true)
    refuse('has magnitudes (useDora), which no weight difference holds', 'Merge it into the base.');
  if (startsFromBase(config.initLoraWeights))
    refuse(
      `started with a part of the base (initLoraWeights "${config.initLoraWeights}")`,
      'Merge it into the base.',
    );
  if (config.loraBias === true || config.bias !== 'none')
    refuse('trains biases', 'Combine adapters without loraBias and with bias "none".');
  if ((config.modulesToSave ?? []).length > 0)
    refuse(
      `trains whole modules (modulesToSave: ${config.modulesToSave!.join(', ')})`,
      'Combine adapters without them.',
    );
}

/** A, B and alpha / r of an adapter on a layer; null where it has none there. */
async function loraFactors(
  layer: AdaptedLinear,
  adapter: string,
): Promise<Pick<LoraFactors, 'a' | 'b' | 'scaling'> | null> {
  const config = layer.configOf(adapter);
  if (!config) return null;
  const held = layer.heldBy(adapter);
  const read = async (side: 'A' | 'B') => {
    const { tensor } = held.find(({ name }) => name === side)!.parameter;
    const [rows, columns] = tensor.shape as [number, number];
    return { rows, columns, data: Float64Array.from(await tensor.data()) };
  };
  return {
    a: await read('A'),
    b: await read('B'),
    scaling: loraScaling(config as unknown as Parameters<typeof loraScaling>[0]),
  };
}
