// C [M, N] = A B in the layouts of a linear layer: NN (dX = dY W), NT (Y = X Wᵀ), TN (dW = dYᵀ X).
// Beside the rate what share it is of the rate that the device reaches without memory.
import type { DawnBackend } from '@attune/backend-dawn';
import { bench } from './harness/bench.js';
import { input, ours, repeats } from './harness/ours.js';
import { probePeak } from './harness/peak.js';
import { someValues } from './models/tinyLm.js';
import { PythonYardstick } from './peers/python.js';

type Sizes = readonly [m: number, n: number, k: number];

const shapes: readonly Sizes[] = [
  [512, 512, 512],
  [1024, 768, 288],
  [1024, 288, 768],
  [768, 288, 1024],
  [256, 64, 64],
  [1024, 2048, 512],
];
/** Large enough to fill a GPU; a minute each on a CPU. */
const gpuShapes: readonly Sizes[] = [[4096, 4096, 4096]];

await bench(['tfjs', 'jax'], async ({ run, attune, engine, software, peers, python }) => {
  const peak = await probePeak(attune.backend as DawnBackend);
  const sizes = (software ? shapes : [...gpuShapes, ...shapes]).flatMap((shape) =>
    (software ? (['float32'] as const) : (['float32', 'float16'] as const)).map(
      (compute) => [...shape, compute] as const,
    ),
  );
  for (const [m, n, k, compute] of sizes)
    for (const layout of ['NN', 'NT', 'TN'] as const)
      await run(`${layout} ${m}x${n}x${k}${compute === 'float16' ? ', float16' : ''}`, () => {
        // Peers and the yardstick compute in float32.
        const beside = compute === 'float32';
        const { tfjs, jax }: Partial<typeof peers> = beside ? peers : {};
        const flops = 2 * m * n * k;
        const inner = repeats(flops, software);
        const transposeA = layout === 'TN';
        const transposeB = layout === 'NT';
        const shapeA = transposeA ? [k, m] : [m, k];
        const shapeB = transposeB ? [n, k] : [k, n];
        const a = input(engine, shapeA, { seed: 1 });
        const b = input(engine, shapeB, { seed: 2 });
        const product = () => void a.matmul(b, { transposeA, transposeB, compute });
        return {
          inner,
          ours: ours(engine, product, inner),
          peers: {
            tfjs:
              tfjs &&
              (() => {
                const left = tfjs.tensor(someValues(m * k, 1), shapeA);
                const right = tfjs.tensor(someValues(k * n, 2), shapeB);
                const multiply = () => tfjs.tf.matMul(left, right, transposeA, transposeB);
                return tfjs.contender(multiply, inner);
              }),
            jax:
              jax &&
              (() => {
                const left = jax.array(someValues(m * k, 1), shapeA);
                const right = jax.array(someValues(k * n, 2), shapeB);
                const multiply = jax.jax.jit((x: typeof left, y: typeof left) =>
                  jax.np.matmul(transposeA ? x.transpose() : x, transposeB ? y.transpose() : y),
                );
                return jax.contender(() => [multiply(left.ref, right.ref)], inner);
              }),
          },
          yardsticks: PythonYardstick.of(beside ? python : null, 'matmul', {
            layout,
            m,
            n,
            k,
            inner,
          }),
          facts: (ms) => {
            const gflops = flops / ms / 1e6;
            const most = (compute === 'float16' && peak.matrixUnit) || peak.float32;
            return { gflops, peakGflops: most, shareOfPeak: gflops / most };
          },
        };
      });
});
