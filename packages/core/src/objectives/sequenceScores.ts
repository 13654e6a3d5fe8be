import { inference } from '../models/inference.js';
import { type LanguageModel, longestInput } from '../models/languageModel.js';
import { collateTokens } from '../text/collator.js';
import { upload } from '../training/upload.js';
import { AttuneError } from '../util/errors.js';

/**
 * Scores whole sequences with a model that has one score for each: a reward model, a regression.
 * One forward pass without gradients and dropout, read at the last token of each row, and one
 * read-back.
 *
 * @param rows token ids, one list for each sequence; all of them are one batch
 * @returns one score for each row, in their order; not finite where the model gives no number
 * @throws CLASSIFIER_NEEDED for a model without a single score; SCORE_ROW for a row that is empty,
 *   too long, or has ids outside of the vocabulary
 */
export async function sequenceScores(
  model: LanguageModel,
  rows: readonly (readonly number[])[],
): Promise<Float64Array> {
  const { engine, scoring } = model;
  if (!model.scores || scoring?.numLabels !== 1)
    throw new AttuneError(
      'CLASSIFIER_NEEDED',
      `the model has ${scoring ? `${scoring.numLabels} scores` : 'no score'} for a sequence; one is read.`,
      {
        remedy:
          'Load it with AutoModelForSequenceClassification.fromPretrained(folder, { attune, numLabels: 1 }).',
      },
    );
  if (rows.length === 0) return new Float64Array();
  checkRows(model, rows);
  const { inputIds, positions, segments } = collateTokens(
    rows.map((ids) => ({ inputIds: ids, labels: ids })),
    longestInput(model),
  );
  const lastTokens = {
    data: Int32Array.from(rows, (ids) => ids.length - 1),
    shape: [rows.length],
    dtype: 'int32',
  } as const;
  const scores = inference(model, () => {
    const batch = upload(engine, { inputIds, positions, segments, lastTokens }, model);
    const logits = model.scores!({
      inputIds: batch.inputIds!,
      positions: batch.positions!,
      segments: batch.segments!,
      lastTokens: batch.lastTokens!,
    }); // [B, 1]
    return engine.keep(logits.reshape(rows.length));
  });
  try {
    return Float64Array.from(await scores.data());
  } finally {
    scores.dispose();
  }
}

function checkRows(model: LanguageModel, rows: readonly (readonly number[])[]): void {
  const { vocabSize } = model.config;
  const longest = longestInput(model);
  const bad = (row: number, found: string, remedy: string) =>
    new AttuneError('SCORE_ROW', `sequenceScores: row ${row} has ${found}.`, { remedy });
  for (const [row, ids] of rows.entries()) {
    if (ids.length === 0) throw bad(row, 'no token', 'Leave out what has no text.');
    if (ids.length > longest)
      throw bad(
        row,
        `${ids.length} tokens; the model reads ${longest}`,
        'Shorten the text, or leave it out.',
      );
    const outside = ids.find((id) => !(id >= 0 && id < vocabSize));
    if (outside !== undefined)
      throw bad(
        row,
        `the token id ${outside}, outside of the model's vocabulary of ${vocabSize}`,
        'Take the tokenizer that belongs to the model.',
      );
  }
}
