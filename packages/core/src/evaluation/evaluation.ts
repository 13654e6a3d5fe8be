import type { CallbackHandler } from '../callbacks/handler.js';
import { Loader, sampleExamples } from '../dataset/loader.js';
import type { RowSource } from '../dataset/rowSource.js';
import type { TextTokenizer } from '../text/tokenizeRow.js';
import type { PreparedRows } from '../trainer/rows/preparedRows.js';
import { metricName } from '../training/arguments/metricName.js';
import { computeDTypeOf } from '../training/arguments/trainingArguments.js';
import type { EvalMetrics, Logs } from '../training/callback.js';
import type { Objective } from '../training/objective.js';
import { AttuneError } from '../util/errors.js';
import { camelToSnake, isPlainObject, snakeToCamel } from '../util/json.js';
import { addSums, type EvaluationSums, evaluate, sumOverRanks, toMetrics } from './evaluate.js';
import {
  type ComputeMetrics,
  type EvalPrediction,
  PredictionCollector,
  type PreprocessLogits,
} from './predictions.js';
import { type EvaluationTask, runEvaluationTask } from './tasks/evaluationTask.js';

/** Rows to evaluate on: one set, or several by name. */
export type EvalDataset = RowSource | Readonly<Record<string, RowSource>>;

/** What `trainer.predict` gives: outputs, labels and metrics. */
export interface PredictionOutput extends EvalPrediction {
  /**
   * testLoss, testRuntime, ... and what `computeMetrics` gave; testPerplexity as in `EvalMetrics`.
   */
  readonly metrics: Logs;
}

interface EvaluationParts {
  readonly callbacks: CallbackHandler;
  readonly objective: Objective;
  readonly computeMetrics: ComputeMetrics | undefined;
  readonly preprocessLogits: PreprocessLogits | undefined;
  readonly tasks: readonly EvaluationTask[];
  readonly tokenizer: TextTokenizer | null;
  readonly rows: PreparedRows;
  /** Its signal aborts when the run in progress is to end. */
  readonly stop: { readonly signal: AbortSignal };
}

/** What a Trainer does with rows that it does not learn from: `evaluate` and `predict`. */
export class Evaluation {
  constructor(private readonly parts: EvaluationParts) {}

  /**
   * The metrics of one set, or of several: those of each under its name (`evalMathLoss`), and those
   * of all their rows together (`evalLoss`).
   *
   * @throws EVAL_SET_NAME, COMPUTE_METRICS, PREDICTIONS
   */
  async evaluate(dataset: EvalDataset): Promise<EvalMetrics> {
    const sets = setsOf(dataset);
    const prefixes = setPrefixes(sets.map(([name]) => name));
    const metrics: Record<string, number> = {};
    let all: EvaluationSums | null = null;
    for (const [i, [name, rows]] of sets.entries()) {
      const { sums, metrics: own } = await this.#measure(rows, prefixes[i]!, name);
      Object.assign(metrics, own);
      all = all ? addSums(all, sums) : sums;
    }
    if (all && isPlainObject(dataset))
      Object.assign(metrics, toMetrics(all, 'eval', this.parts.objective));
    return metrics as EvalMetrics;
  }

  /**
   * The tasks and the rows of the trainer; without rows, the tasks alone.
   *
   * @throws NO_ROWS without either, and what `evaluate` and `runTasks` throw
   */
  async evaluateAll(dataset: EvalDataset | undefined): Promise<EvalMetrics> {
    if (!dataset && this.parts.tasks.length === 0)
      throw new AttuneError('NO_ROWS', 'evaluate() needs rows.', {
        remedy: 'Pass evalDataset or evaluationTasks to the trainer, or a data set to evaluate().',
      });
    const tasks = await this.runTasks();
    return { ...tasks, ...(dataset && (await this.evaluate(dataset))) } as EvalMetrics;
  }

  /**
   * Before the first step, what would end the run at its first evaluation: rows that cannot be
   * used, of a stream among its first, names that do not go together, tasks that cannot run.
   *
   * @throws NO_ROWS, EVAL_SET_NAME, EVALUATION_TASK, and what the preflight refuses rows for
   */
  async checkAhead(dataset: EvalDataset | undefined): Promise<void> {
    const sets = dataset ? setsOf(dataset) : [];
    const { rows, tasks } = this.parts;
    setPrefixes([...sets.map(([name]) => name), ...tasks.map(({ name }) => name)]);
    if (tasks[0]) this.#tokenizerFor(tasks[0]);
    for (const [name, source] of sets) await rows.checkAhead(source, name);
  }

  /**
   * The tasks, after each other: `acc` of the task "arc" is `evalArcAcc`.
   *
   * @throws EVALUATION_TASK
   */
  async runTasks(): Promise<Record<string, number>> {
    const { tasks, callbacks, stop } = this.parts;
    const { model, args, state } = callbacks.context;
    const { communicator } = model.attune;
    const shared = communicator.worldSize > 1 && { communicator };
    const metrics: Record<string, number> = {};
    for (const task of tasks) {
      const prefix = setPrefix(task.name);
      const tokenizer = this.#tokenizerFor(task);
      const batchSize = args.perDeviceEvalBatchSize;
      const { signal } = stop;
      signal.throwIfAborted();
      const own = await callbacks.activity.during(
        `evaluation task "${task.name}" at update ${state.globalStep}`,
        runEvaluationTask(task, { model, tokenizer, batchSize, signal, ...shared }),
      );
      for (const [name, value] of Object.entries(own)) metrics[metricName(prefix, name)] = value;
    }
    return metrics;
  }

  /** The examples of every set, of a stream the first thousand. */
  async examples(dataset: EvalDataset): Promise<unknown[]> {
    const sets = [];
    for (const [name, source] of setsOf(dataset))
      sets.push(await sampleExamples(await this.parts.rows.examples(source, 'evaluation', name)));
    return sets.flat();
  }

  /** @throws COMPUTE_METRICS, PREDICTIONS */
  async predict(rows: RowSource, metricKeyPrefix: string): Promise<PredictionOutput> {
    const { callbacks, preprocessLogits } = this.parts;
    const compute = computeDTypeOf(callbacks.context.args);
    const collector = new PredictionCollector(preprocessLogits, compute);
    const { metrics } = await this.#measure(rows, metricKeyPrefix, undefined, collector);
    await callbacks.call('onPredict', metrics);
    return { ...collector.all(), metrics };
  }

  /** @throws EVALUATION_TASK */
  #tokenizerFor(task: EvaluationTask): TextTokenizer {
    const { tokenizer } = this.parts;
    if (tokenizer) return tokenizer;
    throw new AttuneError('EVALUATION_TASK', `task "${task.name}" needs a tokenizer.`, {
      remedy: 'Pass tokenizer to the trainer.',
    });
  }

  async #measure(
    rows: RowSource,
    prefix: string,
    name: string | undefined,
    given: PredictionCollector | null = null,
  ): Promise<{ sums: EvaluationSums; metrics: EvalMetrics }> {
    const { callbacks, objective, computeMetrics, preprocessLogits, stop } = this.parts;
    const { args, model, state, logger } = callbacks.context;
    const compute = computeDTypeOf(args);
    const collector =
      given ?? (computeMetrics ? new PredictionCollector(preprocessLogits, compute) : null);
    const { communicator } = model.attune;
    const isShared = communicator.worldSize > 1;
    const own = await evaluate({
      objective,
      loader: new Loader(await this.parts.rows.examples(rows, 'evaluation', name), {
        batchSize: objective.examplesPerGroup?.evaluation ?? args.perDeviceEvalBatchSize,
        ...(isShared && { share: communicator }),
        shuffle: false,
        seed: 0,
        dropLast: false,
        collate: (examples) => objective.collate(examples),
      }),
      context: {
        model,
        step: state.globalStep,
        seed: args.seed,
        use: 'evaluation',
        signal: stop.signal,
        computeDType: compute,
        logger,
      },
      collector,
      activity: callbacks.activity,
      onStep: (progress) => callbacks.call('onPredictionStep', progress),
    });
    const sums = isShared ? await sumOverRanks(communicator, own) : own;
    if (isShared) await collector?.gather(communicator);
    const computed =
      computeMetrics && collector
        ? await callbacks.activity.during('computeMetrics', custom(computeMetrics, collector))
        : {};
    const named = Object.entries(computed).map(([name, value]) => [
      metricName(prefix, name),
      value,
    ]);
    return {
      sums,
      metrics: {
        ...toMetrics(sums, prefix, objective),
        ...Object.fromEntries(named),
      } as EvalMetrics,
    };
  }
}

/** @throws COMPUTE_METRICS */
async function custom(
  computeMetrics: ComputeMetrics,
  collector: PredictionCollector,
): Promise<Readonly<Record<string, number>>> {
  let metrics: Readonly<Record<string, number>>;
  try {
    metrics = await computeMetrics(collector.all());
  } catch (error) {
    throw new AttuneError(
      'COMPUTE_METRICS',
      `computeMetrics failed: ${error instanceof Error ? error.message : error}`,
      { cause: error },
    );
  }
  for (const [name, value] of Object.entries(metrics))
    if (typeof value !== 'number')
      throw new AttuneError(
        'COMPUTE_METRICS',
        `computeMetrics gave "${name}": ${JSON.stringify(value)}, which is not a number.`,
        { remedy: 'Return an object of numbers, e.g. { accuracy: 0.9 }.' },
      );
  return metrics;
}

/** The sets of a data set with their names; one without a name is the only one. @throws NO_ROWS */
function setsOf(dataset: EvalDataset): (readonly [name: string | undefined, rows: RowSource])[] {
  if (!isPlainObject(dataset)) return [[undefined, dataset as RowSource]];
  const sets = Object.entries(dataset as Readonly<Record<string, RowSource>>);
  if (sets.length > 0) return sets;
  throw new AttuneError('NO_ROWS', 'evalDataset is {}: there is no set to evaluate.', {
    remedy: 'Give at least one set of rows, or leave evalDataset out.',
  });
}

/**
 * What the metrics of sets and tasks begin with, in their order.
 *
 * @throws EVAL_SET_NAME for two that are the same
 */
function setPrefixes(names: readonly (string | undefined)[]): string[] {
  const prefixes = names.map((name) => (name === undefined ? 'eval' : setPrefix(name)));
  const again = prefixes.findIndex((prefix, i) => prefixes.indexOf(prefix) < i);
  if (again < 0) return prefixes;
  throw new AttuneError(
    'EVAL_SET_NAME',
    `two evaluation sets or tasks, "${names[prefixes.indexOf(prefixes[again]!)]}" and "${names[again]}", would both be logged as ${prefixes[again]}...`,
    { remedy: 'Rename one of them.' },
  );
}

/**
 * "math" -> "evalMath". Names must survive the way into trainer_state.json and back.
 *
 * @throws EVAL_SET_NAME
 */
function setPrefix(name: string): string {
  const camel = snakeToCamel(name);
  if (/^[a-z][\w-]*$/.test(name) && snakeToCamel(camelToSnake(`x_${name}`)) === `x${cap(camel)}`)
    return `eval${cap(camel)}`;
  throw new AttuneError('EVAL_SET_NAME', `there is an evaluation set or task "${name}".`, {
    remedy:
      'Name them with lower-case letters, digits and _ : { gsm8k: rows } is logged as evalGsm8kLoss, eval_gsm8k_loss in files.',
  });
}

const cap = (word: string): string => `${word[0]!.toUpperCase()}${word.slice(1)}`;
