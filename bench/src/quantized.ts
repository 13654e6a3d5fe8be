// Products with a quantised weight, forward (x Wᵀ) and the gradient to the input (dY W), beside the
// same products with the weight in float32. No peer has either format.
import { ops } from '@attune/core';
import { quant } from '@attune/core/tensor';
import { bench } from './harness/bench.js';
import { input, ours, repeats } from './harness/ours.js';
import { someValues } from './models/tinyLm.js';

const shapes = [
  [1024, 768, 288],
  [256, 2048, 2048],
] as const;

await bench([], async ({ run, engine, software }) => {
  for (const [rows, outFeatures, inFeatures] of shapes)
    for (const format of ['float32', 'nf4', 'int8'] as const)
      for (const transposed of [false, true])
        await run(
          `${format} ${transposed ? 'dX' : 'forward'} ${rows}x${outFeatures}x${inFeatures}`,
          () => {
            const flops = 2 * rows * outFeatures * inFeatures;
            const inner = repeats(flops, software);
            const x = input(engine, [rows, transposed ? outFeatures : inFeatures], { seed: 1 });
            const values = Float32Array.from(someValues(outFeatures * inFeatures, 2));
            const facts = (ms: number) => ({ gflops: flops / ms / 1e6 });
            if (format === 'float32') {
              const weight = engine.keep(engine.tensor(values, [outFeatures, inFeatures]));
              const product = () => void x.matmul(weight, { transposeB: !transposed });
              return { inner, ours: ours(engine, product, inner), peers: {}, facts };
            }
            const { codes, absmax, map, blockSize } =
              format === 'nf4'
                ? quant.quantizeBlockwise(values, quant.nf4Map(), 64)
                : quant.quantizeInt8(values, inFeatures);
            const parts = [
              engine.keep(
                engine.tensor(new Uint32Array(codes.buffer), [codes.length / 4], 'uint32'),
              ),
              engine.keep(engine.tensor(absmax)),
              engine.keep(engine.tensor(map)),
            ];
            const attrs = {
              bits: format === 'nf4' ? 4 : 8,
              blockSize,
              nested: false,
              offset: 0,
              outFeatures,
              inFeatures,
              transposed,
              scale: 1,
              accumulate: false,
              compute: 'float32',
            } as const;
            const product = () => void engine.run(ops.quantizedMatmulOp, [x, ...parts], attrs);
            return { inner, ours: ours(engine, product, inner), peers: {}, facts };
          },
        );
});
