import type { OptionsInput, PlainJson } from '@attune/core/util';
import { z } from 'zod';
import { TopicClusters } from '../clusters/topicClusters.js';
import {
  defineQualityCheck,
  FAULTLESS,
  type QualityJudge,
  type Verdict,
  worstOf,
} from '../qualityCheck.js';
import type { QualityRow } from '../qualityRow.js';
import { type AnswerStyle, answerStyle, isAskedFor, STYLE_SIDES } from './answerStyle.js';

const consistencyShape = {
  /**
   * Rows of a cluster, at least, for it to have a style. Default 30.
   */
  minRows: z.int().min(2).default(30),
  /**
   * The share of a cluster that has to agree for the others to be odd. From 0.5 to 1. Default 0.95.
   */
  agreement: z.number().min(0.5).max(1).default(0.95),
  /**
   * Clusters of questions. Default: the square root of half the number of rows, from 1 to 64.
   */
  clusters: z.int().min(1).max(1024).optional().meta({ aka: 'numclusters nclusters k' }),
  /** Seeds the clusters. Default: the seed of the pipeline. */
  seed: z.int().min(0).optional(),
};

/** Options of the check `consistency`. */
export type ConsistencyOptions = OptionsInput<typeof consistencyShape>;

type Rules = z.output<z.ZodObject<typeof consistencyShape>>;

/**
 * Whether answers to one kind of question are written in one way. Questions are clustered by their
 * words; where nearly all answers of a cluster agree in a side of their style, the few others are
 * odd, unless the question asks for it ("as JSON"). Sides: the format (JSON, XML, a code block, a
 * table, a number, text), the tag that marks the result ("#### 42", \boxed, <answer>, "Answer:"),
 * the script.
 *
 * Score: the share of the cluster that is written as this answer is, by the share of the style that
 * leads, where that one has the agreement; the lowest of the sides; else 1. Reasons: "odd format",
 * "odd answer tag", "odd script".
 */
export const consistency = defineQualityCheck({
  name: 'consistency',
  options: z.strictObject(consistencyShape),
  start: (rules, { seed }) => new ConsistencyJudge(rules, rules.seed ?? seed),
});

const REASONS: Readonly<Record<keyof AnswerStyle, string>> = {
  format: 'odd format',
  tag: 'odd answer tag',
  script: 'odd script',
};

/** Questions that are less near to their center than this share of the mean are not judged. */
const RIM = 0.75;

/** How often each style is found in a cluster, side by side. */
type Tally = Readonly<Record<keyof AnswerStyle, Map<string, number>>> & {
  rows: number;
  /** The sum of the cosines of the questions with their center. */
  cosines: number;
};

class ConsistencyJudge implements QualityJudge {
  /** To find the clusters, and to count the styles in each. */
  readonly looks = 2;
  readonly #clusters: TopicClusters;
  #tallies: Tally[] = [];

  constructor(
    private readonly rules: Rules,
    seed: number,
  ) {
    this.#clusters = new TopicClusters(seed, rules.clusters ?? null);
  }

  look({ prompt, answer }: QualityRow, _index: number, look: number): void {
    if (prompt === null || answer === null) return;
    if (look === 0) this.#clusters.add(prompt);
    else {
      const { center, cosine } = this.#clusters.of(prompt);
      const tally = this.#tallies[center]!;
      tally.rows++;
      tally.cosines += cosine;
      const style = answerStyle(answer);
      for (const side of STYLE_SIDES)
        tally[side].set(style[side], (tally[side].get(style[side]) ?? 0) + 1);
    }
  }

  looked(look: number): void {
    if (look > 0) return;
    this.#clusters.train();
    this.#tallies = Array.from({ length: this.#clusters.length }, () => ({
      format: new Map(),
      tag: new Map(),
      script: new Map(),
      rows: 0,
      cosines: 0,
    }));
  }

  judge(rows: readonly QualityRow[]): Verdict[] {
    return rows.map(({ prompt, answer }) => {
      if (prompt === null || answer === null) return FAULTLESS;
      const { center, cosine } = this.#clusters.of(prompt);
      const { rows: size, cosines } = this.#tallies[center]!;
      // A question at the rim of its cluster may be of another kind.
      if (cosine < (RIM * cosines) / size) return FAULTLESS;
      const style = answerStyle(answer);
      const verdicts = STYLE_SIDES.map((side) => {
        const verdict = this.#verdict(center, side, style[side]);
        return verdict.score < 1 && isAskedFor(side, style[side], prompt) ? FAULTLESS : verdict;
      });
      return worstOf(verdicts);
    });
  }

  #verdict(cluster: number, side: keyof AnswerStyle, own: string): Verdict {
    const { rows, [side]: counts } = this.#tallies[cluster]!;
    if (rows < this.rules.minRows) return FAULTLESS;
    const [leading, most] = leader(counts);
    if (own === leading || most < this.rules.agreement * rows) return FAULTLESS;
    return {
      score: counts.get(own)! / most,
      reason: REASONS[side],
      detail: `${describe(side, own)}, where ${most} of ${rows} are ${describe(side, leading)}, in the cluster "${this.#clusters.nameOf(cluster)}"`,
    };
  }

  facts(): Readonly<Record<string, PlainJson>> {
    const styles = this.#tallies.map((tally, i) => ({
      cluster: this.#clusters.nameOf(i),
      rows: tally.rows,
      ...Object.fromEntries(
        STYLE_SIDES.map((side) => [side, Object.fromEntries(tally[side])] as const),
      ),
    }));
    return { answerStyles: styles.filter(({ rows }) => rows > 0) };
  }
}

const leader = (counts: ReadonlyMap<string, number>): readonly [style: string, rows: number] =>
  [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best), ['', 0]);

const describe = (side: keyof AnswerStyle, style: string): string =>
  side === 'tag' ? (style === 'none' ? 'without a tag' : `tagged ${style}`) : style;
