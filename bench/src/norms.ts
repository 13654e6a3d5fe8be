// RMSNorm over the last axis, forward and with its backward pass; peers compose it.
import { ops } from '@attune/core';
import { bench } from './harness/bench.js';
import type { Contender } from './harness/measure.js';
import { backward, input, ours, repeats } from './harness/ours.js';
import { someValues } from './models/tinyLm.js';
import type { Jax, JaxArray } from './peers/jax.js';
import type { Tfjs } from './peers/tfjs.js';

const EPS = 1e-5;
const shapes: readonly (readonly [rows: number, width: number])[] = [
  [1024, 288],
  [2048, 2048],
];

await bench(['tfjs', 'jax'], async ({ run, engine, software, peers }) => {
  const { tfjs, jax } = peers;
  for (const [rows, width] of shapes)
    for (const withGradients of [false, true])
      await run(`${withGradients ? 'forward+backward' : 'forward'} [${rows}, ${width}]`, () => {
        const inner = repeats(100 * rows * width, software);
        const x = input(engine, [rows, width], { seed: 1, trainable: withGradients });
        const weight = input(engine, [width], { seed: 2, trainable: withGradients });
        const g = input(engine, [rows, width], { seed: 3 });
        const forward = () => ops.rmsNorm(x, weight, EPS);
        const work = withGradients
          ? () => backward([x, weight], forward(), g)
          : () => void forward();
        const size = { rows, width, withGradients, inner };
        // x read and y written; x, g read and dx written.
        const bytes = 4 * rows * width * (withGradients ? 5 : 2);
        return {
          inner,
          ours: ours(engine, work, inner),
          peers: {
            tfjs: tfjs && (() => tfjsNorm(tfjs, size)),
            jax: jax && (() => jaxNorm(jax, size)),
          },
          facts: (ms) => ({ gigabytesPerSecond: bytes / ms / 1e6 }),
        };
      });
});

interface Sizes {
  readonly rows: number;
  readonly width: number;
  readonly withGradients: boolean;
  readonly inner: number;
}

function tfjsNorm(tfjs: Tfjs, { rows, width, withGradients, inner }: Sizes): Contender {
  const { tf } = tfjs;
  const x = tfjs.tensor(someValues(rows * width, 1), [rows, width]);
  const weight = tfjs.tensor(someValues(width, 2), [width]);
  const g = tfjs.tensor(someValues(rows * width, 3), [rows, width]);
  const norm = (input: typeof x, scale: typeof x): typeof x =>
    input.mul(tf.rsqrt(input.square().mean(-1, true).add(EPS))).mul(scale);
  const gradients = tf.grads((...args) => norm(args[0]!, args[1]!));
  return tfjs.contender(() => (withGradients ? gradients([x, weight], g) : norm(x, weight)), inner);
}

function jaxNorm(peer: Jax, { rows, width, withGradients, inner }: Sizes): Contender {
  const { jax, np } = peer;
  const x = peer.array(someValues(rows * width, 1), [rows, width]);
  const weight = peer.array(someValues(width, 2), [width]);
  const g = peer.array(someValues(rows * width, 3), [rows, width]);
  const norm = (input: JaxArray, scale: JaxArray): JaxArray => {
    const meanSquare = np.mean(np.square(input.ref), -1, { keepdims: true });
    return input.mul(np.reciprocal(np.sqrt(meanSquare.add(EPS)))).mul(scale);
  };
  if (!withGradients) {
    const forward = jax.jit(norm);
    return peer.contender(() => [forward(x.ref, weight.ref)], inner);
  }
  const loss = (input: JaxArray, scale: JaxArray, weights: JaxArray): JaxArray =>
    np.sum(norm(input, scale).mul(weights));
  const gradients = jax.jit(jax.grad(loss, { argnums: [0, 1] }));
  return peer.contender(() => gradients(x.ref, weight.ref, g.ref), inner);
}
