import { attentionGradOp, attentionOp, EVERY_SEGMENT } from '../../tensor/ops/index.js';
import {
  type CaseOperand,
  type Draw,
  f32,
  float32Kernel,
  i32,
  type OpCase,
  opCase,
} from '../opCase.js';

interface Sizes {
  readonly b?: number;
  readonly t: number;
  readonly h?: number;
  /** Query heads for each key-value head. */
  readonly group?: number;
  readonly d: number;
  readonly causal?: boolean;
  readonly window?: number;
  readonly softcap?: number;
  readonly queryOffset?: number;
  /** Rows of k and v beyond queryOffset + t: a cache with room left. They must not be read. */
  readonly spare?: number;
  /**
   * `shared`: packed, behind keys that all segments see. `placed`: so, with the queries' places in
   * their segments.
   */
  readonly segments?: 'right-padding' | 'left-padding' | 'packed' | 'shared' | 'placed';
}

/** One number for each of B x S keys; each batch row is cut elsewhere. */
function segmentNumbers(kind: NonNullable<Sizes['segments']>, s: number): Draw {
  return (_, size) =>
    Int32Array.from({ length: size }, (_, i) => {
      const row = Math.floor(i / s);
      const at = i % s;
      const cut = Math.max(1, s - 1 - row * 2);
      if (kind === 'right-padding') return at < cut ? 0 : -1;
      if (kind === 'left-padding') return at < s - cut ? -1 : 0;
      if ((kind === 'shared' || kind === 'placed') && at < SHARED) return EVERY_SEGMENT;
      return Math.floor(at / (3 + row));
    });
}

const SHARED = 2;

/** The same for the keys, then for each query where it stands behind the shared keys. [B, S + T] */
function withPlaces(s: number, t: number, queryOffset: number): Draw {
  return (rng, size) => {
    const rows = size / (s + t);
    const segments = Int32Array.from(segmentNumbers('placed', s)(rng, rows * s));
    return Int32Array.from({ length: size }, (_, i) => {
      const row = Math.floor(i / (s + t));
      const at = i % (s + t);
      if (at < s) return segments[row * s + at]!;
      const own = segments.subarray(row * s, (row + 1) * s);
      const query = queryOffset + at - s;
      return query < SHARED ? query : SHARED + query - own.indexOf(own[query]!);
    });
  };
}

function label(c: Sizes): string {
  return [
    `T${c.t}`,
    `D${c.d}`,
    `H${c.h ?? 4}`,
    `gqa${c.group ?? 1}`,
    ...(c.b === undefined ? [] : [`B${c.b}`]),
    ...(c.causal === false ? ['full'] : []),
    ...(c.window ? [`window${c.window}`] : []),
    ...(c.softcap ? [`softcap${c.softcap}`] : []),
    ...(c.queryOffset ? [`offset${c.queryOffset}`] : []),
    ...(c.spare ? [`spare${c.spare}`] : []),
    ...(c.segments ? [c.segments] : []),
  ].join('-');
}

function pair(c: Sizes): OpCase[] {
  const { b = 2, t, h = 4, group = 1, d, queryOffset = 0 } = c;
  const s = queryOffset + t + (c.spare ?? 0);
  const q = f32([b, t, h, d]);
  const kv = f32([b, s, h / group, d]);
  const segments: CaseOperand[] =
    c.segments === 'placed'
      ? [i32([b, s + t], withPlaces(s, t, queryOffset))]
      : c.segments
        ? [i32([b, s], segmentNumbers(c.segments, s))]
        : [];
  const attrs = {
    scale: Math.fround(1 / Math.sqrt(d)),
    causal: c.causal ?? true,
    queryOffset,
    window: c.window ?? 0,
    softcap: c.softcap ?? 0,
    compute: 'float32',
  } as const;
  return [
    opCase(attentionOp, label(c), [q, kv, kv, ...segments], attrs, float32Kernel),
    opCase(
      attentionGradOp,
      label(c),
      [q, kv, kv, f32(q.shape), ...segments],
      attrs,
      // dK and dV sum over up to T * group queries.
      { abs: 2e-5, rel: 1e-5 },
      {
        derive: ([q, k, v, g, ...rest]) => {
          const [out, lse] = q!.engine.run(attentionOp, [q!, k!, v!, ...rest], attrs);
          return [q!, k!, v!, out!, lse!, g!, ...rest];
        },
      },
    ),
  ];
}

const lengths = [1, 5, 17, 64, 70];
const widths = [8, 16, 32, 64];
const segmentKinds = ['right-padding', 'left-padding', 'packed', 'shared'] as const;

export const attentionCases: readonly OpCase[] = [
  ...lengths.flatMap((t, i) => [
    ...pair({ t, d: widths[i % 4]! }),
    ...pair({ t, d: widths[(i + 1) % 4]!, group: 2 }),
    ...pair({ t, d: widths[(i + 2) % 4]!, group: 4, b: 1 }),
    ...pair({ t, d: widths[(i + 3) % 4]!, causal: false }),
  ]),
  ...segmentKinds.flatMap((segments) => [
    ...pair({ t: 5, d: 8, group: 2, segments }),
    ...pair({ t: 17, d: 16, b: 3, segments }),
    ...pair({ t: 70, d: 32, h: 2, group: 2, segments }),
    ...pair({ t: 17, d: 8, causal: false, segments }),
  ]),
  ...pair({ t: 17, d: 8, window: 1 }),
  ...pair({ t: 17, d: 16, window: 5, group: 2 }),
  ...pair({ t: 70, d: 8, window: 33, h: 2 }),
  ...pair({ t: 17, d: 8, window: 4, segments: 'packed' }),
  // Caps below, at and far above the size of the scores.
  ...pair({ t: 17, d: 16, group: 2, softcap: 0.5 }),
  ...pair({ t: 70, d: 8, h: 2, softcap: 2, window: 9, segments: 'packed' }),
  ...pair({ t: 5, d: 16, softcap: 50 }),
  ...pair({ t: 1, d: 16, group: 2, softcap: 1, queryOffset: 6, spare: 2 }),
  // Decoding: one new token, a chunk of new tokens, a cache with room left.
  ...pair({ t: 1, d: 16, group: 2, queryOffset: 6 }),
  ...pair({ t: 1, d: 64, group: 4, queryOffset: 69, spare: 10 }),
  ...pair({ t: 1, d: 48, h: 6, group: 3, queryOffset: 20, spare: 3, window: 9 }),
  ...pair({ t: 1, d: 8, queryOffset: 33, spare: 4, segments: 'left-padding' }),
  ...pair({ t: 1, d: 6, h: 2, queryOffset: 11, spare: 1, segments: 'packed' }),
  ...pair({ t: 1, d: 16, queryOffset: 9, spare: 2, causal: false, window: 4, softcap: 1 }),
  // Forward alone: the shader of so wide a gradient is long, and no other code.
  pair({ t: 1, d: 128, h: 8, group: 8, b: 1, queryOffset: 10, spare: 1 })[0]!,
  ...pair({ t: 5, d: 8, queryOffset: 12, spare: 3 }),
  ...pair({ t: 17, d: 32, h: 2, queryOffset: 50, spare: 61, window: 20 }),
  ...pair({ t: 3, d: 8, group: 2, queryOffset: 9, spare: 4, segments: 'left-padding' }),
  ...pair({ t: 9, d: 16, group: 2, queryOffset: 2, segments: 'shared' }),
  // Keys that all see, far away in the row but near by the queries' places.
  ...pair({ t: 17, d: 8, segments: 'placed' }),
  ...pair({ t: 17, d: 8, window: 4, segments: 'placed' }),
  ...pair({ t: 70, d: 8, b: 3, h: 2, group: 2, window: 5, queryOffset: 2, segments: 'placed' }),
  ...pair({ t: 1, d: 8, window: 5, queryOffset: 66, spare: 5, segments: 'placed' }),
  ...pair({ t: 5, d: 8, causal: false, queryOffset: 2, spare: 1 }),
  ...pair({ t: 9, d: 12, h: 3 }),
];
