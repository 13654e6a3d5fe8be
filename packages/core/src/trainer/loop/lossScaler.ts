import type { Engine } from '../../tensor/engine.js';
import { updateLossScale } from '../../tensor/ops/optimizer.js';
import type { Tensor } from '../../tensor/tensor.js';

export interface LossScalerState {
  readonly scale: number;
  /** Updates without an overflow since the scale last changed. */
  readonly growthTracker: number;
}

/**
 * Dynamic loss scaling for float16: the loss is multiplied before the backward pass, so that small
 * gradients stay above what float16 can hold, and the gradients are divided before the update.
 * After an update that overflowed, which the device skips, the scale is halved; after 2000 without
 * one it is doubled. The scale lives on the device: nothing waits for it.
 *
 * Numbers of torch.amp.GradScaler; Micikevicius et al. 2017, https://arxiv.org/abs/1710.03740
 */
export class LossScaler {
  /** [scale, updates without an overflow]. */
  readonly #state: Tensor;
  readonly #attrs: { growth: number; backoff: number; interval: number };

  constructor(
    private readonly engine: Engine,
    { initScale = 65536, growthFactor = 2, backoffFactor = 0.5, growthInterval = 2000 } = {},
  ) {
    this.#state = engine.keep(engine.tensor([initScale, 0]));
    this.#attrs = { growth: growthFactor, backoff: backoffFactor, interval: growthInterval };
  }

  /** [scale, ...]: what `backward` multiplies the loss with, and `clipGradNorm` takes out again. */
  get scale(): Tensor {
    return this.#state;
  }

  /** @param clip [norm, coefficient, finite] of the update */
  update(clip: Tensor): void {
    updateLossScale(this.#state, clip, this.#attrs);
  }

  /** Waits for the device. */
  async exportState(): Promise<LossScalerState> {
    const [scale, growthTracker] = (await this.#state.data()) as unknown as [number, number];
    return { scale, growthTracker };
  }

  importState({ scale, growthTracker }: LossScalerState): void {
    const { storage, byteOffset } = this.#state;
    this.engine.backend.write(storage.buffer, byteOffset, Float32Array.of(scale, growthTracker));
  }

  dispose(): void {
    this.#state.dispose();
  }
}
