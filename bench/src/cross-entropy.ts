// Softmax cross-entropy of logits, and of hidden states through the head: forward and backward.
import { ops, type Tensor } from '@attune/core';
import { bench } from './harness/bench.js';
import type { Contender } from './harness/measure.js';
import { backward, input, ours } from './harness/ours.js';
import { someIds, someValues } from './models/tinyLm.js';
import type { Jax, JaxArray } from './peers/jax.js';
import type { Tfjs } from './peers/tfjs.js';

interface Sizes {
  readonly rows: number;
  readonly vocab: number;
  /** Width of the hidden states; 0: the bench starts from logits. */
  readonly width: number;
}

const sizes: readonly Sizes[] = [
  { rows: 1024, vocab: 4096, width: 0 },
  { rows: 256, vocab: 32000, width: 0 },
  { rows: 1024, vocab: 4096, width: 288 },
];

await bench(['tfjs', 'jax'], async ({ run, engine, peers }) => {
  const { tfjs, jax } = peers;
  for (const size of sizes) {
    const { rows, vocab, width } = size;
    const name =
      width > 0
        ? `head + loss [${rows}, ${width}] x [${vocab}, ${width}]`
        : `loss [${rows}, ${vocab}]`;
    await run(`${name} forward+backward`, () => {
      const labels = engine.keep(engine.tensor(someIds(rows, vocab), [rows], 'int32'));
      let leaves: readonly Tensor[];
      let loss: () => Tensor;
      if (width > 0) {
        const hidden = input(engine, [rows, width], { seed: 1, trainable: true });
        const head = input(engine, [vocab, width], { seed: 2, trainable: true });
        leaves = [hidden, head];
        loss = () => ops.linearCrossEntropy(hidden, head, labels);
      } else {
        const logits = input(engine, [rows, vocab], { seed: 1, trainable: true });
        leaves = [logits];
        loss = () => ops.crossEntropy(logits, labels).sum();
      }
      return {
        ours: ours(engine, () => backward(leaves, loss())),
        peers: {
          tfjs: tfjs && (() => tfjsLoss(tfjs, size)),
          jax: jax && (() => jaxLoss(jax, size)),
        },
        facts: (ms) => ({ tokensPerSecond: (1000 * rows) / ms }),
      };
    });
  }
});

/** Peers get the labels as one-hot rows, made beforehand: a gather would cost them more. */
function oneHot({ rows, vocab }: Sizes): Float32Array {
  const values = new Float32Array(rows * vocab);
  someIds(rows, vocab).forEach((id, row) => {
    values[row * vocab + id] = 1;
  });
  return values;
}

function tfjsLoss(tfjs: Tfjs, size: Sizes): Contender {
  const { tf } = tfjs;
  const { rows, vocab, width } = size;
  const targets = tfjs.tensor(oneHot(size), [rows, vocab]);
  if (width === 0) {
    const logits = tfjs.tensor(someValues(rows * vocab, 1), [rows, vocab]);
    const gradient = tf.grad((x) => tf.losses.softmaxCrossEntropy(targets, x));
    return tfjs.contender(() => gradient(logits));
  }
  const hidden = tfjs.tensor(someValues(rows * width, 1), [rows, width]);
  const head = tfjs.tensor(someValues(vocab * width, 2), [vocab, width]);
  const gradients = tf.grads((x, w) =>
    tf.losses.softmaxCrossEntropy(targets, tf.matMul(x!, w!, false, true)),
  );
  return tfjs.contender(() => gradients([hidden, head]));
}

function jaxLoss(peer: Jax, size: Sizes): Contender {
  const { jax, np } = peer;
  const { rows, vocab, width } = size;
  const targets = peer.array(oneHot(size), [rows, vocab]);
  const crossEntropy = (logits: JaxArray, target: JaxArray): JaxArray => {
    const picked = np.sum(logits.ref.mul(target), -1);
    return np.sum(jax.nn.logsumexp(logits, -1).sub(picked));
  };
  if (width === 0) {
    const logits = peer.array(someValues(rows * vocab, 1), [rows, vocab]);
    const gradient = jax.jit(jax.grad(crossEntropy));
    return peer.contender(() => [gradient(logits.ref, targets.ref)]);
  }
  const hidden = peer.array(someValues(rows * width, 1), [rows, width]);
  const head = peer.array(someValues(vocab * width, 2), [vocab, width]);
  const loss = (x: JaxArray, w: JaxArray, target: JaxArray): JaxArray =>
    crossEntropy(np.matmul(x, w.transpose()), target);
  const gradients = jax.jit(jax.grad(loss, { argnums: [0, 1] }));
  return peer.contender(() => gradients(hidden.ref, head.ref, targets.ref));
}
