import { Rng } from '@attune/core/util';
import { Centers, type Nearest, sphericalKMeans } from './kMeans.js';
import { BUCKETS, countVector, type SparseVector, weighted, wordsIn } from './textVectors.js';

/** Texts that centers are found from; drawn evenly where there are more. */
const SAMPLE = 4096;
/** Clusters, at most, where no number is given. */
const MOST_CLUSTERS = 64;
/** Words that name a cluster. */
const NAME_WORDS = 4;

/**
 * Clusters of texts by their words: TF-IDF over hashed words, spherical k-means on a sample. It
 * sees all texts once, `train`s, and then says of any text in which cluster it is. Memory does not
 * grow with the number of texts. The same texts and seed give the same clusters.
 */
export class TopicClusters {
  readonly #rng: Rng;
  readonly #seen = new Uint32Array(BUCKETS);
  readonly #sample: SparseVector[] = [];
  readonly #sampleTexts: string[] = [];
  #length = 0;
  #weights: Float32Array = new Float32Array(0);
  #centers = new Centers(0);
  #names: string[] = [];

  /** @param clusters how many. null: the square root of half the texts, from 1 to 64 */
  constructor(
    seed: number,
    private readonly clusters: number | null,
  ) {
    this.#rng = new Rng(seed);
  }

  get length(): number {
    return this.#centers.k;
  }

  /** Words that a cluster has more than others: "python, list, function, sort". */
  nameOf(cluster: number): string {
    return this.#names[cluster] ?? '';
  }

  add(text: string): void {
    const vector = countVector(text);
    for (const bucket of vector.buckets) this.#seen[bucket]!++;
    // Algorithm R: every text has the same chance to be in the sample.
    const place = this.#length < SAMPLE ? this.#length : this.#rng.below(this.#length + 1);
    if (place < SAMPLE) {
      this.#sample[place] = vector;
      this.#sampleTexts[place] = text.slice(0, 1000);
    }
    this.#length++;
  }

  train(): void {
    // Smoothed as scikit-learn does: ln((1 + n) / (1 + df)) + 1.
    this.#weights = Float32Array.from(
      this.#seen,
      (seen) => Math.log((1 + this.#length) / (1 + seen)) + 1,
    );
    const vectors = this.#sample.map((vector) => weighted(vector, this.#weights));
    const k =
      this.clusters ??
      Math.max(1, Math.min(MOST_CLUSTERS, Math.round(Math.sqrt(this.#length / 2))));
    this.#centers = sphericalKMeans(vectors, k, this.#rng);
    this.#names = this.#nameAll(vectors);
    this.#sampleTexts.length = 0;
    this.#sample.length = 0;
  }

  /** The cluster of a text, and how near it is to its center. */
  of(text: string): Nearest {
    return this.#centers.nearest(weighted(countVector(text), this.#weights));
  }

  /** The words of each cluster with the largest lead over their share of all texts. */
  #nameAll(vectors: readonly SparseVector[]): string[] {
    const all = new Map<string, number>();
    const own = Array.from({ length: this.length }, () => new Map<string, number>());
    const sizes = new Uint32Array(this.length);
    vectors.forEach((vector, i) => {
      const { center: cluster } = this.#centers.nearest(vector);
      sizes[cluster]!++;
      for (const word of new Set(wordsIn(this.#sampleTexts[i]!))) {
        if (word.length < 2 && word < '\u2e80') continue;
        all.set(word, (all.get(word) ?? 0) + 1);
        own[cluster]!.set(word, (own[cluster]!.get(word) ?? 0) + 1);
      }
    });
    return own.map((words, cluster) =>
      [...words]
        .map(
          ([word, count]) =>
            [word, count / sizes[cluster]! - all.get(word)! / vectors.length] as const,
        )
        .sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))
        .slice(0, NAME_WORDS)
        .map(([word]) => word)
        .join(', '),
    );
  }
}
