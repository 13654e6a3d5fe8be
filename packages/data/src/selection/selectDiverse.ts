import type { Row } from '@attune/core';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import type { DataRow } from '../contract/dataRow.js';
import { defineDataStage, type HeldRows, type StageContext } from '../contract/dataStage.js';
import { cachedEmbedder } from '../embedders/cachedEmbedder.js';
import {
  chosenEmbedder,
  type EmbedderChoice,
  embedderChoice,
  embedderFingerprint,
} from '../embedders/embedderChoice.js';
import { unitVectors } from '../embedders/unitVectors.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import { rowText } from '../schemas/rowText.js';
import { type TextOf, textOf } from '../schemas/textOf.js';
import { type Filtered, kCenter, reprFilter } from './kCenter.js';
import { ScoreList, scoredRows } from './scoredRows.js';
import { tfIdf } from './tfIdf.js';
import { DenseVectors, type VectorSet } from './vectorSet.js';

/** Vectors of the words, without a model. */
const TF_IDF = 'tf-idf';

const diverseShape = {
  /** Rows that stay, if there are as many. */
  count: z.int().min(0).optional().meta({ aka: 'k n budget datasize limit' }),
  /** Share of the rows that stay, in the place of `count`: floor(n * ratio). */
  ratio: z.number().min(0).max(1).optional().meta({ aka: 'fraction rate percent' }),
  /**
   * The column with the score of a row, or several, whose product it is: ['complexity', 'quality'].
   * Default: no score; the first row comes first.
   */
  by: z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .optional()
    .meta({ aka: 'column score key sortkey' }),
  /**
   * 'k-center': the best row, then always the one that is farthest from those that are chosen.
   * 'repr-filter': rows from the best score on, each unless one that is chosen is nearer than
   * `threshold`. Default 'k-center'.
   */
  method: z.enum(['k-center', 'repr-filter']).default('k-center'),
  /**
   * The least cosine distance, 1 - cos, of a row to each one that is chosen, for 'repr-filter'.
   * Default 0.1, a cosine of 0.9, as in DEITA.
   */
  threshold: z.number().min(0).max(2).optional().meta({ aka: 'mindistance distance' }),
  /**
   * What makes vectors of texts: an embedder, a model (the mean of its hidden states), or 'tf-idf':
   * the words, without a model. Default 'tf-idf'.
   */
  embedder: z
    .union([z.literal(TF_IDF), embedderChoice])
    .default(TF_IDF)
    .meta({ aka: 'model embeddings embeddingmodel' }),
  /** What of a row is compared. Default: all of its text. */
  text: z
    .custom<(row: Row) => string>((value) => typeof value === 'function', 'expected a function')
    .default(() => rowText),
};

/** What the report of `selectDiverse` has beside its counts. */
export type SelectDiverseReport = {
  /** How, and how many of how many rows with a score were chosen. */
  readonly selectDiverse: {
    readonly method: 'k-center' | 'repr-filter';
    readonly of: number;
    readonly chosen: number;
  };
};

/** Options of {@link selectDiverse}. */
export type SelectDiverseOptions = OptionsInput<typeof diverseShape>;

/** Leaves rows that are unlike each other. See {@link selectDiverse}. */
export const selectDiverseStage = defineDataStage({
  name: 'selectDiverse',
  options: z
    .strictObject(diverseShape)
    .refine(({ count, ratio }) => (count === undefined) !== (ratio === undefined), {
      message: 'give count or ratio, one of the two',
      path: ['count'],
    })
    .refine(({ method, threshold }) => threshold === undefined || method === 'repr-filter', {
      message: 'threshold belongs to the method "repr-filter"',
      path: ['threshold'],
    }),
  isCostly: true,
  fingerprint: async ({ embedder, text }) => ({
    embedder: embedder === TF_IDF ? TF_IDF : await embedderFingerprint(embedder),
    text: String(text),
  }),
  async *run(
    rows,
    { count, ratio, by = [], method, threshold = 0.1, embedder, text: given },
    context,
  ) {
    const text = textOf(given, 'selectDiverse');
    const columns = typeof by === 'string' ? [by] : by;
    const scores = new ScoreList();
    const scored = async function* (): AsyncGenerator<DataRow> {
      for await (const { item, score } of scoredRows(rows, columns, context, 'selectDiverse')) {
        if (text(item).trim() === '') {
          context.drop(item, 'no text');
          continue;
        }
        scores.push(score);
        yield item;
      }
    };
    await using held = await context.hold(scored());
    const most = Math.min(held.length, count ?? Math.floor(held.length * ratio!));
    const vectors = await vectorsOf(held, { embedder, text }, context);
    const choice = {
      count: most,
      scores: scores.values,
      onChosen: (done: number) => {
        if (done % 256 === 0) context.signal?.throwIfAborted();
        context.progress(done, most);
      },
    };
    const { chosen, tooNear }: Filtered =
      method === 'k-center'
        ? { chosen: kCenter(vectors, choice), tooNear: new Int32Array(held.length).fill(-1) }
        : reprFilter(vectors, choice, threshold);
    const report = { method, of: held.length, chosen: chosen.length };
    context.fact('selectDiverse', report satisfies SelectDiverseReport['selectDiverse']);
    const isChosen = new Uint8Array(held.length);
    for (const place of chosen) isChosen[place] = 1;
    let place = 0;
    for await (const item of held) {
      const other = tooNear[place]!;
      if (isChosen[place]) yield item;
      else if (other < 0) context.drop(item, 'over budget');
      else
        context.drop(
          item,
          'too near',
          `cosine distance ${vectors.distance(other, place).toFixed(4)} to row ${other} of the stage`,
        );
      place++;
    }
  },
});

/**
 * Leaves rows that are unlike each other, within a budget, in the order in which they came.
 *
 * 'k-center' spreads them over all that there is, outliers first: coverage. 'repr-filter' takes the
 * best scores but for those that repeat a better one: DEITA's choice (Liu et al. 2024,
 * https://arxiv.org/abs/2312.15685) with `by: ['complexity', 'quality']`. Both look at n k
 * distances at most. Memory holds the vectors; the rows wait in a file.
 *
 * Rows are dropped as 'no score', 'no text', 'too near' and 'over budget'. Vectors of an embedder
 * are kept in the cache of the stage by text.
 *
 * @example
 * await selectDiverse(rows, { by: 'ifd', count: 1000, method: 'repr-filter', threshold: 0.3 });
 * @throws DATA_COLUMN, DATA_EMBEDDER, DATA_MODEL, DATA_TEXT
 */
export const selectDiverse = stageFunction<SelectDiverseOptions, SelectDiverseReport>(
  selectDiverseStage,
);

interface TextVectors {
  readonly embedder: typeof TF_IDF | EmbedderChoice;
  readonly text: TextOf;
}

async function vectorsOf(
  held: HeldRows,
  { embedder, text }: TextVectors,
  context: StageContext,
): Promise<VectorSet> {
  const texts = async function* (): AsyncGenerator<string> {
    for await (const item of held) yield text(item);
  };
  if (embedder === TF_IDF) return tfIdf(texts());
  const chosen = await chosenEmbedder(embedder, context, 'selectDiverse');
  const { data, count, dimension } = await unitVectors(
    texts(),
    cachedEmbedder(chosen, context.cache),
    { signal: context.signal, onProgress: (done) => context.progress(done, held.length) },
  );
  return new DenseVectors(data, count, dimension);
}
