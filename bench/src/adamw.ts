// One optimizer step: ours clips by the global norm and decays weights, the peers do plain Adam.
import { type Engine, ops } from '@attune/core';
import { Parameter } from '@attune/core/nn';
import { AdamW } from '@attune/core/training';
import { bench } from './harness/bench.js';
import type { Contender } from './harness/measure.js';
import { input } from './harness/ours.js';
import { someValues, tinyLm } from './models/tinyLm.js';
import type { Jax, JaxArray } from './peers/jax.js';
import type { Tfjs } from './peers/tfjs.js';

type Shapes = readonly (readonly number[])[];

const LR = 1e-3;
const [BETA1, BETA2, EPS] = [0.9, 0.999, 1e-8];

/** Weights of the tiny LM: 56 tensors. */
function tinyLmShapes(): Shapes {
  const { vocabSize, hiddenSize: d, innerSize, numLayers } = tinyLm;
  const layer = [
    [d],
    [d],
    ...Array(4).fill([d, d]),
    [innerSize, d],
    [innerSize, d],
    [d, innerSize],
  ];
  return [[vocabSize, d], [vocabSize, d], ...Array.from({ length: numLayers }, () => layer).flat()];
}

/** A LoRA adapter of rank 16 on all linear layers of the tiny LM: 84 small tensors. */
function loraShapes(rank = 16): Shapes {
  const { hiddenSize: d, innerSize, numLayers } = tinyLm;
  const pair = (inputs: number, outputs: number) => [
    [rank, inputs],
    [outputs, rank],
  ];
  const layer = [
    ...Array.from({ length: 4 }, () => pair(d, d)).flat(),
    ...pair(d, innerSize),
    ...pair(d, innerSize),
    ...pair(innerSize, d),
  ];
  return Array.from({ length: numLayers }, () => layer).flat();
}

const count = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

await bench(['tfjs', 'jax'], async ({ run, engine, peers }) => {
  const { tfjs, jax } = peers;
  for (const [name, shapes] of [
    ['tiny LM, all weights', tinyLmShapes()],
    ['tiny LM, LoRA r=16', loraShapes()],
  ] as const) {
    const elements = shapes.reduce((n, shape) => n + count(shape), 0);
    await run(`${name}: ${shapes.length} tensors, ${(elements / 1e6).toFixed(2)} M`, () => ({
      ours: ourSteps(engine, shapes),
      peers: {
        tfjs: tfjs && (() => tfjsSteps(tfjs, shapes)),
        jax: jax && (() => jaxSteps(jax, shapes)),
      },
      // Parameter and two moments read and written, the gradient read.
      facts: (ms) => ({ gigabytesPerSecond: (7 * 4 * elements) / ms / 1e6 }),
    }));
  }
});

function ourSteps(engine: Engine, shapes: Shapes): Contender {
  const parameters = shapes.map((shape, i) => ({
    name: `weight${i}`,
    parameter: new Parameter(input(engine, shape, { seed: i + 1, trainable: true })),
  }));
  const optimizer = new AdamW(engine, [{ parameters, weightDecay: 0.01 }]);
  engine.scope('gradients', () => {
    for (const { parameter } of parameters) {
      const { tensor } = parameter;
      ops.assign(tensor.grad!, engine.tensor(someValues(tensor.size, 7), tensor.shape));
      tensor.gradIsStale = false; // as after a backward
    }
  });
  return {
    async run() {
      const clip = optimizer.clipGradNorm(1);
      optimizer.step({ lr: LR, clip });
      clip.dispose();
      await engine.backend.sync();
    },
    dispose: () => optimizer.dispose(),
  };
}

function tfjsSteps(tfjs: Tfjs, shapes: Shapes): Contender {
  const { tf } = tfjs;
  const optimizer = tf.train.adam(LR, BETA1, BETA2, EPS);
  const gradients = shapes.map((shape, i) => ({
    name: `weight${i}`,
    tensor: tfjs.tensor(someValues(count(shape), 7), shape),
  }));
  const variables = shapes.map((shape, i) =>
    tf.variable(tfjs.tensor(someValues(count(shape), i + 1), shape), true, `weight${i}`),
  );
  return {
    async run() {
      optimizer.applyGradients(gradients);
      await tfjs.sync();
    },
    // Names of variables are global.
    dispose: () => tf.dispose([...variables, ...gradients.map(({ tensor }) => tensor)]),
  };
}

function jaxSteps(peer: Jax, shapes: Shapes): Contender {
  const { jax, np } = peer;
  const make = (value: (size: number, i: number) => Float32Array) =>
    shapes.map((shape, i) => peer.array(value(count(shape), i), shape));
  const zeros = () => make((size) => new Float32Array(size));
  const update = (p: JaxArray[], m: JaxArray[], v: JaxArray[], g: JaxArray[]): JaxArray[][] => {
    const next = p.map((_, i) => {
      const gradient = g[i]!;
      const first = m[i]!.mul(BETA1).add(gradient.ref.mul(1 - BETA1));
      const second = v[i]!.mul(BETA2).add(np.square(gradient).mul(1 - BETA2));
      const step = first.ref.mul(LR).div(np.sqrt(second.ref).add(EPS));
      return [p[i]!.sub(step), first, second];
    });
    return [0, 1, 2].map((part) => next.map((arrays) => arrays[part]!));
  };
  const step = jax.jit(update);
  const gradients = make((size) => someValues(size, 7));
  let state: JaxArray[][] = [make((size, i) => someValues(size, i + 1)), zeros(), zeros()];
  return {
    async run() {
      const [p, m, v] = state;
      state = step(p!, m!, v!, jax.tree.ref(gradients));
      peer.submit(state.flat().map((array) => array.ref));
      await peer.sync();
    },
    dispose: () => jax.tree.dispose([...state.flat(), ...gradients]),
  };
}
