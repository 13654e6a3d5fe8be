import type { DType } from '../backend/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { geglu } from '../tensor/ops/geglu.js';
import { gatedLinear } from '../tensor/ops/linears.js';
import { swiglu } from '../tensor/ops/swiglu.js';
import type { Tensor } from '../tensor/tensor.js';
import { Linear, type LinearLike } from './linear.js';
import { weightsTogether } from './linearsTogether.js';
import { Module } from './module.js';

const gateAndUp = ['gate_proj', 'up_proj'];

/** The sizes and the activation of {@link GatedMlp}. */
export interface GatedMlpOptions {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly bias: boolean;
  readonly dtype: DType;
  /** What the gate goes through. Default "silu". */
  readonly activation?: GateActivation;
}

/** Hugging Face's names; `gelu` is the exact one. */
export type GateActivation = 'silu' | 'gelu' | 'gelu_pytorch_tanh';

/** activation(gate) * up */
export function gated(gate: Tensor, up: Tensor, activation: GateActivation = 'silu'): Tensor {
  if (activation === 'silu') return swiglu(gate, up);
  return geglu(gate, up, { approximate: activation === 'gelu' ? 'none' : 'tanh' });
}

/** A feed-forward block as a layer uses it: [B, T, hidden] -> [B, T, hidden]. */
export interface MlpLike extends Module {
  forward(x: Tensor): Tensor;
}

/** down_proj(silu(gate_proj(x)) * up_proj(x)) (Shazeer, arXiv:2002.05202). */
export class GatedMlp extends Module implements MlpLike {
  readonly #activation: GateActivation;

  constructor(engine: Engine, options: GatedMlpOptions) {
    super();
    this.#activation = options.activation ?? 'silu';
    const { hiddenSize, intermediateSize, bias, dtype } = options;
    const widen = { inFeatures: hiddenSize, outFeatures: intermediateSize, bias, dtype };
    this.addChild('gate_proj', new Linear(engine, widen));
    this.addChild('up_proj', new Linear(engine, widen));
    this.addChild(
      'down_proj',
      new Linear(engine, { inFeatures: intermediateSize, outFeatures: hiddenSize, bias, dtype }),
    );
  }

  /** [B, T, hidden] -> [B, T, hidden] */
  forward(x: Tensor): Tensor {
    return x.engine.scope('mlp', () => {
      const inner = this.#together(x) ?? this.#apart(x);
      return this.child<LinearLike>('down_proj').forward(inner);
    });
  }

  #together(x: Tensor): Tensor | null {
    if (this.#activation !== 'silu') return null;
    const weights = weightsTogether(x.engine, this, gateAndUp);
    return weights && gatedLinear(x, weights[0]!, weights[1]!);
  }

  #apart(x: Tensor): Tensor {
    const gate = this.child<LinearLike>('gate_proj').forward(x);
    const up = this.child<LinearLike>('up_proj').forward(x);
    return gated(gate, up, this.#activation);
  }
}
