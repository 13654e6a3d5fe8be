import type { z } from 'zod';
import { CallbackHandler } from '../callbacks/handler.js';
import { Evaluation } from '../evaluation/evaluation.js';
import { EvaluationTasks } from '../evaluation/tasks/evaluationTask.js';
import { LearningRateSchedules } from '../optim/scheduleDefinition.js';
import { changedArguments } from '../training/arguments/changedArguments.js';
import {
  parseTrainingArguments,
  type TrainingArguments,
  trainingArgumentsSchema,
} from '../training/arguments/trainingArguments.js';
import type { EvalMetrics } from '../training/callback.js';
import { checkObjective } from '../training/checkObjective.js';
import type { Objective } from '../training/objective.js';
import { TrainerState } from '../training/trainerState.js';
import { AttuneError } from '../util/errors.js';
import { applyPeft } from './applyPeft.js';
import { checkTrainerOptions } from './checkInputs.js';
import { checkEvaluation, checkPerplexity, checkSmoothing } from './checkTraining.js';
import { chooseObjective } from './chooseObjective.js';
import { Ranks } from './loop/ranks.js';
import { type StopReason, StopRequest } from './loop/stopRequest.js';
import { chooseOptimizer } from './makeOptimizer.js';
import { resolveMaxLength } from './maxLength.js';
import { prepareOnce } from './prepareObjective.js';
import { PreparedRows } from './rows/preparedRows.js';
import { RowLengths } from './rows/rowLengths.js';
import { type TrainerFlavor, type TrainerOptions, trainerOptions } from './trainerOptions.js';
import type { TrainingContext } from './trainingContext.js';

/** What a trainer is wired of. */
export interface TrainerParts {
  readonly context: TrainingContext;
  readonly evaluation: Evaluation;
  /** What its arguments are checked by. */
  readonly schema: z.ZodObject;
}

/**
 * Options -> the parts of a trainer, checked: arguments, model with its adapter, objective,
 * callbacks.
 *
 * @param name of the trainer's class, for errors
 * @param evaluate the trainer's own
 * @throws UNKNOWN_OPTION, TRAINER_OPTION, OBJECTIVE_INVALID, ARGUMENTS_INVALID, PEFT_MISSING,
 *   UNKNOWN_NAME (a callback), MAX_LENGTH
 */
export function wireTrainer<Args extends TrainingArguments, ArgsInput extends object>(
  name: string,
  options: TrainerOptions<Args, ArgsInput>,
  { schema = trainingArgumentsSchema, defaults = {} }: TrainerFlavor,
  evaluate: () => Promise<EvalMetrics>,
): TrainerParts {
  checkTrainerOptions(name, options, trainerOptions, schema);
  const { evalDataset, evaluationTasks = [], peftConfig, tokenizer = null } = options;
  const written = (options.args ?? {}) as Readonly<Record<string, unknown>>;
  const { attune } = options.model;
  const { logger } = attune;
  const schedules = attune.registry(LearningRateSchedules);
  const parsed = parseTrainingArguments(schema, written, defaults, schedules);
  checkEvaluation(parsed, evalDataset !== undefined, evaluationTasks.length > 0);
  const fitting = { ...parsed, maxLength: resolveMaxLength(parsed, written, options.model) };
  const [optimizer, schedule] = options.optimizers ?? [null];
  const optimizers = [
    optimizer ?? chooseOptimizer(attune, parsed),
    schedule ?? schedules.get(parsed.lrSchedulerType),
  ] as const;
  attune.engine.reseed(parsed.seed);
  const model = peftConfig ? applyPeft(options.model, peftConfig) : options.model;
  // Virtual tokens of the new adapter take positions.
  const args = { ...parsed, maxLength: resolveMaxLength(fitting, written, model) };
  if (parsed.gradientCheckpointing)
    model.gradientCheckpointingEnable(parsed.gradientCheckpointingKwargs);
  if (!options.objective)
    throw new AttuneError('TRAINER_OPTION', `${name}: objective is not given.`, {
      remedy: 'Pass objective: causalLmObjective({ ... }), or use SFTTrainer, which brings one.',
    });
  const objective: Objective =
    typeof options.objective === 'function'
      ? options.objective(args as unknown as Args, model)
      : chooseObjective(options.objective, options.objectiveOptions, { model, args });
  checkObjective(name, objective);
  checkSmoothing(parsed.labelSmoothingFactor, objective);
  if (!options.computeMetrics) checkPerplexity(parsed.metricForBestModel, objective);
  const callbacks = new CallbackHandler(
    {
      args,
      changedArguments: changedArguments(written, args, schema, defaults),
      state: new TrainerState(),
      control: {
        shouldTrainingStop: false,
        shouldEpochStop: false,
        shouldLog: false,
        shouldEvaluate: false,
        shouldSave: false,
      },
      model,
      objective,
      logger,
    },
    options.callbacks ?? [],
  );
  const { activity } = callbacks;
  const { lengthColumnName } = parsed;
  const lengths =
    parsed.groupByLength && lengthColumnName !== null ? new RowLengths(lengthColumnName) : null;
  const rows = new PreparedRows(model, objective, tokenizer, lengths);
  const { communicator } = attune;
  const ranks = communicator.worldSize > 1 ? new Ranks(communicator) : null;
  const stop = new StopRequest(
    (reason) => sayStop(reason, activity.current, logger),
    ranks !== null,
  );
  const evaluation = new Evaluation({
    callbacks,
    objective,
    computeMetrics: options.computeMetrics,
    preprocessLogits: options.preprocessLogitsForMetrics,
    tasks: evaluationTasks.map((task) =>
      typeof task === 'string' ? attune.registry(EvaluationTasks).get(task) : task,
    ),
    tokenizer,
    rows,
    stop,
  });
  const own = { model, objective, args, callbacks, rows, optimizers };
  const prepare = prepareOnce(objective, { model, logger }, activity);
  const context = { ...own, logger, activity, ranks, stop, prepare, evaluate };
  return { context, evaluation, schema };
}

/**
 * At the first request to end: what happens, and what the run is waiting for meanwhile.
 *
 * @param waits for what; null: for nothing of others
 */
function sayStop(
  reason: StopReason,
  waits: string | null,
  logger: TrainingContext['logger'],
): void {
  const waiting = waits === null ? '' : ` It is waiting for ${waits}.`;
  if (reason !== 'abort')
    logger.warn(
      `${reason}: the run ends after the update in progress, with a checkpoint.${waiting} Once more ends the process at once.`,
    );
  else if (waiting) logger.warn(`the run is to end.${waiting}`);
}
