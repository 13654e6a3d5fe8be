import type { ComputeDType } from '../backend/dtype.js';
import type { Communicator } from '../distributed/communicator.js';
import { gatherJson } from '../distributed/exchange.js';
import type { LanguageModel } from '../models/languageModel.js';
import { numel } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import type { HostBatch, HostTensor } from '../training/batch.js';
import type { Objective } from '../training/objective.js';
import { upload } from '../training/upload.js';
import { concatBytes } from '../util/byteArrays.js';
import { AttuneError } from '../util/errors.js';

/** Numbers on the host, row-major. */
export interface EvalArray {
  readonly data: Float32Array | Int32Array;
  readonly shape: readonly number[];
}

/**
 * What `computeMetrics` gets: outputs and labels of all N examples in their order, along the first
 * axis. Other axes are padded with -100 to the longest, as in Hugging Face's EvalPrediction.
 *
 * In a language model `predictions[n, t]` is about token t + 1, and `labelIds[n, t]` is token t. So
 * compare predictions[:, :-1] with labelIds[:, 1:]. The first token is never predicted; its label
 * is -100.
 */
export interface EvalPrediction {
  /** Logits [N, T, V], or what `preprocessLogitsForMetrics` made of them. */
  readonly predictions: EvalArray;
  /** [N, T] */
  readonly labelIds: EvalArray;
}

/** Computes metrics by name, e.g. `{ accuracy: 0.9 }`, which are logged as `evalAccuracy`. */
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

/** Outputs and labels of one batch. */
interface Collected extends EvalPrediction {
  /** Which batch it is. Each rank of several has a part of it. */
  readonly place: number;
}

/** Keeps the outputs of an evaluation on the host, batch by batch. */
export class PredictionCollector {
  #collected: Collected[] = [];
  #elements = 0;

  constructor(
    private readonly preprocess: PreprocessLogits | undefined,
    private readonly compute: ComputeDType,
  ) {}

  /**
   * One batch: a forward pass and a wait for the device.
   *
   * @param place which batch of the rows it is
   * @throws PREDICTIONS
   */
  async add(
    model: LanguageModel,
    objective: Objective,
    batch: HostBatch,
    place: number,
  ): Promise<void> {
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
    checkElements(this.#elements, outputs.shape);
    const { shape } = outputs;
    const data = (await outputs.data()) as EvalArray['data'];
    outputs.dispose();
    const labelIds = labels as HostTensor & EvalArray;
    this.#collected.push({ place, predictions: { data, shape }, labelIds });
  }

  /** What every rank has collected of its part of the rows, in the order of the rows. */
  async gather(communicator: Communicator): Promise<void> {
    const own = this.#collected;
    const places = await gatherJson(
      communicator,
      own.map(({ place }) => place),
    );
    const arraysOf = (name: keyof EvalPrediction) =>
      gatherArrays(
        communicator,
        own.map((one) => one[name]),
      );
    const predictions = await arraysOf('predictions');
    const labelIds = await arraysOf('labelIds');
    const collected = places.flatMap((of, rank) =>
      of.map((place, i) => ({
        place,
        predictions: predictions[rank]![i]!,
        labelIds: labelIds[rank]![i]!,
      })),
    );
    // The parts of one batch stay in the order of the ranks.
    this.#collected = collected.sort((a, b) => a.place - b.place);
  }

  all(): EvalPrediction {
    return {
      predictions: stack(this.#collected.map(({ predictions }) => predictions)),
      labelIds: stack(this.#collected.map(({ labelIds }) => labelIds)),
    };
  }
}

/** The arrays of each rank. @throws PREDICTIONS */
async function gatherArrays(
  communicator: Communicator,
  arrays: readonly EvalArray[],
): Promise<EvalArray[][]> {
  const facts = await gatherJson(
    communicator,
    arrays.map(({ data, shape }) => ({ shape, isInteger: data instanceof Int32Array })),
  );
  const shapes = facts.flat().map(({ shape }) => shape);
  checkElements(
    shapes.reduce((n, shape) => n + numel(shape), 0),
    shapes.at(-1) ?? [],
  );
  const bytes = await communicator.allGather(
    concatBytes(
      arrays.map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
    ),
  );
  return facts.map((of, rank) => {
    let end = 0;
    return of.map(({ shape, isInteger }) => {
      const start = end;
      end += 4 * numel(shape);
      const { buffer } = bytes[rank]!.slice(start, end); // a copy: at a multiple of 4 bytes
      return { data: isInteger ? new Int32Array(buffer) : new Float32Array(buffer), shape };
    });
  });
}

/** @throws PREDICTIONS */
function checkElements(count: number, last: readonly number[]): void {
  if (count > MOST_ELEMENTS)
    throw new AttuneError(
      'PREDICTIONS',
      `the predictions have more than ${MOST_ELEMENTS} elements; the last batch alone is [${last.join(', ')}].`,
      { remedy: 'Pass preprocessLogitsForMetrics: (logits) => ops.argmax(logits).' },
    );
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
