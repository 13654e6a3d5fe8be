import type { Loader } from '../../dataset/loader.js';
import { AttuneError } from '../../util/errors.js';
import type { SftArguments } from '../sftTrainer.js';
import type { TrainingContext } from '../trainingContext.js';

/** The order of the data and where it is cut into updates: what a resumed run must share. */
interface Geometry {
  readonly modelType: string;
  /** Trainable values, of whatever shape. */
  readonly trainable: number;
  /** null: a stream. */
  readonly rows: number | null;
  readonly batchSize: number;
  readonly gradientAccumulationSteps: number;
  readonly seed: number;
  readonly dataSeed: number;
  readonly trainSamplingStrategy: string;
  readonly dropLast: boolean;
  /** How rows were packed, where they are. */
  readonly packing: string;
}

export function geometryOf(
  { args, model }: Pick<TrainingContext, 'args' | 'model'>,
  loader: Pick<Loader<unknown>, 'length'>,
): Geometry {
  const { packing, packingStrategy } = args as Partial<SftArguments>;
  const trainable = new Set(
    [...model.root.namedParameters()].flatMap(([, p]) => (p.trainable ? [p] : [])),
  );
  return {
    modelType: model.config.modelType,
    trainable: [...trainable].reduce((n, { size }) => n + size, 0),
    rows: loader.length,
    batchSize: args.perDeviceTrainBatchSize,
    gradientAccumulationSteps: args.gradientAccumulationSteps,
    seed: args.seed,
    dataSeed: args.dataSeed ?? args.seed,
    trainSamplingStrategy: args.trainSamplingStrategy,
    dropLast: args.dataloaderDropLast,
    packing: packing ? `${packingStrategy} of ${args.maxLength} tokens` : 'none',
  };
}

/** With another model or cut of the data, "go on where it stopped" has no meaning. @throws CHECKPOINT_MISMATCH */
export function checkGeometry(
  folder: string,
  saved: Readonly<Record<string, unknown>>,
  now: Geometry,
): void {
  const changed = (Object.keys(now) as (keyof Geometry)[])
    .filter((key) => saved[key] !== now[key])
    .map((key) => `${key} was ${saved[key]} and is ${now[key]}`);
  if (changed.length === 0) return;
  throw new AttuneError('CHECKPOINT_MISMATCH', `${folder}: ${changed.join(', ')}.`, {
    remedy:
      'Resume with the model, rows and batch sizes of the saved run; or load its weights and start a new one.',
  });
}
