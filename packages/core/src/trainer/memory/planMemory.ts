import { recordEvaluation } from '../../evaluation/evaluate.js';
import { cacheFor } from '../../models/kvCache.js';
import type { LanguageModel } from '../../models/languageModel.js';
import type { Module } from '../../nn/module.js';
import { argmax } from '../../tensor/ops/reduce.js';
import type { Scope } from '../../tensor/scope.js';
import type { Storage } from '../../tensor/storage.js';
import type { TokenExample } from '../../text/collator.js';
import { computeDTypeOf } from '../../training/arguments/trainingArguments.js';
import type { HostBatch } from '../../training/batch.js';
import { exampleLength } from '../../training/exampleLength.js';
import type { Objective } from '../../training/objective.js';
import type { RowRules } from '../../training/rowRules.js';
import { trainedRoot } from '../../training/trainedRoot.js';
import { recordUpdate } from '../loop/recordUpdate.js';
import { RunDevice } from '../run/runDevice.js';
import type { TrainingContext } from '../trainingContext.js';
import {
  describePlan,
  type GenerationShape,
  type MemoryPhase,
  type MemoryPlan,
  type PlanMemoryOptions,
} from './memoryPlan.js';
import { withStandIns } from './standInWeights.js';

export interface PlanSubject {
  readonly context: Pick<TrainingContext, 'model' | 'objective' | 'args' | 'optimizers'>;
  readonly trainExamples: readonly unknown[];
  /** Null: nothing is evaluated. */
  readonly evalExamples: readonly unknown[] | null;
  /** As if the frozen weights of the layers had been loaded into host memory. Default false. */
  readonly offload?: boolean;
  /** As if gradientCheckpointing were so. Default: as the model is. */
  readonly checkpointing?: boolean;
}

/**
 * What training will hold, counted: optimizer, two updates of the largest batch, an evaluation of
 * the largest batch, a generation, recorded on a backend that takes memory as the device does and
 * computes nothing. So it is right for every model, objective, adapter and plugin without knowing
 * any of them.
 *
 * The largest batch is of the rows with the most tokens; of a stream, among the first thousand.
 * What is on the device beside the model counts, too. Not counted: buffers of other sizes, which
 * rows of other lengths leave in the pool: it holds them while there is room within `maxMemory`, or
 * without one up to half of the peak; what `objective.updates` and evaluation tasks do, and reading
 * weights back while saving.
 *
 * @throws whatever the update would throw before its first result
 */
export function planMemory(subject: PlanSubject, options: PlanMemoryOptions = {}): MemoryPlan {
  const { context, trainExamples, evalExamples } = subject;
  const { args, model, objective } = context;
  const { engine } = model;
  const root = trainedRoot(model, objective);
  const wasTraining = root.training;
  const wasCheckpointing = model.isGradientCheckpointing;
  const batch = largestBatch(objective, trainExamples, args.perDeviceTrainBatchSize);
  const evalBatch =
    evalExamples && largestBatch(objective, evalExamples, args.perDeviceEvalBatchSize);
  const phases: MemoryPhase[] = [];
  // What was never written has no memory yet; training will need it.
  for (const storage of bufferStorages(root)) void storage.buffer;
  for (const [, parameter] of root.namedParameters())
    if (!parameter.isOffloaded) void parameter.tensor.storage.buffer;
  try {
    setCheckpointing(model, subject.checkpointing ?? wasCheckpointing);
    return engine.rehearse((counter) => {
      let ledger = counter.peak;
      let most = 0;
      const phase = (name: MemoryPhase['name'], work: () => void) => {
        counter.resetPeak();
        work();
        const { peakBytes } = counter.stats;
        phases.push({ name, peakBytes });
        if (peakBytes > most) [most, ledger] = [peakBytes, counter.peak];
      };
      return withStandIns(
        counter,
        root,
        { label: ({ dtype }) => `weights ${dtype}`, offload: subject.offload ?? false },
        () => {
          for (const storage of bufferStorages(root))
            counter.adopt(storage.buffer.byteLength, 'weights quantised');
          counter.label = () => 'optimizer';
          let device!: RunDevice;
          phase('optimizer', () => {
            device = new RunDevice(context);
          });
          for (const [, parameter] of root.namedParameters()) {
            if (parameter.isOffloaded) continue;
            const { tensor } = parameter;
            counter.relabel(tensor.storage.buffer, `weights ${tensor.dtype}`);
            if (tensor.grad) counter.relabel(tensor.grad.storage.buffer, 'gradients');
          }
          counter.label = () => categoryOf(engine.currentScope);
          root.train(objective.disableDropout !== true);
          phase('step', () => {
            for (let step = 0; step < 2; step++) recordUpdateOf(context, device, batch);
          });
          root.eval();
          if (evalBatch)
            phase('evaluate', () =>
              engine.scope('forward', () =>
                recordEvaluation(
                  { model, computeDType: computeDTypeOf(args) },
                  objective,
                  evalBatch,
                ),
              ),
            );
          // What updates generate, they generate beside the optimizer and its gradients.
          const drawn = objective.generation?.(trainExamples);
          if (drawn) phase('generate', () => rehearseGeneration(model, drawn));
          device.dispose();
          const { generation } = options;
          if (generation) phase('generate', () => rehearseGeneration(model, generation));
          return describePlan(counter.stats.reservedBytes, most, ledger, {
            device: counter.info.device,
            phases,
            root,
            batch: Object.fromEntries(
              Object.entries(batch).map(([name, { shape }]) => [name, shape]),
            ),
          });
        },
      );
    });
  } finally {
    root.train(wasTraining);
    setCheckpointing(model, wasCheckpointing);
  }
}

/** The memory of buffers: what quantised layers hold. */
function bufferStorages(root: Module): ReadonlySet<Storage> {
  const storages = new Set<Storage>();
  for (const [, module] of root.namedModules())
    for (const buffer of module.ownBuffers.values()) storages.add(buffer.tensor.storage);
  return storages;
}

function setCheckpointing(model: LanguageModel, on: boolean): void {
  if (on === model.isGradientCheckpointing) return;
  if (on) model.gradientCheckpointingEnable();
  else model.gradientCheckpointingDisable();
}

/** One update of as many micro-batches as tell: the second adds to the gradients of the first. */
function recordUpdateOf(
  context: PlanSubject['context'],
  device: RunDevice,
  batch: HostBatch,
): void {
  const { args, objective } = context;
  const batches = args.gradientAccumulationSteps > 1 ? [batch, batch] : [batch];
  const items = Math.max(objective.countItems(batch), 1);
  const moments = recordUpdate(context, device, batches, items, 0);
  while (!moments.next().done); // nobody waits: nothing is computed
  device.optimizer.zeroGrad();
}

/** The prompt at once, then a token: what `generate` holds, with rows of different lengths. */
function rehearseGeneration(
  model: LanguageModel,
  { batchSize, promptLength, maxNewTokens }: GenerationShape,
): void {
  const { engine } = model;
  const capacity = Math.ceil((promptLength + maxNewTokens - 1) / 64) * 64;
  const cache = engine.scope('cache', () => cacheFor(model, batchSize, capacity));
  const segments = engine.keep(engine.empty([batchSize, capacity], 'int32'));
  for (const length of [promptLength, 1])
    engine.noGrad(() =>
      engine.scope('generate', () => {
        const [inputIds, positions] = engine.scope('upload', () => [
          engine.empty([batchSize, length], 'int32'),
          engine.empty([batchSize, length], 'int32'),
        ]);
        const hidden = model.hiddenStates({
          inputIds: inputIds!,
          positions: positions!,
          segments,
          cache,
        });
        const last = hidden.slice(1, length - 1, length).reshape(batchSize, -1);
        argmax(engine.scope('loss', () => model.head(last)));
      }),
    );
  cache.dispose();
  segments.dispose();
}

/** The rows with the most tokens, as one batch. */
function largestBatch(objective: Objective, examples: readonly unknown[], rows: number): HostBatch {
  const collated = objective.collate(longestExamples(examples, rows, objective.rows));
  const batch = objective.standIn?.(collated) ?? collated;
  const { positions } = batch;
  if (positions?.reach === undefined) return batch;
  // The longest text may be in another row than the fullest: frequencies of rotary embeddings
  // follow it.
  const reach = examples.reduce<number>(
    (most, example) => Math.max(most, longestText(example)),
    positions.reach,
  );
  return { ...batch, positions: { ...positions, reach } };
}

/**
 * The tokens of the longest text in an example: of a packed one, the longest in it; of others 0.
 */
function longestText(example: unknown): number {
  const { seqLengths } = example as Partial<TokenExample>;
  return seqLengths ? Math.max(0, ...seqLengths) : (exampleLength(example) ?? 0);
}

/**
 * The rows with the most tokens, of those with several texts the longest text: what they are padded
 * to.
 *
 * @param rules which may say how long an example is
 */
export function longestExamples(
  examples: readonly unknown[],
  rows: number,
  rules?: RowRules,
): unknown[] {
  const bySize = examples.map((example) => ({
    example,
    tokens: exampleLength(example, rules) ?? countNumbers(example),
  }));
  bySize.sort((a, b) => b.tokens - a.tokens);
  return bySize.slice(0, rows).map(({ example }) => example);
}

/** Numbers in an example, whatever it is: token ids, in the end. */
function countNumbers(value: unknown): number {
  if (typeof value === 'string' || ArrayBuffer.isView(value))
    return (value as { length?: number }).length ?? 0;
  if (Array.isArray(value))
    return typeof value[0] === 'number' ? value.length : sum(value.map(countNumbers));
  return typeof value === 'object' && value !== null
    ? sum(Object.values(value).map(countNumbers))
    : 0;
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** What an allocation is for, by the scope in which it is made. */
function categoryOf(scope: Scope): string {
  for (let at: Scope | null = scope; at; at = at.parent)
    switch (at.name) {
      case 'upload':
        return 'inputs';
      case 'offloaded':
        return 'weights uploaded';
      case 'loss':
        return 'loss';
      case 'cache':
        return 'cache';
      case 'backward':
        return 'backward';
    }
  return 'activations';
}
