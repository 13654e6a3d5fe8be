import { createHash } from 'node:crypto';
import { AttuneError } from '@attune/core';
import type { Engine } from '@attune/core/tensor';
import { formatJson } from '@attune/core/util';
import type { StageContext } from '../contract/dataStage.js';
import type { Embedder } from '../contract/embedder.js';
import { chosenEmbedder } from '../embedders/embedderChoice.js';
import { unitVectors } from '../embedders/unitVectors.js';
import { isModel } from '../models/modelChoice.js';
import { DeviceScreen, GROUP, type Screened } from './deviceScreen.js';
import { IntList } from './growing.js';
import { HyperplaneIndex } from './hyperplaneIndex.js';
import type { SemanticPlan } from './options.js';
import { BLOCK, Nearest, searchBlock, searchRange, VectorBlocks } from './vectorBlocks.js';
import type { Verdict } from './verdicts.js';

/** Rounding of the vectors: copies of a text have a cosine of 1 - 1e-7. */
const ROUNDING = 1e-6;
/** What products on a device may differ by. */
const DEVICE_ROUNDING = 1e-3;

/** Rows that are embedded and compared at once. */
export const SEMANTIC_BATCH = 256;

/** Judges rows by their vectors, batch after batch: which are copies of one that stays. */
export class SemanticJudge implements Disposable {
  index: HyperplaneIndex | null = null;
  #vectors: VectorBlocks | null = null;
  #screen: DeviceScreen | null = null;
  /** The row of each vector. */
  readonly #rows = new IntList();

  private constructor(
    readonly plan: SemanticPlan,
    private readonly context: StageContext,
    readonly embedder: Embedder,
    private readonly fingerprint: string,
    private readonly engine: Engine | null,
  ) {}

  static async of(plan: SemanticPlan, context: StageContext): Promise<SemanticJudge> {
    const embedder = await chosenEmbedder(plan.embedder, context, 'dedupe');
    const engine = isModel(plan.embedder) ? plan.embedder.engine : (context.attune?.engine ?? null);
    const fingerprint = formatJson(await embedder.fingerprint());
    return new SemanticJudge(plan, context, embedder, fingerprint, engine);
  }

  /** @returns null for a row that stays: later ones are compared with it */
  async judge(texts: readonly string[], rows: readonly number[]): Promise<(Verdict | null)[]> {
    const { data, dimension } = await this.#embedded(texts);
    this.#vectors ??= new VectorBlocks(dimension);
    const vectors = this.#vectors;
    if (vectors.dimension !== dimension)
      throw new AttuneError(
        'DATA_EMBEDDER',
        `the embedder ${JSON.stringify(this.embedder.name)} gave vectors of ${dimension} numbers after some of ${vectors.dimension}.`,
        { remedy: 'An embedder gives vectors of one length, whatever it is asked.' },
      );
    const nearest = new Nearest(texts.length);
    const screened = await this.#search(data, texts.length, nearest);
    const before = vectors.count;
    /** Which of the batch is the first vector, the second one, ... behind those before. */
    const stayed: number[] = [];
    return rows.map((row, i) => {
      const at = i * dimension;
      for (const [n, other] of stayed.entries())
        if (screened === null || screened.own[i * texts.length + other]! >= this.#leastOnDevice)
          nearest.offer(i, before + n, vectors.cosine(before + n, data, at));
      const cosine = nearest.cosine[i]!;
      if (cosine >= this.plan.threshold - ROUNDING) {
        const of = this.#rows.values[nearest.at[i]!]!;
        return { reason: 'semantic-duplicate', of, similarity: Math.min(1, cosine) };
      }
      this.#add(data, at, row);
      stayed.push(i);
      return null;
    });
  }

  /** Pairs that may reach the threshold, as far as the device can tell. */
  get #leastOnDevice(): number {
    return this.plan.threshold - DEVICE_ROUNDING;
  }

  #add(data: Float32Array, at: number, row: number): void {
    const vectors = this.#vectors!;
    vectors.add(data.subarray(at, at + vectors.dimension));
    this.#rows.push(row);
    this.index?.add(data, at);
  }

  /**
   * Finds the most similar vector of those before this batch, where one reaches the threshold.
   *
   * @returns what the device says; null where it was not asked
   */
  async #search(data: Float32Array, count: number, nearest: Nearest): Promise<Screened | null> {
    const vectors = this.#vectors!;
    if (this.index === null && vectors.count > this.plan.exactRows) this.#startIndex();
    if (this.index) {
      for (let i = 0; i < count; i++) this.index.search(data, i * vectors.dimension, i, nearest);
      return null;
    }
    if (this.engine === null) {
      vectors.blocks.forEach((_, block) => {
        searchBlock(vectors, block, data, nearest);
      });
      return null;
    }
    this.#screen ??= new DeviceScreen(this.engine, vectors);
    const screened = await this.#screen.screen(data);
    for (let i = 0; i < count; i++)
      for (let group = 0; group * GROUP < vectors.count; group++) {
        if (screened.groups[i * screened.count + group]! < this.#leastOnDevice) continue;
        const start = group * GROUP;
        const end = Math.min(start + GROUP, vectors.count);
        searchRange(vectors, [start, end], data, i, nearest);
      }
    return screened;
  }

  #startIndex(): void {
    const vectors = this.#vectors!;
    this.index = new HyperplaneIndex(vectors, this.plan.threshold, this.context.seed);
    for (let place = 0; place < vectors.count; place++)
      this.index.add(
        vectors.blocks[Math.floor(place / BLOCK)]!,
        (place % BLOCK) * vectors.dimension,
      );
    this.#screen?.[Symbol.dispose]();
    this.#screen = null;
  }

  /** Unit vectors: those that the cache has are taken. */
  async #embedded(texts: readonly string[]): Promise<{ data: Float32Array; dimension: number }> {
    const { cache, signal } = this.context;
    const keys = texts.map((text) => this.#key(text));
    const kept = await Promise.all(keys.map((key) => cache.get(key)));
    const left = texts.flatMap((_, i) => (typeof kept[i] === 'string' ? [] : [i]));
    const made = await unitVectors(
      left.map((i) => texts[i]!),
      this.embedder,
      { signal },
    );
    await Promise.all(
      left.map((i, n) =>
        cache.set(
          keys[i]!,
          toBase64(made.data.subarray(n * made.dimension, (n + 1) * made.dimension)),
        ),
      ),
    );
    const known = kept.map((value) => (typeof value === 'string' ? fromBase64(value) : null));
    const dimension = known.find((vector) => vector !== null)?.length ?? made.dimension;
    const data = new Float32Array(texts.length * dimension);
    for (const [i, vector] of known.entries()) if (vector) data.set(vector, i * dimension);
    for (const [n, i] of left.entries())
      data.set(made.data.subarray(n * dimension, (n + 1) * dimension), i * dimension);
    return { data, dimension };
  }

  #key(text: string): string {
    const digest = createHash('sha256').update(`${this.fingerprint} `).update(text);
    return `vector-${digest.digest('hex').slice(0, 40)}`;
  }

  [Symbol.dispose](): void {
    this.#screen?.[Symbol.dispose]();
  }
}

const toBase64 = (vector: Float32Array): string =>
  Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64');

function fromBase64(text: string): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(text, 'base64'));
  return new Float32Array(bytes.buffer);
}
