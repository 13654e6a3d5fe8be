import { AttuneError, ops, type Tensor } from '@attune/core';
import { algebra } from '@attune/core/tensor';
import type { AdapterContext, LayerInfo } from '../../contract/layerInfo.js';
import type { ParamSpecs } from '../../contract/paramSpec.js';

/**
 * Starts of A and B that take a part of the base's weight over: y = (W - s B0 A0) x + s B A x, with
 * A = A0 and B = B0 in the beginning, so that step 0 is the base model.
 *
 * PEFT writes the residual W - s B0 A0 into the base. Here A0 and B0 are kept, frozen, beside A and
 * B: the base stays what it is, with the adapter off, for other adapters and in 4 bits too.
 */
const names = /^(pissa(_niter_(?<passes>\d+))?|olora)$/;

export type StartFromBase = 'pissa' | `pissa_niter_${number}` | 'olora';

export const startsFromBase = (init: unknown): init is StartFromBase =>
  typeof init === 'string' && names.test(init);

/**
 * PiSSA: s B0 A0 is the nearest matrix of rank r, B0 = U sqrt(S / s), A0 = sqrt(S / s) V^T. `pissa`
 * is exact, as in PEFT, which takes the same part out of the base again when it loads the file;
 * `pissa_niter_k` takes k passes of subspace iteration for weights of more than 256 rows and
 * columns. OLoRA: B0 = Q and A0 = R, the first r columns and rows of W = Q R.
 *
 * @param weight [out, in]
 * @see arXiv:2404.02948 (Meng et al.), arXiv:2406.01775 (Büyükakyüz)
 */
export function firstFactors(
  init: string,
  rank: number,
  scale: number,
  weight: algebra.Dense,
): algebra.LowRank {
  const { rows, columns, data } = weight;
  if (init === 'olora') {
    const first = Float64Array.from(
      { length: rows * rank },
      (_, i) => data[Math.floor(i / rank) * columns + (i % rank)]!,
    );
    const q = algebra.orthonormalColumns({ rows, columns: rank, data: first });
    return { b: q, a: algebra.product(algebra.transposed(q), weight) };
  }
  const passes = names.exec(init)?.groups?.passes;
  const { a, b } =
    passes === undefined
      ? algebra.exactTruncatedSvd(weight, rank)
      : algebra.truncatedSvd(weight, rank, Number(passes));
  for (let i = 0; i < rank; i++) {
    let squares = 0;
    for (let row = 0; row < rows; row++) squares += b.data[row * rank + i]! ** 2;
    const singular = Math.sqrt(squares);
    const root = Math.sqrt(singular / scale);
    for (let j = 0; j < columns; j++) a.data[i * columns + j]! *= root;
    const share = singular > 0 ? 1 / Math.sqrt(singular * scale) : 0;
    for (let row = 0; row < rows; row++) b.data[row * rank + i]! *= share;
  }
  return { a, b };
}

export async function firstValues(
  init: string,
  rank: number,
  scale: number,
  weight: () => Promise<algebra.Dense>,
): Promise<Readonly<Record<string, algebra.Dense>>> {
  const { a, b } = firstFactors(init, rank, scale, await weight());
  return { A: a, B: b, startA: a, startB: b };
}

/** A0 [r, in] and B0 [out, r]. @throws PEFT_RANK */
export function startSpecs({ path, inFeatures, outFeatures }: LayerInfo, init: string, r: number) {
  if (r > Math.min(inFeatures, outFeatures))
    throw new AttuneError(
      'PEFT_RANK',
      `"${init}" takes ${r} directions of ${path}, a weight [${outFeatures}, ${inFeatures}].`,
      { remedy: `Give an r of at most ${Math.min(inFeatures, outFeatures)}, here by rankPattern.` },
    );
  return {
    startA: { shape: [r, inFeatures], init: 'zeros', key: 'lora_start_A', frozen: true },
    startB: { shape: [outFeatures, r], init: 'zeros', key: 'lora_start_B', frozen: true },
  } as const satisfies ParamSpecs;
}

interface Start {
  readonly startA?: Tensor | undefined;
  readonly startB?: Tensor | undefined;
}

/** W - s B0 A0; W itself for starts that leave it. */
export const residual = (weight: Tensor, { startA, startB }: Start, scale: number): Tensor =>
  startA && startB ? startB.matmul(startA, { scale: -scale, addend: weight }) : weight;

/** The layer as if its weight were the residual. */
export function onResidual(
  base: (x: Tensor) => Tensor,
  { startA, startB }: Start,
  scale: number,
): (x: Tensor) => Tensor {
  if (!startA || !startB) return base;
  return (x) =>
    ops.linear(x, startA).matmul(startB, { transposeB: true, scale: -scale, addend: base(x) });
}

/** The context of such a layer. */
export const residualContext = (
  context: AdapterContext,
  start: Start,
  scale: number,
): AdapterContext =>
  start.startA
    ? { ...context, baseWeight: () => residual(context.baseWeight(), start, scale) }
    : context;

/**
 * The start that a file names. Most do not matter any more; those that left another base do.
 *
 * @throws PEFT_UNSUPPORTED_OPTION
 */
export function startFromFile(
  fields: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const init = fields.initLoraWeights;
  if (init === 'eva') return { ...fields, initLoraWeights: true, evaConfig: null };
  if (init === 'pissa' || init === 'olora' || typeof init !== 'string') return fields;
  if (!startsFromBase(init) && !/^(corda|loftq|lora_ga)$/.test(init)) return fields;
  throw new AttuneError(
    'PEFT_UNSUPPORTED_OPTION',
    `init_lora_weights is "${init}": the adapter was trained on another base, which the file does not hold.`,
    {
      remedy:
        'Save it as a plain LoRA: save_pretrained(folder, path_initial_model_for_weight_conversion=...) in PEFT.',
    },
  );
}
