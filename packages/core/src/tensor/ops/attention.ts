import { AttuneError } from '../../util/errors.js';
import type { Engine } from '../engine.js';
import { defineOp, type TensorSpec } from '../op.js';
import { formatShape } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { dropout } from './dropout.js';
import { equal, less, maximum } from './elementwise.js';
import { concat } from './movement.js';

/**
 * The segment of keys that every query sees, whatever its own: tokens that stand before all
 * segments of a row.
 */
export const EVERY_SEGMENT = -2;

export interface AttentionOptions {
  /** Multiplies q k^T. Default 1/sqrt(D). */
  readonly scale?: number;
  /** A query sees keys at its own position and before. Default true. */
  readonly causal?: boolean;
  /** Position of the first query among the keys: the number of cached tokens. Default 0. */
  readonly queryOffset?: number;
  /**
   * Sliding window: a query sees at most this many latest keys, itself included. 0: all. Default 0.
   */
  readonly window?: number;
  /**
   * Soft cap c of the scores, as in Gemma 2 (arXiv:2408.00118): c tanh(scale q k^T / c) in their
   * place, before the mask. 0: none. Default 0.
   */
  readonly softcap?: number;
  /**
   * int32 [B, S], one for each key: a query sees only keys of its own segment, and of EVERY_SEGMENT
   * (-2). One mechanism for right padding, left padding and packed rows: give padding a number of
   * its own.
   *
   * `[B, S + T]`: then each query's place behind the keys of EVERY_SEGMENT, for the window: such a
   * key j is in the window of a query at place p if j > p - window, whatever lies between in the
   * row: padding, or what is packed before.
   */
  readonly segments?: Tensor | null;
  /**
   * Probability with which a weight of the softmax is dropped, for training. Above 0 the weights
   * are held whole, [B, H, T, S], instead of being made again. Default 0.
   */
  readonly dropout?: number;
}

export interface AttentionAttrs extends Record<string, number | boolean | string> {
  readonly scale: number;
  readonly causal: boolean;
  readonly queryOffset: number;
  readonly window: number;
  readonly softcap: number;
  /**
   * `float16`: a device may round what it multiplies to float16; sums and the softmax are float32.
   */
  readonly compute: 'float32' | 'float16';
}

function check([q, k, v, segments]: readonly TensorSpec[], attrs: AttentionAttrs): void {
  const [b, t, h, d] = q!.shape;
  const [bKey, s, hKey, dKey] = k!.shape;
  const fits =
    q!.shape.length === 4 &&
    b === bKey &&
    d === dKey &&
    h! % hKey! === 0 &&
    v!.shape.join() === k!.shape.join() &&
    attrs.queryOffset + t! <= s! &&
    [q, k, v].every((x) => x!.dtype === 'float32') &&
    (!segments || [`${b},${s}`, `${b},${s! + t!}`].includes(segments.shape.join()));
  if (!fits)
    throw new AttuneError(
      'SHAPE_MISMATCH',
      `attention: q ${q!.dtype} ${formatShape(q!.shape)}, k ${k!.dtype} ${formatShape(k!.shape)}, v ${v!.dtype} ${formatShape(v!.shape)}${segments ? `, segments ${formatShape(segments.shape)}` : ''} at offset ${attrs.queryOffset} do not fit.`,
      {
        remedy:
          'float32 q [B, T, H, D]; k, v [B, S, Hkv, D] with H a multiple of Hkv and offset + T <= S; segments [B, S], with places [B, S + T].',
      },
    );
}

/**
 * 0 where a query may look, -1e30 where not: [B or 1, 1, T, L] with L = queryOffset + T keys;
 * `size`: S.
 */
function mask(
  engine: Engine,
  [t, size]: readonly [number, number],
  segments: Tensor | undefined,
  attrs: AttentionAttrs,
): Tensor {
  const length = attrs.queryOffset + t;
  const pairs = (allows: (position: number, key: number) => boolean) =>
    engine.tensor(
      Float32Array.from({ length: t * length }, (_, i) =>
        Number(allows(attrs.queryOffset + Math.floor(i / length), i % length)),
      ),
      [1, t, length],
    );
  const past = pairs((position, key) => !attrs.causal || key <= position);
  const near = pairs((position, key) => attrs.window === 0 || key > position - attrs.window);
  let visible = past.mul(near); // [B or 1, T, L]
  if (segments) {
    const keys = segments.slice(1, 0, length);
    const queries = segments.slice(1, attrs.queryOffset, length);
    const same = equal(queries.unsqueeze(2), keys.unsqueeze(1));
    const every = equal(keys, engine.tensor([EVERY_SEGMENT], [1, 1], 'int32')).unsqueeze(1);
    const nearEvery = hasPlaces(segments, size) ? nearPlaces(segments, size, length, attrs) : near;
    visible = past.mul(maximum(same.mul(near), every.mul(nearEvery)));
  }
  return visible.unsqueeze(1).sub(1).mul(1e30);
}

const hasPlaces = (segments: TensorSpec, size: number): boolean => segments.shape[1]! > size;

/** 1 where key j lies in the window of a query by the query's place. [B, T, L] */
function nearPlaces(
  segments: Tensor,
  size: number,
  length: number,
  { window }: AttentionAttrs,
): Tensor {
  const places = segments.slice(1, size, segments.shape[1]!).cast('float32').unsqueeze(2); // [B, T, 1]
  const keys = Float32Array.from({ length }, (_, key) => key + (window || length + size));
  return less(places, segments.engine.tensor(keys, [1, 1, length]));
}

/** [B, L, Hkv, D] -> [B, H, L, D], each key-value head repeated for its group of queries. */
function headsFirst(x: Tensor, heads: number): Tensor {
  const [b, l, hKey, d] = x.shape as [number, number, number, number];
  const group = heads / hKey;
  const out = x.permute(0, 2, 1, 3);
  return group === 1
    ? out
    : out.reshape(b, hKey, 1, l, d).expand(b, hKey, group, l, d).reshape(b, heads, l, d);
}

/** What the softmax sees but for the mask: scale q k^T, capped. [B, H, T, L] */
function scores(q: Tensor, k: Tensor, { queryOffset, scale, softcap }: AttentionAttrs): Tensor {
  const [, t, h] = q.shape as [number, number, number, number];
  const keys = headsFirst(k.slice(1, 0, queryOffset + t), h);
  const raw = q.permute(0, 2, 1, 3).matmul(keys, { transposeB: true }).mul(scale);
  return softcap > 0
    ? raw
        .mul(1 / softcap)
        .tanh()
        .mul(softcap)
    : raw;
}

/** Pairs of query and key that may meet, over all heads; segments are not looked into. */
function visiblePairs([q, k]: readonly TensorSpec[], attrs: AttentionAttrs): number {
  const [b, t, h] = q!.shape as [number, number, number];
  let pairs = 0;
  for (let i = 0; i < t; i++) {
    const seen = attrs.causal ? attrs.queryOffset + i + 1 : k!.shape[1]!;
    pairs += attrs.window > 0 ? Math.min(seen, attrs.window) : seen;
  }
  return b * h * pairs;
}

/**
 * Inputs: q, k, v, optionally segments. Outputs: out [B, T, H, D], lse [B, H, T] (log-sum-exp of
 * the scores).
 */
export const attentionOp = defineOp<AttentionAttrs>({
  name: 'attention',
  infer: (inputs, attrs) => {
    check(inputs, attrs);
    const [b, t, h] = inputs[0]!.shape as [number, number, number, number];
    return [
      { shape: inputs[0]!.shape, dtype: 'float32' },
      { shape: [b, h, t], dtype: 'float32' },
    ];
  },
  // q k^T and p v
  flops: (inputs, attrs) => 4 * inputs[0]!.shape[3]! * visiblePairs(inputs, attrs),
  decompose: ([q, k, v, segments], attrs) => {
    const [, t, h] = q!.shape as [number, number, number, number];
    const s = scores(q!, k!, attrs).add(mask(q!.engine, [t, k!.shape[1]!], segments, attrs));
    const logP = s.logSoftmax();
    const values = headsFirst(v!.slice(1, 0, attrs.queryOffset + t), h);
    const out = logP.exp().matmul(values).permute(0, 2, 1, 3);
    return [out, s.max(-1).sub(logP.max(-1))];
  },
  vjp: ({ inputs, outputs: [out, lse], grads: [g], attrs, engine }) => {
    const [q, k, v, segments] = inputs;
    const rest = segments ? [segments] : [];
    const d = engine.run(attentionGradOp, [q!, k!, v!, out!, lse!, g!, ...rest], attrs);
    return [...d, ...rest.map(() => null)];
  },
  saves: { inputs: [0, 1, 2, 3], outputs: [0, 1] },
});

/** Inputs: q, k, v, out, lse, g, optionally segments. Outputs: dq, dk, dv. */
export const attentionGradOp = defineOp<AttentionAttrs>({
  name: 'attentionGrad',
  infer: ([q, k, v]) => [q!, k!, v!].map((x) => ({ shape: x.shape, dtype: 'float32' })),
  // q k^T again, g v^T, and one product each for dq, dk, dv
  flops: (inputs, attrs) => 10 * inputs[0]!.shape[3]! * visiblePairs(inputs, attrs),
  decompose: ([q, k, v, out, lse, g, segments], attrs) => {
    const [b, t, h, d] = q!.shape as [number, number, number, number];
    const [, s, hKey] = k!.shape as [number, number, number, number];
    const length = attrs.queryOffset + t;
    const raw = scores(q!, k!, attrs); // [B, H, T, L]
    const p = raw
      .add(mask(q!.engine, [t, k!.shape[1]!], segments, attrs))
      .sub(lse!.unsqueeze(3))
      .exp();
    const dOut = g!.permute(0, 2, 1, 3);
    const dP = dOut.matmul(headsFirst(v!.slice(1, 0, length), h), { transposeB: true });
    const delta = g!.mul(out!).sum(-1).permute(0, 2, 1).unsqueeze(3); // [B, H, T, 1]
    let dS = p.mul(dP.sub(delta)).mul(attrs.scale);
    // The slope of the cap is 1 - tanh^2, and raw / softcap is that tanh.
    if (attrs.softcap > 0) dS = dS.sub(dS.mul(raw.mul(1 / attrs.softcap).square()));
    const dQ = dS.matmul(headsFirst(k!.slice(1, 0, length), h)).permute(0, 2, 1, 3);
    const toKeys = (perHead: Tensor) => {
      const grouped = perHead
        .reshape(b, hKey, h / hKey, length, d)
        .sum(2)
        .permute(0, 2, 1, 3);
      if (length === s) return grouped;
      const padding = q!.engine.zeros([b, s - length, hKey, d]);
      return concat([grouped, padding], 1);
    };
    const dK = toKeys(dS.matmul(q!.permute(0, 2, 1, 3), { transposeA: true }));
    const dV = toKeys(p.matmul(dOut, { transposeA: true }));
    return [dQ, dK, dV];
  },
});

/**
 * softmax(cap(scale * q k^T) + mask) v, for each head; several query heads may share a key-value
 * head. Where products are computed in float16 ({@link Engine.withCompute}), a device with a matrix
 * unit may round their operands to it; the softmax and all sums are float32.
 *
 * @param q [B, T, H, D]
 * @param k [B, S, Hkv, D], H a multiple of Hkv
 * @param v [B, S, Hkv, D]
 * @returns [B, T, H, D]
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const attrs = {
    scale: options.scale ?? 1 / Math.sqrt(q.shape[3]!),
    causal: options.causal ?? true,
    queryOffset: options.queryOffset ?? 0,
    window: options.window ?? 0,
    softcap: options.softcap ?? 0,
    // bfloat16 has too few digits for the weights of a softmax.
    compute: q.engine.computeDType === 'float16' ? 'float16' : 'float32',
  } as const;
  const inputs = options.segments ? [q, k, v, options.segments] : [q, k, v];
  if (options.dropout) return droppingAttention(inputs, attrs, options.dropout);
  return q.engine.run(attentionOp, inputs, attrs)[0]!;
}

/** The same with some of its weights dropped, from simpler ops. */
function droppingAttention(inputs: Tensor[], attrs: AttentionAttrs, p: number): Tensor {
  const [q, k, v, segments] = inputs as [Tensor, Tensor, Tensor, Tensor?];
  check(inputs, attrs);
  const [, t, h] = q.shape as [number, number, number, number];
  const weights = scores(q, k, attrs)
    .add(mask(q.engine, [t, k.shape[1]!], segments, attrs))
    .softmax();
  const values = headsFirst(v.slice(1, 0, attrs.queryOffset + t), h);
  return dropout(weights, p).matmul(values).permute(0, 2, 1, 3);
}
