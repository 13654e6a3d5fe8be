import type { Loader } from '../../dataset/loader.js';
import { trainedRoot } from '../../training/trainedRoot.js';
import { AttuneError } from '../../util/errors.js';
import type { TrainingContext } from '../trainingContext.js';
import type { CheckpointJson } from './checkpoint/checkpointJson.js';
import { changedObjective } from './objectiveRecord.js';

/** The order of the data and where it is cut into updates: what a resumed run must share. */
interface Geometry {
  readonly modelType: string;
  /** Trainable values, of whatever shape. */
  readonly trainable: number;
  /** null: a stream. */
  readonly rows: number | null;
  /** Rows of a micro-batch, of all ranks together. */
  readonly batchSize: number;
  readonly gradientAccumulationSteps: number;
  readonly seed: number;
  readonly dataSeed: number;
  readonly trainSamplingStrategy: string;
  readonly dropLast: boolean;
}

export function geometryOf(
  { args, model, objective }: Pick<TrainingContext, 'args' | 'model' | 'objective'>,
  loader: Pick<Loader<unknown>, 'length'>,
): Geometry {
  const trainable = new Set(
    [...trainedRoot(model, objective).namedParameters()].flatMap(([, p]) =>
      p.trainable ? [p] : [],
    ),
  );
  return {
    modelType: model.config.modelType,
    trainable: [...trainable].reduce((n, { size }) => n + size, 0),
    rows: loader.length,
    batchSize: args.perDeviceTrainBatchSize * model.attune.communicator.worldSize,
    gradientAccumulationSteps: args.gradientAccumulationSteps,
    seed: args.seed,
    dataSeed: args.dataSeed ?? args.seed,
    trainSamplingStrategy: args.trainSamplingStrategy,
    dropLast: args.dataloaderDropLast,
  };
}

/**
 * With another model, objective or cut of the data, "go on where it stopped" has no meaning.
 *
 * @throws CHECKPOINT_MISMATCH
 */
export function checkSameRun(
  folder: string,
  { geometry, objective }: Pick<CheckpointJson['attune_state.json'], 'geometry' | 'objective'>,
  context: Pick<TrainingContext, 'args' | 'model' | 'objective'>,
  loader: Pick<Loader<unknown>, 'length'>,
): void {
  const now = geometryOf(context, loader);
  // Checkpoints had no objective in them once, and said of it how rows were packed.
  const { packing } = geometry;
  const before = objective ?? (packing === undefined ? null : { fingerprint: { packing } });
  const changed = [
    ...(before ? changedObjective(before, context.objective) : []),
    ...(Object.keys(now) as (keyof Geometry)[])
      .filter((key) => geometry[key] !== now[key])
      .map((key) => `${key} was ${geometry[key]} and is ${now[key]}`),
  ];
  if (changed.length === 0) return;
  throw new AttuneError('CHECKPOINT_MISMATCH', `${folder}: ${changed.join(', ')}.`, {
    remedy:
      'Resume with the model, objective, rows and batch sizes of the saved run; or load its weights and start a new one.',
  });
}
