// Causal attention, forward and with its backward pass; peers compose it of products and a softmax.
import { ops } from '@attune/core';
import { bench } from './harness/bench.js';
import type { Contender } from './harness/measure.js';
import { backward, input, ours, repeats } from './harness/ours.js';
import { someValues } from './models/tinyLm.js';
import type { Jax, JaxArray } from './peers/jax.js';
import type { Tfjs } from './peers/tfjs.js';

interface Sizes {
  readonly name: string;
  readonly batch: number;
  readonly length: number;
  readonly heads: number;
  /** Fewer than heads: grouped queries. */
  readonly kvHeads: number;
  readonly width: number;
}

const sizes: readonly Sizes[] = [
  { name: 'tiny LM', batch: 4, length: 256, heads: 6, kvHeads: 6, width: 48 },
  { name: 'long', batch: 1, length: 1024, heads: 6, kvHeads: 6, width: 64 },
  { name: 'grouped', batch: 1, length: 512, heads: 14, kvHeads: 2, width: 64 },
];

/** As in a model of 8 billion parameters; minutes on a CPU. */
const gpuSizes: readonly Sizes[] = [
  { name: '8B', batch: 1, length: 4096, heads: 32, kvHeads: 8, width: 128 },
];

await bench(['tfjs', 'jax'], async ({ run, engine, software, peers }) => {
  const halves = software ? [] : gpuSizes.map((size) => ({ size, compute: 'float16' as const }));
  const cases = (software ? sizes : [...gpuSizes, ...sizes]).map((size) => ({
    size,
    compute: 'float32' as const,
  }));
  for (const { size, compute } of [...halves, ...cases]) {
    // Peers compute in float32.
    const { tfjs, jax }: Partial<typeof peers> = compute === 'float32' ? peers : {};
    const attend: typeof ops.attention = (...args) =>
      engine.withCompute(compute, () => ops.attention(...args));
    const { batch, length, heads, kvHeads, width } = size;
    const where = `${size.name} B${batch} T${length} H${heads}/${kvHeads} D${width}${compute === 'float16' ? ', float16' : ''}`;
    // q kᵀ and p v of the causal half; the backward pass does five such products.
    const flops = 2 * batch * heads * length * (length + 1) * width;
    const inner = repeats(flops, software);
    const inputs = (trainable: boolean) => {
      const tensor = (h: number, seed: number) =>
        input(engine, [batch, length, h, width], { seed, trainable });
      return [tensor(heads, 1), tensor(kvHeads, 2), tensor(kvHeads, 3)] as const;
    };
    await run(`forward ${where}`, () => {
      const [q, k, v] = inputs(false);
      return {
        inner,
        ours: ours(engine, () => void attend(q, k, v), inner),
        peers: {
          tfjs: tfjs && (() => tfjsAttention(tfjs, size, false, inner)),
          jax: jax && (() => jaxAttention(jax, size, false, inner)),
        },
        facts: (ms) => ({ gflops: flops / ms / 1e6 }),
      };
    });
    await run(`forward+backward ${where}`, () => {
      const [q, k, v] = inputs(true);
      const g = input(engine, [batch, length, heads, width], { seed: 4 });
      return {
        inner,
        ours: ours(engine, () => backward([q, k, v], attend(q, k, v), g), inner),
        peers: {
          tfjs: tfjs && (() => tfjsAttention(tfjs, size, true, inner)),
          jax: jax && (() => jaxAttention(jax, size, true, inner)),
        },
        facts: (ms) => ({ gflops: (3.5 * flops) / ms / 1e6 }),
      };
    });
  }
});

/**
 * Peers get the layout that suits them, for nothing: heads first, and the queries of a group below
 * one another, [B Hkv, (H / Hkv) T, D], so that no key is copied.
 */
function peerShapes({ batch, length, heads, kvHeads, width }: Sizes) {
  const group = heads / kvHeads;
  return {
    query: [batch * kvHeads, group * length, width],
    key: [batch * kvHeads, length, width],
    mask: [1, group * length, length],
  };
}

function peerValues(size: Sizes) {
  const { query, key, mask } = peerShapes(size);
  const count = (shape: readonly number[]) => shape.reduce((n, d) => n * d, 1);
  const { length } = size;
  return {
    q: someValues(count(query), 1),
    k: someValues(count(key), 2),
    v: someValues(count(key), 3),
    g: someValues(count(query), 4),
    mask: Float32Array.from({ length: count(mask) }, (_, i) =>
      i % length > Math.floor(i / length) % length ? -1e9 : 0,
    ),
  };
}

function tfjsAttention(tfjs: Tfjs, size: Sizes, withGradients: boolean, inner: number): Contender {
  const { tf } = tfjs;
  const shapes = peerShapes(size);
  const values = peerValues(size);
  const [q, k, v] = [
    tfjs.tensor(values.q, shapes.query),
    tfjs.tensor(values.k, shapes.key),
    tfjs.tensor(values.v, shapes.key),
  ];
  const g = tfjs.tensor(values.g, shapes.query);
  const mask = tfjs.tensor(values.mask, shapes.mask);
  type T = typeof q;
  const attend = (query: T, key: T, value: T): T => {
    const scores = tf
      .matMul(query, key, false, true)
      .mul(size.width ** -0.5)
      .add(mask);
    return tf.matMul(tf.softmax(scores), value);
  };
  const gradients = tf.grads((...args) => attend(args[0]!, args[1]!, args[2]!));
  return tfjs.contender(() => (withGradients ? gradients([q, k, v], g) : attend(q, k, v)), inner);
}

function jaxAttention(peer: Jax, size: Sizes, withGradients: boolean, inner: number): Contender {
  const { jax, np } = peer;
  const shapes = peerShapes(size);
  const values = peerValues(size);
  const q = peer.array(values.q, shapes.query);
  const k = peer.array(values.k, shapes.key);
  const v = peer.array(values.v, shapes.key);
  const g = peer.array(values.g, shapes.query);
  const mask = peer.array(values.mask, shapes.mask);
  const attend = (query: JaxArray, key: JaxArray, value: JaxArray, bias: JaxArray): JaxArray => {
    const scores = np
      .matmul(query, key.transpose([0, 2, 1]))
      .mul(size.width ** -0.5)
      .add(bias);
    return np.matmul(jax.nn.softmax(scores, -1), value);
  };
  if (!withGradients) {
    const forward = jax.jit(attend);
    return peer.contender(() => [forward(q.ref, k.ref, v.ref, mask.ref)], inner);
  }
  const loss = (
    query: JaxArray,
    key: JaxArray,
    value: JaxArray,
    bias: JaxArray,
    weight: JaxArray,
  ): JaxArray => np.sum(attend(query, key, value, bias).mul(weight));
  const gradients = jax.jit(jax.grad(loss, { argnums: [0, 1, 2] }));
  return peer.contender(() => gradients(q.ref, k.ref, v.ref, mask.ref, g.ref), inner);
}
