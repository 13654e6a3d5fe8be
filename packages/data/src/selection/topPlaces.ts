/**
 * Which of n scores are among the `count` best: 1 for each that is. Among equal ones the first are.
 */
export function topPlaces(
  scores: Float64Array,
  count: number,
  order: 'highest' | 'lowest',
): Uint8Array {
  const isTop = new Uint8Array(scores.length);
  if (count >= scores.length) return isTop.fill(1);
  if (count <= 0) return isTop;
  const sorted = scores.toSorted();
  const isBetter =
    order === 'highest' ? (a: number, b: number) => a > b : (a: number, b: number) => a < b;
  const border = sorted[order === 'highest' ? scores.length - count : count - 1]!;
  let left = count;
  for (const [i, score] of scores.entries())
    if (isBetter(score, border)) {
      isTop[i] = 1;
      left--;
    }
  // What is left is of those that are as good as the last one.
  for (let i = 0; left > 0; i++)
    if (scores[i] === border) {
      isTop[i] = 1;
      left--;
    }
  return isTop;
}
