import { equal } from '../../tensor/ops/elementwise.js';
import { argmax } from '../../tensor/ops/reduce.js';
import { formatShape, sameShape } from '../../tensor/shape.js';
import type { Tensor } from '../../tensor/tensor.js';
import { AttuneError } from '../../util/errors.js';
import { DecoderModel, type DecoderModelParts } from '../decoderModel.js';
import type { LanguageModel, ProblemType, ScoreInput, Scoring } from '../languageModel.js';

/** What `forward` and `scores` of a classifier read. */
export type ClassifierInput = ScoreInput;

/** What a {@link SequenceClassifier} is made of. */
export interface SequenceClassifierParts extends DecoderModelParts {
  readonly numLabels: number;
  /** null: 1 label is regression, more are classes. */
  readonly problemType: ProblemType | null;
}

/**
 * A decoder that scores whole sequences, [B, numLabels]: its `score` layer reads the last token of
 * each row.
 *
 * The last token is found by the mask or the length, never by its id. So a row that ends with the
 * id of padding is read at that token; transformers looks for the last id that is not
 * `pad_token_id`, and reads the one before.
 */
export class SequenceClassifier extends DecoderModel implements LanguageModel {
  readonly taskType = 'SEQ_CLS';
  readonly numLabels: number;
  readonly problemType: ProblemType;
  readonly headModules = ['score'];

  constructor(parts: SequenceClassifierParts) {
    super(parts);
    const { numLabels, problemType } = parts;
    this.numLabels = numLabels;
    this.problemType =
      problemType ?? (numLabels === 1 ? 'regression' : 'single_label_classification');
  }

  /**
   * Scores of each row, [B, numLabels].
   *
   * @throws CLASSIFY_PADDING for segments without a word on where the rows end; INPUT_SHAPE,
   *   SEQUENCE_TOO_LONG
   */
  override forward(input: ScoreInput): Tensor {
    const { attentionMask = null, lastTokens = null, ...rest } = input;
    if (rest.segments && !attentionMask && !lastTokens)
      throw new AttuneError(
        'CLASSIFY_PADDING',
        'segments say what is padding to attention, but not which segment the rows are.',
        { remedy: 'Pass attentionMask (1 for tokens, 0 for padding), or lastTokens.' },
      );
    const { inputIds } = input;
    if (attentionMask && !sameShape(attentionMask.shape, inputIds.shape))
      throw new AttuneError(
        'INPUT_SHAPE',
        `attentionMask is ${formatShape(attentionMask.shape)}, inputIds ${formatShape(inputIds.shape)}.`,
        { remedy: 'Give 1 or 0 for each id.' },
      );
    const hidden = this.hiddenStates({ ...rest, segments: rest.segments ?? attentionMask });
    return this.head(pool(hidden, lastTokens ?? (attentionMask && lastOf(attentionMask))));
  }

  get scoring(): Scoring {
    return { numLabels: this.numLabels, problemType: this.problemType };
  }

  /** The same as `forward`: every model that scores has it under this name. */
  scores(input: ScoreInput): Tensor {
    return this.forward(input);
  }
}

const range = (like: Tensor, length: number): Tensor =>
  like.engine.tensor(
    Int32Array.from({ length }, (_, t) => t),
    [1, length],
    'int32',
  );

/** int32 [B]: the last 1 of each row of a mask [B, T]. */
function lastOf(mask: Tensor): Tensor {
  const places = range(mask, mask.shape[1]!).cast('float32').add(1);
  return argmax(mask.cast('float32').mul(places));
}

/**
 * [B, T, hidden] -> [B, hidden] at the given tokens, or at the last. A product with 0 and 1: exact.
 */
function pool(hidden: Tensor, lastTokens: Tensor | null): Tensor {
  const [batch, length, width] = hidden.shape as [number, number, number];
  if (!lastTokens) return hidden.slice(1, length - 1, length).reshape(batch, width);
  const chosen = equal(lastTokens.reshape(batch, 1), range(hidden, length)); // [B, T]
  return chosen.unsqueeze(1).matmul(hidden).reshape(batch, width);
}
