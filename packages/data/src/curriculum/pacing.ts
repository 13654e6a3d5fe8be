/** How fast harder rows join. */
export type Pacing = 'sorted' | 'linear' | 'root' | 'step';

/** What a pacing function depends on. */
export interface PaceOptions {
  readonly pacing: Exclude<Pacing, 'sorted'>;
  /** c0: the share of rows that is there from the beginning. */
  readonly start: number;
  /** T: the part of the result after which all rows are there. */
  readonly duration: number;
  /** Steps of `step`. */
  readonly stages: number;
}

/**
 * The competence c(t) at a part t of the result, from 0 to 1: the share of the rows, from the
 * easiest on, that may come.
 *
 * - linear: min(1, t (1 - c0) / T + c0)
 * - root: min(1, sqrt(t (1 - c0^2) / T + c0^2)): new rows join at a rate that falls as 1 / c
 * - step: (floor(t K / T) + 1) / K, at most 1
 *
 * @see Platanios et al., arXiv:1904.09139, equations 3, 6 and 7
 */
export function competence(t: number, { pacing, start, duration, stages }: PaceOptions): number {
  switch (pacing) {
    case 'linear':
      return Math.min(1, (t * (1 - start)) / duration + start);
    case 'root':
      return Math.min(1, Math.sqrt((t * (1 - start ** 2)) / duration + start ** 2));
    case 'step':
      return Math.min(1, (Math.floor((t * stages) / duration + 1e-9) + 1) / stages);
  }
}
