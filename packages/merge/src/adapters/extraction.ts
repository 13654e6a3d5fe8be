import { join } from 'node:path';
import { AttuneError } from '@attune/core';
import { encode } from '@attune/core/backend';
import { type TensorToWrite, writeFileAtomic, writeSafetensors } from '@attune/core/io';
import { algebra } from '@attune/core/tensor';
import type { OpenedModel } from '../inputs/openModel.js';
import { isEmbedding } from '../plan/tensorNames.js';
import { formatAdapterConfig } from './adapterConfig.js';
import type { ExtractedLayer, LeftOut } from './extractedAdapter.js';
import type { FactorStore, StoredFactors } from './factorStore.js';
import type { ModelWeights } from './modelWeights.js';
import { moduleOf, type Place, pathsOrNames, type TensorKind } from './targets.js';
import type { TensorPair } from './tensorPairs.js';

/** What an extraction reads, and where it keeps factors. */
export interface ExtractionParts {
  readonly before: ModelWeights;
  readonly after: ModelWeights;
  readonly store: FactorStore;
  /** What messages call the tuned model. */
  readonly tuned: string;
}

/** How the differences are written. */
export interface ExtractionChoice {
  readonly rank: algebra.RankChoice;
  readonly uniform: boolean;
  readonly dtype: 'float32' | 'bfloat16' | 'float16';
}

interface Extracted extends ExtractedLayer {
  readonly pair: TensorPair;
  readonly kind: TensorKind;
  readonly factors: StoredFactors;
}

/** Differences, tensor by tensor: factored, saved whole or left out. */
export class Extraction {
  #layers: Extracted[] = [];
  readonly #wholeModules = new Set<string>();
  readonly #leftOut: LeftOut[] = [];

  constructor(
    private readonly choice: ExtractionChoice,
    private readonly parts: ExtractionParts,
  ) {}

  get layers(): readonly ExtractedLayer[] {
    return this.#layers.map(({ path, rank, energy, norm }) => ({ path, rank, energy, norm }));
  }

  /** The largest first. */
  get leftOut(): readonly LeftOut[] {
    return [...this.#leftOut].sort((a, b) => b.norm - a.norm);
  }

  get wholeModules(): ReadonlySet<string> {
    return this.#wholeModules;
  }

  async take(pair: TensorPair, kind: TensorKind, place: Place): Promise<void> {
    const difference = await this.#difference(pair);
    const norm = algebra.frobeniusNorm({ rows: 1, columns: difference.length, data: difference });
    if (!Number.isFinite(norm)) throw this.#nonFinite(pair, difference);
    if (norm === 0) return;
    const { name } = pair;
    if (place === 'left') this.#leftOut.push({ name, norm });
    else if (place === 'whole') this.#wholeModules.add(moduleOf(name));
    else this.#layers.push(await this.#factored(pair, kind, difference, this.choice.rank));
  }

  /**
   * A tied embedding that is saved whole is saved as the head, too: PEFT copies the one module and
   * would leave the other as it was.
   *
   * @returns the tensors with the head among them
   */
  untie(pairs: readonly TensorPair[]): readonly TensorPair[] {
    const table = pairs.find(({ name }) => isEmbedding(name));
    if (!table || !this.#wholeModules.has(moduleOf(table.name))) return pairs;
    const head = table.name.endsWith('embed_in.weight') ? 'embed_out' : 'lm_head';
    this.#wholeModules.add(head);
    return [...pairs, { ...table, name: `${head}.weight` }];
  }

  /** All layers with the largest rank of them. */
  async level(): Promise<void> {
    const rank = this.rank;
    const level: Extracted[] = [];
    for (const layer of this.#layers) {
      const { pair, kind } = layer;
      const hasMore = layer.rank < rank && layer.rank < Math.min(...pair.shape);
      level.push(
        hasMore ? await this.#factored(pair, kind, await this.#difference(pair), { rank }) : layer,
      );
    }
    this.#layers = level;
  }

  /** The largest rank of a layer. */
  get rank(): number {
    return Math.max(1, ...this.#layers.map(({ rank }) => rank));
  }

  async #difference({ before, after }: TensorPair): Promise<Float32Array> {
    const [mine, theirs] = [
      await this.parts.before.read(before),
      await this.parts.after.read(after),
    ];
    const difference = theirs instanceof Float32Array ? theirs : Float32Array.from(theirs);
    for (let i = 0; i < difference.length; i++) difference[i] = difference[i]! - mine[i]!;
    return difference;
  }

  async #factored(
    pair: TensorPair,
    kind: TensorKind,
    data: Float32Array,
    choice: algebra.RankChoice,
  ): Promise<Extracted> {
    const [rows, columns] = pair.shape as [number, number];
    const { a, b, energy, norm } = algebra.extractFactors({ rows, columns, data }, choice);
    const isTurned = kind === 'conv1d' || kind === 'embedding';
    const low = isTurned ? { a: algebra.transposed(b), b: algebra.transposed(a) } : { a, b };
    const path = moduleOf(pair.name);
    const factors = await this.parts.store.add(path, low);
    return { path, rank: a.rows, energy, norm, pair, kind, factors };
  }

  #nonFinite({ after }: TensorPair, difference: Float32Array): AttuneError {
    const at = difference.findIndex((value) => !Number.isFinite(value));
    return new AttuneError(
      'MERGE_NON_FINITE',
      `${this.parts.tuned}: the difference of "${after}" is ${difference[at]} at element ${at}.`,
      { remedy: 'One of the two checkpoints is broken there, or the training diverged.' },
    );
  }

  /** Writes the two files of an adapter. */
  async write(
    folder: string,
    base: { readonly name: string; readonly model: OpenedModel },
    pairs: readonly TensorPair[],
  ): Promise<void> {
    const { dtype, uniform } = this.choice;
    const all = pairs.map(({ name }) => moduleOf(name));
    const rank = this.rank;
    const isOne = 'rank' in this.choice.rank || uniform;
    const rankOf = (layer: Extracted) => (isOne ? rank : layer.rank);
    const tensors = [
      ...this.#layers.flatMap((layer) => this.#tensorsOf(layer, rankOf(layer))),
      ...pairs
        .filter(({ name }) => this.#wholeModules.has(moduleOf(name)))
        .map(
          ({ name, after, shape }): TensorToWrite => ({
            name: `base_model.model.${name}`,
            dtype,
            shape,
            data: async () => encode(await this.parts.after.read(after), dtype),
          }),
        ),
    ];
    await writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors);
    const others = this.#layers.filter((layer) => rankOf(layer) !== rank);
    const config = formatAdapterConfig({
      baseModel: base.name,
      config: base.model.files.config,
      rank,
      rankPattern: Object.fromEntries(others.map((layer) => [layer.path, layer.rank])),
      targetModules: pathsOrNames(
        this.#layers.map(({ path }) => path),
        all,
        'dot',
      ),
      modulesToSave: pathsOrNames([...this.#wholeModules], all, 'anywhere'),
      isConv1d: this.#layers.some(({ kind }) => kind === 'conv1d'),
    });
    await writeFileAtomic(join(folder, 'adapter_config.json'), config);
  }

  #tensorsOf({ path, kind, factors }: Extracted, rank: number): TensorToWrite[] {
    const { dtype } = this.choice;
    const { store } = this.parts;
    const { inFeatures, outFeatures } = factors;
    const nameOf = (side: 'A' | 'B') =>
      `base_model.model.${path}.${kind === 'embedding' ? `lora_embedding_${side}` : `lora_${side}.weight`}`;
    return [
      {
        name: nameOf('A'),
        dtype,
        shape: [rank, inFeatures],
        data: async () => encode(await store.readA(factors, rank), dtype),
      },
      {
        name: nameOf('B'),
        dtype,
        shape: [outFeatures, rank],
        data: async () => encode(await store.readB(factors, rank), dtype),
      },
    ];
  }
}
