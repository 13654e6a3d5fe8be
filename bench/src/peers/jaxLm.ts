import type { Contender } from '../harness/measure.js';
import { someValues, type TinyLm } from '../models/tinyLm.js';
import type { Jax, JaxArray } from './jax.js';

interface Layer {
  [name: string]: JaxArray;
  readonly q: JaxArray;
  readonly k: JaxArray;
  readonly v: JaxArray;
  readonly o: JaxArray;
  readonly gate: JaxArray;
  readonly up: JaxArray;
  readonly down: JaxArray;
}

/**
 * Forward and backward of the tiny LM as one writes it in jax-js, jitted; no optimizer and no
 * rotary positions. The embedding is a product with one-hot rows: jax-js's gather has no gradient.
 */
export function jaxTrainSteps(
  peer: Jax,
  sizes: TinyLm,
  inputs: Int32Array,
  targets: Int32Array,
): Contender {
  const { jax, np } = peer;
  const { vocabSize, hiddenSize: d, innerSize, numLayers, numHeads, length, batchSize } = sizes;
  const headSize = d / numHeads;
  let seed = 1;
  const weight = (rows: number, columns: number) =>
    peer.array(
      someValues(rows * columns, seed++).map((value) => 0.05 * value),
      [rows, columns],
    );
  const layers = Array.from(
    { length: numLayers },
    (): Layer => ({
      q: weight(d, d),
      k: weight(d, d),
      v: weight(d, d),
      o: weight(d, d),
      gate: weight(d, innerSize),
      up: weight(d, innerSize),
      down: weight(innerSize, d),
    }),
  );
  const parameters = { embedding: weight(vocabSize, d), head: weight(d, vocabSize), layers };
  const x = peer.array(inputs, [batchSize * length]);
  const y = peer.array(targets, [batchSize * length]);
  const mask = peer.array(
    Float32Array.from({ length: length * length }, (_, i) =>
      i % length > Math.floor(i / length) ? -1e9 : 0,
    ),
    [1, length, length],
  );

  const norm = (h: JaxArray): JaxArray => {
    const meanSquare = np.mean(np.square(h.ref), -1, { keepdims: true });
    return h.mul(np.reciprocal(np.sqrt(meanSquare.add(1e-5))));
  };
  const loss = (
    p: typeof parameters,
    ids: JaxArray,
    labels: JaxArray,
    bias: JaxArray,
  ): JaxArray => {
    let h = np.matmul(jax.nn.oneHot(ids, vocabSize), p.embedding); // [B T, D]
    for (const layer of p.layers) {
      const n = norm(h.ref);
      const heads = (w: JaxArray) =>
        np
          .matmul(n.ref, w)
          .reshape([batchSize, length, numHeads, headSize])
          .transpose([0, 2, 1, 3])
          .reshape([batchSize * numHeads, length, headSize]);
      const [q, k, v] = [heads(layer.q), heads(layer.k), heads(layer.v)];
      n.dispose();
      const scores = np
        .matmul(q, k.transpose([0, 2, 1]))
        .mul(headSize ** -0.5)
        .add(bias.ref);
      const attended = np
        .matmul(jax.nn.softmax(scores, -1), v)
        .reshape([batchSize, numHeads, length, headSize])
        .transpose([0, 2, 1, 3])
        .reshape([batchSize * length, d]);
      h = h.add(np.matmul(attended, layer.o));
      const m = norm(h.ref);
      const gate = np.matmul(m.ref, layer.gate);
      const up = np.matmul(m, layer.up);
      h = h.add(np.matmul(jax.nn.silu(gate).mul(up), layer.down));
    }
    bias.dispose();
    const logP = jax.nn.logSoftmax(np.matmul(norm(h), p.head), -1);
    return np.sum(logP.mul(jax.nn.oneHot(labels, vocabSize))).mul(-1 / (batchSize * length));
  };
  const step = jax.jit((p: typeof parameters, ids: JaxArray, labels: JaxArray, bias: JaxArray) =>
    jax.valueAndGrad(loss)(p, ids, labels, bias),
  );
  return peer.contender(() => {
    const [value, gradients] = step(jax.tree.ref(parameters), x.ref, y.ref, mask.ref);
    return [value, ...jax.tree.leaves<JaxArray>(gradients)];
  });
}
