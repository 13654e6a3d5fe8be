import { type Examples, isStream, sampleExamples } from '../dataset/loader.js';
import type { RowSource } from '../dataset/rowSource.js';
import type { EvalDataset, Evaluation } from '../evaluation/evaluation.js';
import type { Resume } from '../training/arguments/choices.js';
import { Holdings } from '../util/holdings.js';
import type { TrainingSession } from './loop/trainingSteps.js';
import { findBatchSize, takeBatchSize } from './memory/autoBatchSize.js';
import { checkBudget } from './memory/memoryBudget.js';
import { longestExamples, type PlanSubject } from './memory/planMemory.js';
import { rehearse } from './rehearsals.js';
import { trainingLoader } from './rows/trainingLoader.js';
import type { TrainingLoader } from './run/dataCursor.js';
import { OutputFolder } from './run/outputFolder.js';
import { trainedParameters } from './run/trainingRun.js';
import type { TrainOptions } from './trainerOptions.js';
import type { TrainingContext } from './trainingContext.js';

/** What rows a trainer has. */
export interface TrainerRows {
  readonly train: RowSource;
  readonly eval: EvalDataset | undefined;
}

/**
 * Everything before the first update: outputDir is locked, rows are read and checked, the objective
 * is prepared, the batch size is found where it is asked for, and what does not fit `maxMemory` is
 * refused.
 *
 * @param lease what the session gives back when it ends, beside outputDir and the signals of the
 *   process
 * @throws what a run is refused for: NO_ROWS, ROW_FORMAT, CHECKPOINT_NONE, MEMORY_BUDGET, ...
 */
export async function beginTraining(
  context: TrainingContext,
  evaluation: Evaluation,
  rows: TrainerRows,
  { resumeFromCheckpoint, signal, handleSignals = true }: TrainOptions,
  lease: Disposable,
): Promise<TrainingSession> {
  const { args, model, objective, stop, ranks } = context;
  const holdings = new Holdings();
  holdings.add(lease);
  try {
    const saves = args.saveStrategy !== 'no';
    const resume = resumeFromCheckpoint ?? args.resumeFromCheckpoint;
    const output = holdings.add(await openOutput(context, { saves, resume }));
    const examples = await context.rows.examples(rows.train, 'training');
    const checkRows = () => context.rows.check(rows.train, 'training');
    if (!isStream(examples)) checkRows();
    if (args.evalStrategy !== 'no' || args.evalOnStart) await evaluation.checkAhead(rows.eval);
    // What is prepared is of the model with which every rank begins.
    if (ranks && objective.prepare) await ranks.shareWeights(trainedParameters(context));
    await context.prepare();
    if (args.autoFindBatchSize)
      await (output.start
        ? takeBatchSize(args, output.start)
        : fitBatchSize(context, evaluation, rows));
    if (args.autoFindBatchSize && ranks) {
      // What fits on every rank.
      const sizes = await ranks.gather(args.perDeviceTrainBatchSize);
      Object.assign(args, { perDeviceTrainBatchSize: Math.min(...sizes) });
    }
    const loader = loaderOf(context, examples);
    if (args.maxMemory !== null)
      checkBudget(await planSubject(context, evaluation, rows), args.maxMemory);
    await model.adapters?.ready?.();
    holdings.add(stop.listen(signal, handleSignals));
    const release = () => holdings[Symbol.asyncDispose]();
    return { loader, output, checkRows, [Symbol.asyncDispose]: release };
  } catch (error) {
    await holdings[Symbol.asyncDispose]();
    throw error;
  }
}

/** The first of several ranks opens the folder, and tells the others where the run begins. */
async function openOutput(
  { args, logger, ranks }: TrainingContext,
  options: { readonly saves: boolean; readonly resume: Resume },
): Promise<OutputFolder> {
  const open = () => OutputFolder.open(args.outputDir, options, logger);
  if (!ranks) return open();
  let own: OutputFolder | null = null;
  const { run, start } = await ranks.fromWriter(async () => {
    own = await open();
    return { run: own.run, start: own.start };
  });
  return own ?? OutputFolder.follow(args.outputDir, run, start, logger);
}

/** The batches of an epoch, in the order that the arguments ask for. */
export const loaderOf = (
  { args, objective, rows, model }: TrainingContext,
  examples: Examples<unknown>,
): TrainingLoader =>
  trainingLoader(examples, args, objective, rows.lengths, model.attune.communicator);

/** What memory is planned for. */
export async function planSubject(
  context: TrainingContext,
  evaluation: Evaluation,
  rows: TrainerRows,
): Promise<PlanSubject> {
  return {
    context,
    trainExamples: await sampleExamples(await context.rows.examples(rows.train, 'training')),
    evalExamples: rows.eval ? await evaluation.examples(rows.eval) : null,
  };
}

/** Sets perDeviceTrainBatchSize to what fits: see `autoFindBatchSize`. */
async function fitBatchSize(
  context: TrainingContext,
  evaluation: Evaluation,
  rows: TrainerRows,
): Promise<void> {
  const { args, model, objective, logger } = context;
  const { backend } = model.engine;
  const examples = await context.rows.examples(rows.train, 'training');
  const sample = await sampleExamples(examples);
  const attempt = async (size: number): Promise<void> => {
    Object.assign(args, { perDeviceTrainBatchSize: size });
    if (args.maxMemory !== null)
      checkBudget(await planSubject(context, evaluation, rows), args.maxMemory);
    const longest = objective.collate(longestExamples(sample, size, objective.rows));
    await rehearse(context, loaderOf(context, examples), async (update) => {
      await backend.sync(); // optimizer and gradients fit
      await update(args.gradientAccumulationSteps > 1 ? [longest, longest] : [longest]);
      await backend.sync();
    });
  };
  const recover = backend.recover ? () => backend.recover!() : undefined;
  await findBatchSize(args.perDeviceTrainBatchSize, attempt, recover, logger);
}
