import { ops, type Tensor } from '@attune/core';
import type { ParamSpecs } from '../../contract/paramSpec.js';

export interface LstmSizes {
  readonly inputSize: number;
  /** H, of each direction. */
  readonly hiddenSize: number;
  readonly numLayers: number;
}

/** The two directions of a layer, by the ends of their parameters' names. */
const directions = ['', '_reverse'] as const;

/**
 * Parameters of torch.nn.LSTM(bidirectional=True), in its names and with its start, uniform in
 * +-1/sqrt(H): weight_ih [4H, in], weight_hh [4H, H], bias_ih and bias_hh [4H] of each layer and
 * direction, gates in the order i, f, g, o.
 */
export function lstmParams(
  prefix: string,
  { inputSize, hiddenSize, numLayers }: LstmSizes,
): ParamSpecs {
  const specs: Record<string, ParamSpecs[string]> = {};
  for (let layer = 0; layer < numLayers; layer++)
    for (const end of directions) {
      const width = layer === 0 ? inputSize : 2 * hiddenSize;
      const shapes = {
        weight_ih: [4 * hiddenSize, width],
        weight_hh: [4 * hiddenSize, hiddenSize],
        bias_ih: [4 * hiddenSize],
        bias_hh: [4 * hiddenSize],
      };
      for (const [name, shape] of Object.entries(shapes))
        specs[`${prefix}.${name}_l${layer}${end}`] = {
          shape,
          init: { uniform: 1 / Math.sqrt(hiddenSize) },
        };
    }
  return specs;
}

/**
 * A bidirectional LSTM over one sequence, as torch.nn.LSTM (Hochreiter and Schmidhuber 1997, with
 * forget gates):
 *
 *     i, f, o = sigmoid(W x_t + U h_{t-1} + b), g = tanh(...), c_t = f c_{t-1} + i g, h_t = o
 *     tanh(c_t)
 *
 * One step after the other: some fifteen small ops for each, which the few steps of a prompt allow.
 *
 * @param x [T, in]
 * @param between acts on what goes from a layer to the next: dropout
 * @returns [T, 2H], forward and backward side by side
 */
export function bidirectionalLstm(
  x: Tensor,
  p: Readonly<Record<string, Tensor>>,
  prefix: string,
  { hiddenSize, numLayers }: LstmSizes,
  between: (x: Tensor) => Tensor,
): Tensor {
  let rows = x;
  for (let layer = 0; layer < numLayers; layer++) {
    const input = layer === 0 ? rows : between(rows);
    const sides = directions.map((end) => {
      const of = (name: string) => p[`${prefix}.${name}_l${layer}${end}`]!;
      return oneDirection(input, of, hiddenSize, end === '_reverse');
    });
    rows = ops.concat(sides, 1);
  }
  return rows;
}

/** [T, in] -> [T, H] */
function oneDirection(
  x: Tensor,
  of: (name: string) => Tensor,
  size: number,
  isReverse: boolean,
): Tensor {
  const [length] = x.shape as [number, number];
  const fromInput = ops.linear(x, of('weight_ih'), of('bias_ih')); // [T, 4H]
  const recurrent = of('weight_hh');
  const bias = of('bias_hh');
  const outputs: Tensor[] = new Array(length);
  let h: Tensor | null = null;
  let c: Tensor | null = null;
  for (let step = 0; step < length; step++) {
    const t = isReverse ? length - 1 - step : step;
    const own = fromInput.slice(0, t, t + 1); // [1, 4H]
    const gates: Tensor = own.add(h ? ops.linear(h, recurrent, bias) : bias); // h starts at 0
    const gate = (i: number): Tensor => gates.slice(1, i * size, (i + 1) * size);
    const added: Tensor = gate(0).sigmoid().mul(gate(2).tanh());
    c = c ? gate(1).sigmoid().mul(c).add(added) : added;
    h = gate(3).sigmoid().mul(c.tanh());
    outputs[t] = h;
  }
  return ops.concat(outputs, 0);
}
