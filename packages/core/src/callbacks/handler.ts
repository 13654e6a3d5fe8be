import type { Attune } from '../attune.js';
import {
  type CallbackContext,
  callbackName,
  type EvalMetrics,
  type Logs,
  type TrainerCallback,
} from './callback.js';
import { flowCallback } from './flow.js';
import { Callbacks } from './points.js';

type SimpleHook =
  | 'onTrainBegin'
  | 'onTrainEnd'
  | 'onEpochBegin'
  | 'onEpochEnd'
  | 'onStepBegin'
  | 'onSubstepEnd'
  | 'onPreOptimizerStep'
  | 'onOptimizerStep'
  | 'onStepEnd'
  | 'onSave';

/** The callbacks of one Trainer, the default flow first. Calls each in order and waits for it. */
export class CallbackHandler {
  readonly callbacks: TrainerCallback[];

  /** @throws UNKNOWN_NAME for a name that no plugin added */
  constructor(attune: Attune, given: readonly (TrainerCallback | string)[]) {
    const known = attune.registry(Callbacks);
    this.callbacks = [
      flowCallback(),
      ...given.map((callback) => (typeof callback === 'string' ? known.get(callback) : callback)),
    ];
  }

  initEnd(context: CallbackContext): void {
    for (const callback of this.callbacks) callback.onInitEnd?.(context);
  }

  async call(hook: SimpleHook, context: CallbackContext): Promise<void> {
    for (const callback of this.callbacks) if (callback[hook]) await callback[hook](context);
  }

  async evaluated(context: CallbackContext, metrics: EvalMetrics): Promise<void> {
    for (const callback of this.callbacks) await callback.onEvaluate?.(context, metrics);
  }

  async logged(context: CallbackContext, logs: Logs): Promise<void> {
    for (const callback of this.callbacks) await callback.onLog?.(context, logs);
  }

  /** HF's `stateful_callbacks`: by name; a list where two callbacks share one. */
  exportState(): Record<string, unknown> {
    const states: Record<string, unknown> = {};
    for (const callback of this.callbacks) {
      const state = callback.exportState?.();
      if (!state) continue;
      const name = callbackName(callback);
      const held = states[name];
      states[name] =
        held === undefined ? state : Array.isArray(held) ? [...held, state] : [held, state];
    }
    return states;
  }

  importState(states: Readonly<Record<string, unknown>>): void {
    const used = new Map<string, number>();
    for (const callback of this.callbacks) {
      const name = callbackName(callback);
      const held = states[name];
      const list = Array.isArray(held) ? held : [held];
      const at = used.get(name) ?? 0;
      used.set(name, at + 1);
      const state = list[at] as Readonly<Record<string, unknown>> | undefined;
      if (state) callback.importState?.(state);
    }
  }
}
