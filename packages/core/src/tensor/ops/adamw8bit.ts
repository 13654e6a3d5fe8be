import { defineOp } from '../op.js';
import { numel, requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';
import type { AdamWAttrs } from './optimizer.js';

/** Elements of a moment that share a scale. */
export const MOMENT_BLOCK = 256;

/**
 * AdamW whose moments are 8-bit codes between the updates, one scale for each 256.
 *
 * Inputs: grad [n], clip [norm, coefficient, finite], maps [512]: ascending, first what the codes
 * of the first moment stand for, then those of the second. Updates: parameter [n]; codes, uint32
 * words of four codes, [n / 2]: first those of the first moment, then those of the second; absmax
 * [n / 128], likewise. n is a multiple of 256.
 */
export const adamw8bitOp = defineOp<AdamWAttrs>({
  name: 'adamw8bit',
  infer: (specs) => {
    const [grad, clip, maps, parameter, codes, absmax] = specs;
    const n = numel(grad!.shape);
    const fits =
      n % MOMENT_BLOCK === 0 &&
      numel(clip!.shape) === 3 &&
      numel(maps!.shape) === 512 &&
      numel(parameter!.shape) === n &&
      codes!.dtype === 'uint32' &&
      numel(codes!.shape) === n / 2 &&
      numel(absmax!.shape) === (2 * n) / MOMENT_BLOCK;
    requireFit(
      fits,
      'adamw8bit',
      specs,
      'Give gradient and parameter [n], codes [n/2], absmax [n/128]',
    );
    return [];
  },
  reference: ({ inputs: [grad, clip, maps], outputs: [parameter, codes, absmax], attrs }) => {
    const [, coefficient, finite] = clip!.data;
    if (!finite) return;
    const { lr, beta1, beta2, eps, weightDecay, biasCorrection1, biasCorrection2 } = attrs;
    const n = parameter!.data.length;
    const words = codes!.data as Uint32Array;
    const scales = absmax!.data as Float64Array;
    const tables = [maps!.data.subarray(0, 256), maps!.data.subarray(256)] as Float64Array[];
    const held = (which: 0 | 1, i: number) => {
      const at = which * n + i;
      const code = (words[at >> 2]! >>> (8 * (at & 3))) & 255;
      return tables[which]![code]! * scales[Math.floor(at / MOMENT_BLOCK)]!;
    };
    for (let start = 0; start < n; start += MOMENT_BLOCK) {
      const moments = [new Float64Array(MOMENT_BLOCK), new Float64Array(MOMENT_BLOCK)] as const;
      for (let j = 0; j < MOMENT_BLOCK; j++) {
        const i = start + j;
        const g = grad!.data[i]! * coefficient!;
        const m = beta1 * held(0, i) + (1 - beta1) * g;
        const v = beta2 * held(1, i) + (1 - beta2) * g * g;
        moments[0][j] = m;
        moments[1][j] = v;
        const denominator = Math.sqrt(v) / Math.sqrt(biasCorrection2) + eps;
        parameter!.data[i] =
          parameter!.data[i]! * (1 - lr * weightDecay) - ((lr / biasCorrection1) * m) / denominator;
      }
      for (const which of [0, 1] as const) {
        const largest = moments[which].reduce((a, x) => Math.max(a, Math.abs(x)), 0);
        scales[(which * n + start) / MOMENT_BLOCK] = largest;
        const first = (which * n + start) >> 2;
        words.fill(0, first, first + MOMENT_BLOCK / 4);
        moments[which].forEach((x, j) => {
          const code = nearest(tables[which]!, largest > 0 ? x / largest : 0);
          words[first + (j >> 2)]! |= code << (8 * (j & 3));
        });
      }
    }
  },
});

/** The index of the value nearest to x in an ascending table; of two equally near, the lower. */
function nearest(table: Float64Array, x: number): number {
  let low = 0;
  let high = table.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((table[middle]! + table[middle + 1]!) / 2 < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * One update of AdamW with 8-bit moments in place (Dettmers et al. 2022, arXiv:2110.02861), skipped
 * where the norm is not finite.
 */
export function adamw8bit(
  state: { parameter: Tensor; codes: Tensor; absmax: Tensor; maps: Tensor },
  grad: Tensor,
  clip: Tensor,
  attrs: AdamWAttrs,
): void {
  const { parameter, codes, absmax, maps } = state;
  grad.engine.runInto(adamw8bitOp, [grad, clip, maps], [parameter, codes, absmax], attrs);
}
