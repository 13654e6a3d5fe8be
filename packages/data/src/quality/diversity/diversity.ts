import type { OptionsInput, PlainJson } from '@attune/core/util';
import { z } from 'zod';
import { hashesOf } from '../clusters/textVectors.js';
import { TopicClusters } from '../clusters/topicClusters.js';
import {
  defineQualityCheck,
  type QualityContext,
  type QualityJudge,
  type Verdict,
} from '../qualityCheck.js';
import type { QualityRow } from '../qualityRow.js';
import { NgramCounts } from './ngramCounts.js';

const diversityShape = {
  /**
   * Topic clusters that rows are sorted into by their prompts (their text where there is none).
   * Default: the square root of half the number of rows, from 1 to 64.
   */
  clusters: z.int().min(1).max(1024).optional().meta({ aka: 'numclusters nclusters k' }),
  /**
   * Rows that stay in each cluster: the first ones, in the order of the rows. Default: all of them;
   * the check then reports and drops nothing.
   */
  maxPerCluster: z.int().min(1).optional(),
  /** Seeds the clusters. Default: the seed of the pipeline. */
  seed: z.int().min(0).optional(),
};

/** Options of the check `diversity`. */
export type DiversityOptions = OptionsInput<typeof diversityShape>;

/**
 * How varied the rows are. Rows are clustered by the words of their prompts; the report gets the
 * clusters with their sizes and names, distinct-1 to distinct-3 and the entropy of n-grams of all
 * text, and quantiles of lengths. Rows are dropped only where `maxPerCluster` says so.
 *
 * Score: with `maxPerCluster` 0 for a row past it, else 1 without a finding. Without it always 1: a
 * crowded cluster is a fact about the set and no fault of a row. Reason: "crowded cluster".
 */
export const diversity = defineQualityCheck({
  name: 'diversity',
  options: z.strictObject(diversityShape),
  start: ({ clusters, maxPerCluster, seed }, context) =>
    new DiversityJudge(clusters ?? null, maxPerCluster ?? null, seed ?? context.seed, context),
});

const topicOf = ({ prompt, text }: QualityRow): string => prompt ?? text;

class DiversityJudge implements QualityJudge {
  readonly looks = 1;
  readonly #topics: TopicClusters;
  readonly #ngrams = [1, 2, 3].map((n) => new NgramCounts(n));
  readonly #characters = new Lengths();
  readonly #words = new Lengths();
  #sizes = new Uint32Array(0);
  #kept = new Uint32Array(0);

  constructor(
    clusters: number | null,
    private readonly maxPerCluster: number | null,
    seed: number,
    private readonly context: QualityContext,
  ) {
    this.#topics = new TopicClusters(seed, clusters);
  }

  look(row: QualityRow): void {
    this.#topics.add(topicOf(row));
    const words = hashesOf(row.text);
    for (const counts of this.#ngrams) counts.add(words);
    this.#characters.add(row.text.length);
    this.#words.add(words.length);
  }

  looked(): void {
    this.#topics.train();
    this.#sizes = new Uint32Array(this.#topics.length);
    this.#kept = new Uint32Array(this.#topics.length);
    if (this.maxPerCluster !== null && this.#topics.length === 0)
      this.context.warn('diversity: there are no rows to cluster.');
  }

  judge(rows: readonly QualityRow[]): Verdict[] {
    return rows.map((row) => {
      const { center: cluster } = this.#topics.of(topicOf(row));
      this.#sizes[cluster]!++;
      if (this.maxPerCluster !== null && this.#sizes[cluster]! > this.maxPerCluster)
        return {
          score: 0,
          reason: 'crowded cluster',
          detail: `row ${this.#sizes[cluster]} of "${this.#topics.nameOf(cluster)}"`,
        };
      this.#kept[cluster]!++;
      return { score: 1 };
    });
  }

  facts(): Readonly<Record<string, PlainJson>> {
    const clusters = [...this.#sizes]
      .map((rows, i) => ({ name: this.#topics.nameOf(i), rows, kept: this.#kept[i]! }))
      .filter(({ rows }) => rows > 0)
      .sort((a, b) => b.rows - a.rows || (a.name < b.name ? -1 : 1));
    const ngrams = this.#ngrams.flatMap((counts, i) => {
      const found = counts.summary();
      return found ? [{ n: i + 1, distinct: found.distinct, entropyBits: found.entropy }] : [];
    });
    return {
      clusters,
      ngrams,
      lengths: { characters: this.#characters.quantiles(), words: this.#words.quantiles() },
    };
  }
}

/** Lengths of all rows: four bytes each. */
class Lengths {
  #values = new Uint32Array(1024);
  #length = 0;

  add(value: number): void {
    if (this.#length === this.#values.length) {
      const larger = new Uint32Array(2 * this.#length);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#length++] = value;
  }

  quantiles(): Record<string, number> {
    if (this.#length === 0) return {};
    const sorted = this.#values.slice(0, this.#length).sort();
    const at = (q: number) => sorted[Math.min(this.#length - 1, Math.floor(q * this.#length))]!;
    return {
      min: at(0),
      p5: at(0.05),
      p25: at(0.25),
      p50: at(0.5),
      p75: at(0.75),
      p95: at(0.95),
      max: at(1),
    };
  }
}
