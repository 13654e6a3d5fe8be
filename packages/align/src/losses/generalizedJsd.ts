import { type LanguageModel, ops, type Tensor } from '@attune/core';
import { chunkRows } from '@attune/core/tensor';

/** Which divergence, and of which distributions. */
export interface GeneralizedJsdOptions {
  /**
   * 0: forward KL(teacher || student). 1: reverse KL(student || teacher). Between: the divergence
   * of both to their mixture (1 - beta) student + beta teacher. Default 1, that of TRL's
   * DistillationTrainer.
   */
  readonly beta?: number;
  /** Divides the logits of both. Default 1. */
  readonly temperature?: number;
}

/**
 * Generalised Jensen-Shannon divergence of each row of logits, nats: [N]. With s and t the softmax
 * of the student's and the teacher's logits over the temperature and m = (1 - beta) s + beta t, it
 * is beta KL(t || m) + (1 - beta) KL(s || m). At 0 and 1, where that is 0, it is KL(t || s) and
 * KL(s || t). Differentiable to the student's logits alone.
 *
 * @param student float32 [N, V]
 * @param teacher float32 [N, V]
 * @see arXiv 2306.13649, equation 1; TRL's `GKDTrainer.generalized_jsd_loss`
 */
export function generalizedJsd(
  student: Tensor,
  teacher: Tensor,
  { beta = 1, temperature = 1 }: GeneralizedJsdOptions = {},
): Tensor {
  const { engine } = student;
  const s = logProbs(student, temperature);
  const t = engine.noGrad(() => logProbs(teacher, temperature));
  if (beta === 0) return divergence(t, s);
  if (beta === 1) return divergence(s, t);
  const own = s.add(Math.log1p(-beta));
  // log(e^a + e^b) = a - log sigmoid(a - b)
  const mixture = own.sub(own.sub(t.add(Math.log(beta))).logSigmoid());
  return divergence(t, mixture)
    .mul(beta)
    .add(divergence(s, mixture).mul(1 - beta));
}

const logProbs = (logits: Tensor, temperature: number): Tensor =>
  (temperature === 1 ? logits : logits.mul(1 / temperature)).logSoftmax();

/** KL(p || q) of log-probabilities, [N, V] each: [N]. */
const divergence = (logP: Tensor, logQ: Tensor): Tensor => logP.exp().mul(logP.sub(logQ)).sum(-1);

/** Hidden states that a head makes logits of. */
export interface HeadRows {
  /** Hidden states [R, D]; the teacher's D may be another one. */
  readonly rows: Tensor;
  /** Records hidden states [C, D] -> logits [C, V]. */
  readonly head: LanguageModel['head'];
}

/** What {@link headJsd} gives, each [R]; 0 where nothing is asked. */
export interface RowDivergences {
  readonly losses: Tensor;
  /** Entropy of the student's distribution at that temperature, nats. Not differentiable. */
  readonly entropy: Tensor;
}

/** Rows of a chunk at least: they start where WebGPU can bind. */
const FEWEST_ROWS = 64;
/** So many tensors [C, V] exist at once in the backward pass of a chunk, roughly. */
const TENSORS_OF_CHUNK = 16;

/**
 * {@link generalizedJsd} of hidden states. Logits exist for a few rows at a time, those of the
 * student and of the teacher: the backward pass computes them again. [R, V] never exists.
 *
 * @param targets int32 [R]; rows where it is negative are 0
 * @param vocabSize V
 */
export function headJsd(
  student: HeadRows,
  teacher: HeadRows,
  targets: Tensor,
  { vocabSize, ...options }: GeneralizedJsdOptions & { readonly vocabSize: number },
): RowDivergences {
  const { engine } = targets;
  const { temperature = 1 } = options;
  const count = targets.size;
  const size = Math.max(
    FEWEST_ROWS,
    chunkRows(
      Math.ceil(count / TENSORS_OF_CHUNK),
      TENSORS_OF_CHUNK * vocabSize,
      engine.bindingBytes,
    ),
  );
  const chunks: Tensor[] = [];
  for (let first = 0; first < count; first += size) {
    const end = Math.min(first + size, count);
    const own = [student.rows, teacher.rows, targets].map((rows) => rows.slice(0, first, end));
    chunks.push(
      engine.checkpoint(own, ([hidden, seen, labels]) => {
        const logits = student.head(hidden!); // [C, V]
        const losses = generalizedJsd(logits, teacher.head(seen!), options);
        const entropy = engine.noGrad(() => {
          const cooled = temperature === 1 ? logits : logits.mul(1 / temperature);
          return ops.rowStatistics(cooled, labels!).slice(1, 0, 1);
        });
        const asked = ops.greater(labels!.cast('float32'), engine.full([], -0.5));
        return ops.concat([losses.mul(asked).unsqueeze(1), entropy], 1); // [C, 2]
      }),
    );
  }
  const found = ops.concat(chunks, 0); // [R, 2]
  return {
    losses: found.slice(1, 0, 1).reshape(count),
    entropy: found.detach().slice(1, 1, 2).reshape(count),
  };
}
