import {
  type AsyncHook,
  type CallbackContext,
  callbackName,
  type HookValues,
  type Logs,
  type TrainerCallback,
  type TrainLogs,
} from '../training/callback.js';
import { type EventName, type EventPayloads, Events, type Moment } from '../training/events.js';
import { Activity } from '../util/activity.js';
import { AttuneError } from '../util/errors.js';
import { flowCallback } from './flow.js';
import { Callbacks, Trackers } from './points.js';
import { checkNames, type NamedCallbacks, reporters } from './reporters.js';

/** How `removeCallback` and `popCallback` find a callback: itself, its name or its class. */
export type CallbackKey = TrainerCallback | string | (new (...args: never) => TrainerCallback);

/**
 * The callbacks of one Trainer, the default flow first. At each moment of the run they are called
 * in their order and awaited; then listeners are told.
 */
export class CallbackHandler {
  readonly events: Events;
  /** What the run waits for. */
  readonly activity: Activity;
  #callbacks: TrainerCallback[];
  readonly #known: NamedCallbacks;

  /**
   * @param context what every callback is given
   * @throws UNKNOWN_NAME for a name that no plugin added; DUPLICATE_NAME
   */
  constructor(
    readonly context: CallbackContext,
    given: readonly (TrainerCallback | string)[],
  ) {
    const { args, model } = context;
    const { attune } = model;
    this.events = new Events(attune.logger);
    this.activity = new Activity(attune.logger);
    this.#known = {
      callbacks: attune.registry(Callbacks),
      trackers: attune.registry(Trackers),
    };
    checkNames(this.#known);
    const callbacks = given.map((callback) => this.#resolve(callback));
    const isFirst = attune.communicator.rank === 0;
    const asked = reporters(args, callbacks, this.#known, isFirst);
    const all = [flowCallback(), ...callbacks, ...asked];
    this.#callbacks = isFirst ? all : all.filter(({ firstRankOnly }) => !firstRankOnly);
  }

  get callbacks(): readonly TrainerCallback[] {
    return this.#callbacks;
  }

  /** @throws UNKNOWN_NAME */
  add(callback: TrainerCallback | string): void {
    this.#callbacks = [...this.#callbacks, this.#resolve(callback)];
  }

  /** Takes the first match away. @returns it, or null when there is none */
  pop(key: CallbackKey): TrainerCallback | null {
    const found = this.#callbacks.find((callback) => matches(callback, key)) ?? null;
    this.#callbacks = this.#callbacks.filter((callback) => callback !== found);
    return found;
  }

  /** @throws CALLBACK_FAILED */
  initEnd(): void {
    const { context } = this;
    for (const callback of this.#callbacks) {
      try {
        callback.onInitEnd?.(context);
      } catch (error) {
        throw failure(callback, 'onInitEnd', context, error);
      }
    }
    queueMicrotask(() => this.#emitter()('initEnd', {}));
  }

  /**
   * One moment of the run: callbacks, then listeners.
   *
   * @param value the hook's second argument, where it has one
   * @throws CALLBACK_FAILED with the name of the callback and the hook
   */
  async call<H extends AsyncHook>(
    hook: H,
    ...[value]: HookValues[H] extends null ? [] : [HookValues[H]]
  ): Promise<void> {
    const { context } = this;
    for (const callback of this.#callbacks) {
      if (!callback[hook]) continue;
      try {
        const call = callback[hook] as (context: CallbackContext, value: unknown) => unknown;
        await this.activity.during(
          `callback "${callbackName(callback)}" in ${hook} ${momentOf(context)}`,
          call.call(callback, context, value),
        );
      } catch (error) {
        throw failure(callback, hook, context, error);
      }
    }
    tell[hook](this.#emitter(), value as never);
  }

  /** A row of the log, and the callbacks that read it. */
  async log(logs: Logs): Promise<void> {
    const { state } = this.context;
    state.logHistory.push({ ...logs, epoch: state.epoch, step: state.globalStep });
    await this.call('onLog', logs);
  }

  /** HF's `stateful_callbacks`: by name; a list where two callbacks share one. */
  exportState(): Record<string, unknown> {
    const states: Record<string, unknown> = {};
    for (const callback of this.#callbacks) {
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
    for (const callback of this.#callbacks) {
      const name = callbackName(callback);
      const held = states[name];
      const list = Array.isArray(held) ? held : [held];
      const at = used.get(name) ?? 0;
      used.set(name, at + 1);
      const state = list[at] as Readonly<Record<string, unknown>> | undefined;
      if (state) callback.importState?.(state);
    }
  }

  /** Tells listeners where the run stands; they cannot fail it. */
  #emitter(): Emit {
    const { state } = this.context;
    const moment: Moment = { step: state.globalStep, epoch: state.epoch };
    return (name, payload) => this.events.emit(name, { ...moment, ...payload });
  }

  #resolve(callback: TrainerCallback | string): TrainerCallback {
    if (typeof callback !== 'string') return callback;
    const { callbacks, trackers } = this.#known;
    return trackers.has(callback) ? trackers.get(callback) : callbacks.get(callback);
  }
}

type Emit = <E extends EventName>(name: E, payload: EventPayloads[E]) => void;

/** Which event tells of which hook. */
const tell: { readonly [H in AsyncHook]: (emit: Emit, value: HookValues[H]) => void } = {
  onTrainBegin: (emit, maxSteps) => emit('trainBegin', { maxSteps }),
  onTrainEnd: (emit, metrics) => emit('trainEnd', { metrics }),
  onEpochBegin: (emit) => emit('epochBegin', {}),
  onEpochEnd: (emit) => emit('epochEnd', {}),
  onStepBegin: (emit) => emit('stepBegin', {}),
  onSubstepEnd: (emit) => emit('substepEnd', {}),
  onPreOptimizerStep: (emit) => emit('preOptimizerStep', {}),
  onOptimizerStep: (emit) => emit('optimizerStep', {}),
  onStepEnd(emit) {
    emit('stepEnd', {});
    emit('step', {});
  },
  onEvaluate: (emit, metrics) => emit('evaluate', { metrics }),
  onPredict: (emit, metrics) => emit('predict', { metrics }),
  onSave: (emit, folder) => emit('save', { folder }),
  // Rows of evaluations come as 'evaluate', the summary as 'trainEnd'.
  onLog(emit, logs) {
    if (isTrainLogs(logs)) emit('log', { logs });
  },
  onPredictionStep: (emit, progress) => emit('predictionStep', progress),
};

const isTrainLogs = (logs: Logs): logs is TrainLogs => 'loss' in logs && 'learningRate' in logs;

function matches(callback: TrainerCallback, key: CallbackKey): boolean {
  if (typeof key === 'string') return callbackName(callback) === key;
  if (typeof key === 'function') return callback instanceof key;
  return callback === key;
}

function failure(
  callback: TrainerCallback,
  hook: string,
  context: CallbackContext,
  error: unknown,
): AttuneError {
  const name = callbackName(callback);
  return new AttuneError(
    'CALLBACK_FAILED',
    `callback "${name}" failed in ${hook} ${momentOf(context)}: ${reason(error)}`,
    {
      ...(AttuneError.isInstance(error) && error.remedy && { remedy: error.remedy }),
      details: { callback: name, hook, globalStep: context.state.globalStep },
      cause: error,
    },
  );
}

const momentOf = ({ state }: CallbackContext): string =>
  state.globalStep === 0 ? 'before the first update' : `at update ${state.globalStep}`;

function reason(error: unknown): string {
  if (AttuneError.isInstance(error)) return `${error.code}: ${error.description}`;
  return error instanceof Error ? error.message : String(error);
}
