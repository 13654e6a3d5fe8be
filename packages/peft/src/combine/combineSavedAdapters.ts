import { AttuneError } from '@attune/core';
import { decode } from '@attune/core/backend';
import { type HostTensorData, hubOptions, type SafetensorsFile } from '@attune/core/io';
import { basename } from '@attune/core/platform';
import type { algebra } from '@attune/core/tensor';
import { type OptionsInput, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import { type PeftConfig, parsePeftConfig } from '../contract/config.js';
import { exists, openWeights, readAdapterConfig } from '../files/adapterFolder.js';
import { resolveAdapter } from '../files/resolveAdapter.js';
import { writeAdapter } from '../files/writeAdapter.js';
import {
  type LoraPair,
  loraPairs,
  meantScale,
  rankOf,
  type SavedAdapter,
} from '../interop/savedAdapter.js';
import { lora } from '../methods/lora.js';
import { combinedFields } from './combineAdapters.js';
import { combineLayer, type LoraFactors, paddedFactor } from './combineLayer.js';
import { combinationShape, invalidCombination, planCombination } from './planCombination.js';
import { whyNoPairs } from './savedDeltas.js';

const WHERE = 'combineSavedAdapters';
const invalid = invalidCombination(WHERE);

const combineShape = {
  /** Adapters of one base. */
  adapters: z
    .array(
      z.strictObject({
        /** A folder with adapter_config.json and adapter_model.safetensors, or a Hub id. */
        adapter: z.string().min(1),
        /** What it counts; may be negative. */
        weight: z.number(),
        /** In the place of the common density. */
        density: z.number().optional(),
      }),
    )
    .readonly(),
  /** The folder to write. It is there whole in the end, or not at all. */
  outputDir: z.string().min(1).meta({ aka: 'out output outpath' }),
  ...combinationShape,
  /** Seed of the random masks of "dare_*". Default 0. */
  seed: z.int().min(0).default(0),
  /**
   * Written to the config, for adapters that name their base by several paths. Default: what they
   * all name.
   */
  baseModelNameOrPath: z.string().min(1).optional().meta({ aka: 'basemodel' }),
  /** Replaces an adapter that is there. Default false: it is an error. */
  overwrite: z.boolean().default(false).meta({ aka: 'force' }),
  /** How adapters that are no folders are found on the Hub. */
  hub: hubOptions.optional(),
};
const combineOptions = z.strictObject(combineShape);

/** Options of {@link combineSavedAdapters}. */
export type CombineSavedOptions = OptionsInput<typeof combineShape>;

/** What was written. */
export interface CombinedFolder {
  readonly outputDir: string;
  /** Rank of every layer. */
  readonly rank: number;
  /** Paths of the layers. */
  readonly layers: readonly string[];
}

/**
 * Combines saved LoRA adapters into one, without their base and without a device: the same numbers
 * as `addWeightedAdapter` on a model. Memory holds the new adapter and a layer of the others.
 *
 * @example await combineSavedAdapters({ adapters: [{ adapter: 'math', weight: 0.7 }, { adapter: 'code', weight: 0.3 }], combinationType: 'ties', density: 0.5, outputDir: 'both' });
 * @throws UNKNOWN_OPTION, INVALID_OPTION; PEFT_COMBINATION for other methods, and for what a
 *   difference of weights does not hold; PEFT_OTHER_BASE for adapters of several bases;
 *   PEFT_ADAPTER_EXISTS, PEFT_ADAPTER_MISSING, PEFT_ADAPTER_INCOMPLETE, SAFETENSORS_..., HUB_...
 */
export async function combineSavedAdapters(options: CombineSavedOptions): Promise<CombinedFolder> {
  const given = parseOptions(combineOptions, options, { where: WHERE });
  const { outputDir, overwrite } = given;
  if (!overwrite && (await exists(outputDir)))
    throw new AttuneError('PEFT_ADAPTER_EXISTS', `${WHERE}: ${outputDir} is there already.`, {
      remedy: 'Give another outputDir, or overwrite: true.',
    });
  await using opened = new OpenedAdapters();
  for (const { adapter } of given.adapters) await opened.add(adapter, given.hub ?? {});
  const { all } = opened;
  const plan = planCombination(
    {
      ...given,
      where: WHERE,
      weights: given.adapters.map(({ weight }) => weight),
      density: given.adapters.map(({ density }) => density ?? given.density),
    },
    all.map(({ pairs }) => Math.max(0, ...[...pairs.values()].map(rankOf))),
  );
  const base = given.baseModelNameOrPath ?? commonBase(all);
  const paths = [...new Set(all.flatMap(({ pairs }) => [...pairs.keys()]))].sort();
  const tensors = new Map<string, HostTensorData>();
  for (const path of paths) {
    checkShapes(path, all);
    const factors: LoraFactors[] = [];
    for (const [i, own] of all.entries()) {
      const pair = own.pairs.get(path);
      if (!pair) continue;
      const { weight } = given.adapters[i]!;
      factors.push({ ...(await own.read(pair)), weight, density: plan.densities[i]! });
    }
    const combined = combineLayer(factors, plan, path);
    const { isEmbedding } = all.find(({ pairs }) => pairs.has(path))!.pairs.get(path)!;
    for (const side of ['a', 'b'] as const) {
      const name = `${path}.${factorName(isEmbedding, side === 'a' ? 'A' : 'B')}`;
      tensors.set(name, paddedFactor(name, combined[side], plan.rank, side));
    }
  }
  const fields = combinedFields(all[0]!.config, plan.rank, paths);
  const saved = [...tensors].map(([name, { shape, data }]) => {
    const tensor = { data: async () => data };
    return [name, { shape, tensor }] as const;
  });
  const fanInFanOut = all.some(({ config }) => config.fanInFanOut === true);
  const config = { ...fields, baseModelNameOrPath: base, fanInFanOut };
  await writeAdapter(outputDir, lora, config, new Map(saved), { verify: true });
  return { outputDir, rank: plan.rank, layers: paths };
}

const factorName = (isEmbedding: boolean, side: 'A' | 'B'): string =>
  isEmbedding ? `lora_embedding_${side}` : `lora_${side}.weight`;

/** An adapter whose factors can be read. */
class OpenedAdapter {
  constructor(
    readonly label: string,
    readonly config: PeftConfig,
    readonly pairs: ReadonlyMap<string, LoraPair>,
    private readonly saved: SavedAdapter,
    private readonly file: SafetensorsFile,
  ) {}

  async read(pair: LoraPair): Promise<Pick<LoraFactors, 'a' | 'b' | 'scaling'>> {
    const [a, b] = [await this.#factor(pair, 'A'), await this.#factor(pair, 'B')];
    return { a, b, scaling: meantScale(this.saved, pair.path) };
  }

  async #factor({ path, isEmbedding }: LoraPair, side: 'A' | 'B'): Promise<algebra.OwnDense> {
    const plain = `${path}.${factorName(isEmbedding, side)}`;
    const name = this.file.has(plain) ? plain : `base_model.model.${plain}`;
    const { shape, dtype, data } = await this.file.read(name);
    const values = decode(data.buffer as ArrayBuffer, dtype, data.length);
    return { rows: shape[0]!, columns: shape[1]!, data: Float64Array.from(values) };
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

/** Copies of the base that PEFT writes beside an adapted embedding or head. */
const isBaseCopy = (name: string): boolean => /\.base_layer\.weight$/.test(name);

class OpenedAdapters implements AsyncDisposable {
  readonly all: OpenedAdapter[] = [];

  async add(adapter: string, hub: z.output<typeof hubOptions>): Promise<void> {
    const folder = await resolveAdapter(adapter, hub);
    const { path, fields } = await readAdapterConfig(folder);
    const file = await openWeights(folder);
    try {
      const names = file.names.filter((name) => !isBaseCopy(name));
      const saved = { fields, tensors: new Map(names.map((n) => [n, file.info(n).shape])) };
      const why = whyNoPairs(saved);
      if (why !== null)
        throw invalid(`${path}: the adapter ${why}`, 'Merge it into the base, and combine models.');
      const { pairs } = loraPairs(saved);
      const config = parsePeftConfig(lora, fields, { label: path, isFile: true, warn: () => {} });
      const byPath = new Map(pairs.map((pair) => [pair.path, pair]));
      this.all.push(new OpenedAdapter(adapter, config, byPath, saved, file));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const adapter of this.all) await adapter.close();
  }
}

const otherBase = (found: string, remedy: string): AttuneError =>
  new AttuneError('PEFT_OTHER_BASE', `${WHERE}: ${found}.`, { remedy });

/** The base that all of them name, by the last part of its path; null: none names any. */
function commonBase(all: readonly OpenedAdapter[]): string | null {
  const named = all.filter(({ config }) => config.baseModelNameOrPath !== null);
  const [first] = named;
  if (!first) return null;
  const nameOf = ({ config }: OpenedAdapter) => basename(config.baseModelNameOrPath!);
  const other = named.find((adapter) => nameOf(adapter) !== nameOf(first));
  if (!other) return first.config.baseModelNameOrPath;
  throw otherBase(
    `${first.label} names the base "${first.config.baseModelNameOrPath}", ${other.label} "${other.config.baseModelNameOrPath}"`,
    'Combine adapters of one base. If the two are the same model, say so by baseModelNameOrPath.',
  );
}

function checkShapes(path: string, all: readonly OpenedAdapter[]): void {
  const [first, ...others] = all.filter(({ pairs }) => pairs.has(path));
  const sizes = ({ pairs }: OpenedAdapter) => {
    const { a, b, isEmbedding } = pairs.get(path)!;
    return `[${b![0]}, ${a![1]}]${isEmbedding ? ' (an embedding)' : ''}`;
  };
  const other = others.find((adapter) => sizes(adapter) !== sizes(first!));
  if (other)
    throw otherBase(
      `"${path}" is ${sizes(first!)} for ${first!.label} and ${sizes(other)} for ${other.label}`,
      'Combine adapters of one base.',
    );
}
