import {
  AttuneError,
  algebra,
  type Engine,
  type HostTensorData,
  type Module,
  Rng,
} from '@attune/core';
import type { PeftConfig } from '../contract/config.js';
import { factorKey } from '../methods/lora/factors.js';
import { startsFromBase } from '../methods/lora/start.js';
import { loraScaling } from '../methods/lora.js';
import { AdaptedLinear } from '../slots/adaptedLinear.js';
import { partsOf } from '../slots/adapterSlot.js';
import { COMBINATIONS, type Combination, combine } from './combine.js';

/** Options of `addWeightedAdapter`, named as in PEFT. */
export interface WeightedAdapterOptions {
  /** LoRA adapters of this model. */
  readonly adapters: readonly string[];
  /** One for each; may be negative. */
  readonly weights: readonly number[];
  /** What to call the new one. */
  readonly adapterName: string;
  /**
   * How: "linear" adds the weight differences; "cat" puts the adapters side by side, which is the same sum
   * without any rounding; "svd" is "linear" cut to `svdRank`; "ties", "dare_linear", "dare_ties" and
   * "magnitude_prune" thin them out first (`density`). A name with "_svd" is the same as without. Default "svd".
   */
  readonly combinationType?:
    | 'svd'
    | 'cat'
    | Combination
    | 'ties_svd'
    | 'dare_linear_svd'
    | 'dare_ties_svd'
    | 'magnitude_prune_svd';
  /** Share of values that thinning keeps, 0 to 1. Needed by the combinations that thin out; default none. */
  readonly density?: number;
  /** Of "ties" and "dare_ties": elect signs by the sum of the values or by their number. Default "total". */
  readonly majoritySignMethod?: algebra.MajoritySignMethod;
  /** Rank of the result. Default: the largest of the adapters; for "linear" the sum of their ranks, which loses nothing. */
  readonly svdRank?: number;
  /**
   * Combine A and B each by themselves, as PEFT does for all but the "_svd" types: cheaper, of the same
   * rank, and another function than the sum of the adapters, because (A1 + A2)(B1 + B2) has cross terms.
   * Default false.
   */
  readonly peftCompat?: boolean;
  /** Of the random masks of "dare_*". Default: the Attune's seed. */
  readonly seed?: number;
}

/** One adapter's factors on one layer. */
export interface LoraFactors {
  /** [r, in] */
  readonly a: algebra.OwnDense;
  /** [out, r] */
  readonly b: algebra.OwnDense;
  /** What B A is multiplied by. */
  readonly scaling: number;
  readonly weight: number;
}

type Plan = Required<Pick<WeightedAdapterOptions, 'majoritySignMethod' | 'peftCompat'>> & {
  readonly type: 'svd' | 'cat' | Combination;
  /** 1 where nothing is thinned out. */
  readonly density: number;
  readonly seed: number;
  readonly rank: number;
};

const invalid = (found: string, remedy: string): AttuneError =>
  new AttuneError('PEFT_COMBINATION', `addWeightedAdapter: ${found}.`, { remedy });

/**
 * Checks the options against the ranks of the adapters.
 *
 * @param ranks of each adapter, the largest over its layers
 * @throws PEFT_COMBINATION
 */
export function planCombination(
  options: WeightedAdapterOptions,
  ranks: readonly number[],
  engine: Engine,
): Plan {
  const { adapters, weights, combinationType = 'svd', density, svdRank, seed } = options;
  const peftCompat = options.peftCompat ?? false;
  if (adapters.length === 0 || adapters.length !== weights.length)
    throw invalid(
      `${adapters.length} adapters and ${weights.length} weights`,
      'Give one weight for each adapter, and at least one adapter.',
    );
  if (!weights.every(Number.isFinite))
    throw invalid(`weights are [${weights.join(', ')}]`, 'Give finite numbers.');
  const isSeparate = peftCompat && (COMBINATIONS as readonly string[]).includes(combinationType);
  const type = combinationType.replace(/_svd$/, '') as Plan['type'];
  const known = ['svd', 'cat', ...COMBINATIONS];
  if (!known.includes(type))
    throw invalid(`combinationType is "${combinationType}"`, `Known: ${known.join(', ')}.`);
  const thins = !['svd', 'cat', 'linear'].includes(type);
  if (thins && !(density !== undefined && density >= 0 && density <= 1))
    throw invalid(
      `combinationType "${combinationType}" needs a density from 0 to 1, which is ${density}`,
      'Pass density, e.g. 0.5: the share of values that are kept.',
    );
  if (svdRank !== undefined && (!Number.isInteger(svdRank) || svdRank < 1))
    throw invalid(`svdRank is ${svdRank}`, 'Give a positive integer, or leave it out.');
  if (isSeparate && new Set(ranks).size > 1)
    throw invalid(
      `"${combinationType}" with peftCompat combines A and B by themselves, and the ranks are ${ranks.join(', ')}`,
      'Combine adapters of one rank, or leave peftCompat out.',
    );
  const sum = ranks.reduce((total, rank) => total + rank, 0);
  const largest = Math.max(...ranks);
  return {
    type,
    density: thins ? density! : 1,
    majoritySignMethod: options.majoritySignMethod ?? 'total',
    peftCompat: isSeparate,
    seed: seed ?? engine.seed,
    rank:
      type === 'cat' || (type === 'linear' && !isSeparate && svdRank === undefined)
        ? sum
        : isSeparate
          ? largest
          : (svdRank ?? largest),
  };
}

/**
 * The factors of the new adapter on one layer, with scale 1.
 *
 * @param layer its number, which separates random masks
 */
export function combineLayer(
  factors: readonly LoraFactors[],
  plan: Plan,
  layer: number,
): algebra.LowRank {
  const { type, rank, density, majoritySignMethod, seed } = plan;
  const rng = new Rng(seed, 0x64617265 + layer); // 'dare'
  if (plan.peftCompat) {
    const roots = factors.map(({ weight, scaling }) => weight * scaling);
    const half = (side: 'a' | 'b', weights: readonly number[]) => ({
      rows: factors[0]![side].rows,
      columns: factors[0]![side].columns,
      data: combine(
        type as Combination,
        factors.map((f) => f[side].data),
        weights,
        { density, majoritySignMethod, rng },
      ),
    });
    return {
      a: half(
        'a',
        roots.map((w) => Math.sign(w) * Math.sqrt(Math.abs(w))),
      ),
      b: half(
        'b',
        roots.map((w) => Math.sqrt(Math.abs(w))),
      ),
    };
  }
  if (type === 'svd' || type === 'cat' || type === 'linear') {
    const { left, right } = sideBySide(factors);
    return rank >= left.columns
      ? { a: right, b: left }
      : algebra.truncatedSvdOfProduct(left, right, rank);
  }
  const { rows } = factors[0]!.b;
  const { columns } = factors[0]!.a;
  const deltas = factors.map(({ a, b, scaling }) =>
    algebra.product(b, a).data.map((value) => value * scaling),
  );
  const data = combine(
    type,
    deltas,
    factors.map(({ weight }) => weight),
    { density, majoritySignMethod, rng },
  );
  return algebra.truncatedSvd({ rows, columns, data }, rank);
}

/** [B_1 ... B_n] and [w_1 s_1 A_1; ...; w_n s_n A_n]: their product is the weighted sum. */
function sideBySide(factors: readonly LoraFactors[]): {
  readonly left: algebra.OwnDense;
  readonly right: algebra.OwnDense;
} {
  const rank = factors.reduce((sum, { a }) => sum + a.rows, 0);
  const { rows } = factors[0]!.b;
  const { columns } = factors[0]!.a;
  const left = { rows, columns: rank, data: new Float64Array(rows * rank) };
  const right = { rows: rank, columns, data: new Float64Array(rank * columns) };
  let at = 0;
  for (const { a, b, weight, scaling } of factors) {
    for (let row = 0; row < rows; row++)
      left.data.set(b.data.subarray(row * b.columns, (row + 1) * b.columns), row * rank + at);
    right.data.set(
      a.data.map((value) => value * (weight * scaling)),
      at * columns,
    );
    at += a.rows;
  }
  return { left, right };
}

/** A factor as a tensor of a file, filled up with zeros to `rank`: a layer that fewer adapters have. */
export function paddedFactor(
  name: string,
  { rows, columns, data }: algebra.Dense,
  rank: number,
  side: 'a' | 'b',
): HostTensorData {
  const shape = side === 'a' ? [rank, columns] : [rows, rank];
  const out = new Float32Array(shape[0]! * shape[1]!);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) out[i * shape[1]! + j] = data[i * columns + j]!;
  return { name, dtype: 'float32', shape, data: out };
}

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
 * @throws PEFT_COMBINATION for other methods, and for what a weight difference does not hold: trained
 *   biases, magnitudes (DoRA), modulesToSave
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
  const plan = planCombination(options, ranks, engine);
  const tensors = new Map<string, HostTensorData>();
  for (const [number, layer] of layers.entries()) {
    const factors: LoraFactors[] = [];
    for (const [i, name] of options.adapters.entries()) {
      const held = await loraFactors(layer, name);
      if (held) factors.push({ ...held, weight: options.weights[i]! });
    }
    const combined = combineLayer(factors, plan, number);
    for (const side of ['a', 'b'] as const) {
      const name = `${layer.path}.${factorKey(layer.layer, side === 'a' ? 'A' : 'B')}`;
      tensors.set(name, paddedFactor(name, combined[side], plan.rank, side));
    }
  }
  return {
    tensors,
    fields: {
      ...configs[0]!,
      r: plan.rank,
      loraAlpha: plan.rank,
      useRslora: false,
      rankPattern: {},
      alphaPattern: {},
      loraDropout: 0,
      inferenceMode: true,
      layersToTransform: null,
      layersPattern: null,
      excludeModules: null,
      targetModules: layers.map(({ path }) => path),
    },
  };
}

function checkCombinable(name: string, config: PeftConfig): void {
  const refuse = (why: string, remedy: string) => {
    throw invalid(`"${name}" ${why}`, remedy);
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
): Promise<Omit<LoraFactors, 'weight'> | null> {
  const config = layer.configOf(adapter);
  if (!config) return null;
  const parameters = layer.parametersOf(adapter);
  const read = async (side: 'A' | 'B') => {
    const { tensor } = parameters.get(`${layer.path}.${factorKey(layer.layer, side)}`)!;
    const [rows, columns] = tensor.shape as [number, number];
    return { rows, columns, data: Float64Array.from(await tensor.data()) };
  };
  return {
    a: await read('A'),
    b: await read('B'),
    scaling: loraScaling(config as unknown as Parameters<typeof loraScaling>[0]),
  };
}
