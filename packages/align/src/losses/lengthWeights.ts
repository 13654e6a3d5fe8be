import { type HostTensor, IGNORE_INDEX } from '@attune/core';

/**
 * Token weights of LD-DPO, float32 [2 B, T], for [chosen; rejected]: 1 for the first answer tokens
 * of a row, as many as the shorter answer of its pair has, `ldAlpha` for those behind them, 0 where
 * there is no answer token. Log-probabilities are multiplied by them before they are summed, so
 * that verbosity is learned with the weight `ldAlpha`. Work of the host, for `collate`.
 *
 * @param labels int32 [2 B, T], -100 where there is no answer token
 * @param ldAlpha 0 (only the shared length counts) to 1 (plain DPO)
 * @see arXiv 2409.06411
 */
export function lengthWeights(labels: HostTensor, ldAlpha: number): HostTensor {
  const [rows, length] = labels.shape as [number, number];
  const isAnswer = (row: number, t: number) => labels.data[row * length + t] !== IGNORE_INDEX;
  const counts = Array.from({ length: rows }, (_, row) => {
    let count = 0;
    for (let t = 0; t < length; t++) if (isAnswer(row, t)) count++;
    return count;
  });
  const data = new Float32Array(rows * length);
  for (let row = 0; row < rows; row++) {
    const shared = Math.min(counts[row]!, counts[(row + rows / 2) % rows]!);
    let seen = 0;
    for (let t = 0; t < length; t++)
      if (isAnswer(row, t)) data[row * length + t] = ++seen <= shared ? 1 : ldAlpha;
  }
  return { data, shape: [rows, length], dtype: 'float32' };
}
