/** Where a curve passes: the update, and the value there. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** Curves that share one axis. */
export interface Panel {
  /** Title of the y-axis, with its unit. */
  readonly title: string;
  readonly series: readonly Series[];
  readonly fromZero: boolean;
  /** Powers of ten on the y-axis, where the values spread far. */
  readonly isLog: boolean;
}

export interface Series {
  readonly label: string;
  /** Class in the style sheet: its colour. */
  readonly kind: string;
  /** Finite, in the order of their updates. */
  readonly points: readonly Point[];
  /** A mark at each point: few of them, as evaluations are. */
  readonly marked: boolean;
}

/** Columns of a curve; of each at most the first, lowest, highest and last point is drawn. */
const COLUMNS = 150;

/**
 * At most 600 points that look like all of them: peaks and dips stay where they are, which a mean
 * or every n-th point would lose.
 *
 * @param points in the order of x
 */
export function thin(points: readonly Point[]): readonly Point[] {
  if (points.length <= 4 * COLUMNS) return points;
  const [from, to] = [points[0]!.x, points.at(-1)!.x];
  const columns = new Map<number, number[]>();
  for (const [i, { x }] of points.entries()) {
    const column = Math.min(COLUMNS - 1, Math.floor(((x - from) / (to - from || 1)) * COLUMNS));
    const held = columns.get(column);
    if (held) held.push(i);
    else columns.set(column, [i]);
  }
  return [...columns.values()].flatMap((column) => {
    let [low, high] = [column[0]!, column[0]!];
    for (const i of column) {
      if (points[i]!.y < points[low]!.y) low = i;
      if (points[i]!.y > points[high]!.y) high = i;
    }
    const kept = new Set([column[0]!, low, high, column.at(-1)!]);
    return [...kept].sort((a, b) => a - b).map((i) => points[i]!);
  });
}
