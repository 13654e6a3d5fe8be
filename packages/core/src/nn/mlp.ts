import type { DType } from '../tensor/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { swiglu } from '../tensor/ops/swiglu.js';
import type { Tensor } from '../tensor/tensor.js';
import { Linear, type LinearLike } from './linear.js';
import { Module } from './module.js';

export interface GatedMlpOptions {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly bias: boolean;
  readonly dtype: DType;
}

/** down_proj(silu(gate_proj(x)) * up_proj(x)) (Shazeer, arXiv:2002.05202). */
export class GatedMlp extends Module {
  constructor(engine: Engine, options: GatedMlpOptions) {
    super();
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
      const gate = this.child<LinearLike>('gate_proj').forward(x);
      const up = this.child<LinearLike>('up_proj').forward(x);
      return this.child<LinearLike>('down_proj').forward(swiglu(gate, up));
    });
  }
}
