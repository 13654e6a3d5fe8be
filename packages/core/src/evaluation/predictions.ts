import type { ComputeDType } from '../backend/dtype.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { Tensor } from '../tensor/tensor.js';
import type { HostBatch, HostTensor } from '../training/batch.js';
import type { Objective } from '../training/objective.js';
import { upload } from '../training/upload.js';
import { AttuneError } from '../util/errors.js';

/** Numbers on the host, row-major. */
export interface EvalArray {
  readonly data: Float32Array | Int32Array;
  readonly shape: readonly number[];
}

/**
 * What `computeMetrics` gets: outputs and labels of all examples in their order, N of them along
 * the first axis; other axes are padded with -100 to the longest, as in Hugging Face's
 * EvalPrediction.
 *
 * For a language model `predictions[n, t]` is about token t + 1, and `labelIds[n, t]` is token t:
 * compare predictions[:, :-1] with labelIds[:, 1:]. The first token is never predicted, its label
 * is -100.
 */
export interface EvalPrediction {
  /** Logits [N, T, V], or what `preprocessLogitsForMetrics` made of them. */
  readonly predictions: EvalArray;
  /** [N, T] */
  readonly labelIds: EvalArray;
}

/** Metrics by name, e.g. `{ accuracy: 0.9 }`; they are logged as `evalAccuracy`. */
export type ComputeMetrics = (
  prediction: EvalPrediction,
) => Readonly<Record<string, number>> | Promise<Readonly<Record<string, number>>>;

/**
 * Makes less of the logits [B, T, V] before they leave the device, e.g.
 * `(logits) => ops.argmax(logits)`. Must not wait. @param labels int32 [B, T] or [B]
 */
export type PreprocessLogits = (logits: Tensor, labels: Tensor) => Tensor;

/** More elements than this in one array is a mistake rather than a wish: 4 GiB of float32. */
const MOST_ELEMENTS = 2 ** 30;
const PADDING = -100;

/** Keeps the outputs of an evaluation on the host, batch by batch. */
export class PredictionCollector {
  readonly #predictions: EvalArray[] = [];
  readonly #labelIds: EvalArray[] = [];
  #elements = 0;

  constructor(
    private readonly preprocess: PreprocessLogits | undefined,
    private readonly compute: ComputeDType,
  ) {}

  /** One batch: a forward pass and a wait for the device. @throws PREDICTIONS */
  async add(model: LanguageModel, objective: Objective, batch: HostBatch): Promise<void> {
    const { prediction } = objective;
    if (!prediction)
      throw new AttuneError(
        'PREDICTIONS',
        `objective "${objective.name}" does not say what it predicts.`,
        {
          remedy:
            'Leave computeMetrics and predict() out, or give the objective a `prediction` (docs/writing-an-objective.md).',
        },
      );
    const { engine } = model;
    const labels = prediction.labelIds(batch);
    const outputs = engine.scope('predict', () =>
      engine.noGrad(() => {
        const device = upload(engine, { ...batch, labelIds: labels });
        const logits = engine.withCompute(this.compute, () => prediction.outputs(model, device));
        return this.preprocess ? this.preprocess(logits, device.labelIds!) : logits;
      }),
    );
    this.#elements += outputs.size;
    if (this.#elements > MOST_ELEMENTS)
      throw new AttuneError(
        'PREDICTIONS',
        `the predictions have more than ${MOST_ELEMENTS} elements; the last batch alone is [${outputs.shape.join(', ')}].`,
        { remedy: 'Pass preprocessLogitsForMetrics: (logits) => ops.argmax(logits).' },
      );
    const { shape } = outputs;
    const data = await outputs.data();
    outputs.dispose();
    this.#predictions.push({ data: data as Float32Array | Int32Array, shape });
    this.#labelIds.push(labels as HostTensor & EvalArray);
  }

  all(): EvalPrediction {
    return { predictions: stack(this.#predictions), labelIds: stack(this.#labelIds) };
  }
}

/** Along the first axis; the other axes padded to the longest. */
function stack(parts: readonly EvalArray[]): EvalArray {
  const rank = parts[0]?.shape.length ?? 1;
  const inner = Array.from({ length: rank - 1 }, (_, i) =>
    parts.reduce((most, { shape }) => Math.max(most, shape[i + 1]!), 0),
  );
  const rows = parts.reduce((n, { shape }) => n + shape[0]!, 0);
  const size = inner.reduce((n, d) => n * d, rows);
  const isInteger = parts.every(({ data }) => data instanceof Int32Array);
  const out = isInteger ? new Int32Array(size) : new Float32Array(size);
  out.fill(PADDING);
  let row = 0;
  for (const { data, shape } of parts) {
    place(data, shape, out, [rows, ...inner], row);
    row += shape[0]!;
  }
  return { data: out, shape: [rows, ...inner] };
}

/** Copies `data` into `out` from row `first` of the first axis on: runs of the last axis. */
function place(
  data: Float32Array | Int32Array,
  shape: readonly number[],
  out: Float32Array | Int32Array,
  outShape: readonly number[],
  first: number,
): void {
  const width = shape.length > 1 ? shape.at(-1)! : 1;
  const runs = width === 0 ? 0 : data.length / width;
  const leading = shape.length > 1 ? shape.slice(0, -1) : shape;
  const outLeading = shape.length > 1 ? outShape.slice(0, -1) : outShape;
  const outWidth = shape.length > 1 ? outShape.at(-1)! : 1;
  for (let run = 0; run < runs; run++) {
    // The run's index along each leading axis, last axis fastest.
    let rest = run;
    let at = 0;
    let stride = 1;
    for (let axis = leading.length - 1; axis >= 0; axis--) {
      const index = (rest % leading[axis]!) + (axis === 0 ? first : 0);
      rest = Math.floor(rest / leading[axis]!);
      at += index * stride;
      stride *= outLeading[axis]!;
    }
    out.set(data.subarray(run * width, (run + 1) * width), at * outWidth);
  }
}
