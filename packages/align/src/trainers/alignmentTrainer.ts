import {
  AttuneError,
  type EvalDataset,
  type EvalMetrics,
  type LanguageModel,
  Trainer,
  type TrainerOptions,
  type TrainingArguments,
  type TrainingArgumentsInput,
} from '@attune/core';
import {
  checkTrainerOptions,
  trainerOptions,
  trainingArgumentsSchema,
} from '@attune/core/training';
import {
  describeValue,
  type FilledOptions,
  isPlainObject,
  type OptionsInput,
} from '@attune/core/util';
import { z } from 'zod';
import {
  type AlignmentObjective,
  AlignmentObjectives,
  type DefinedObjective,
} from '../contract/alignmentObjective.js';
import { alignmentShape, createObjective, pick } from '../objectives/create.js';
import type { ReferenceChoice } from '../reference/reference.js';
import { unpairPreferences } from '../rows/unpairPreferences.js';

/** Arguments of every alignment trainer, filled in. */
export type AlignmentArguments = TrainingArguments & FilledOptions<typeof alignmentShape>;

/** Arguments of an alignment trainer with an objective, as they are written. */
export type AlignmentArgumentsInput<S extends z.ZodObject = z.ZodObject> = TrainingArgumentsInput &
  OptionsInput<typeof alignmentShape> &
  OptionsInput<S['shape']>;

const ownShape = {
  /** What is learned: the name of an objective, e.g. "simpo", or one itself. */
  objective: z.custom<AlignmentObjective | string>(),
  /**
   * What the model is compared with: "base", "initial", another model, or `{ precomputed: file }`.
   * Default: "base" with peftConfig, else "initial".
   */
  reference: z.custom<ReferenceChoice>().optional().meta({ aka: 'refmodel referencemodel ref' }),
};
const { objective: _, objectiveOptions: __, ...ofEveryTrainer } = trainerOptions.shape;
const options = z.strictObject({ ...ofEveryTrainer, ...ownShape });

/** Options of an {@link AlignmentTrainer}. */
export type AlignmentTrainerOptions<S extends z.ZodObject = z.ZodObject> = Omit<
  TrainerOptions<AlignmentArguments, AlignmentArgumentsInput<S>>,
  'objective' | 'objectiveOptions'
> & {
  readonly objective: DefinedObjective<S> | string;
  readonly reference?: ReferenceChoice;
};

/** Options of a trainer whose objective is known: DPOTrainer, ... */
export type NamedTrainerOptions<D> =
  D extends DefinedObjective<infer S> ? Omit<AlignmentTrainerOptions<S>, 'objective'> : never;

/**
 * Trains on preferences. Options of the objective stand among `args`. Defaults of training
 * arguments are those of TRL: learningRate 1e-6, loggingSteps 10, maxLength 1024.
 *
 * @example
 * new AlignmentTrainer({ objective: 'simpo', model, tokenizer, trainDataset, args: { beta: 2, gamma: 1, outputDir: 'out' } })
 */
export class AlignmentTrainer<S extends z.ZodObject = z.ZodObject> extends Trainer<
  AlignmentArguments & z.output<S>,
  AlignmentArgumentsInput<S>
> {
  readonly #isUnpaired: boolean;

  /**
   * @throws UNKNOWN_OPTION, TRAINER_OPTION, ARGUMENTS_INVALID, REFERENCE, CAUSAL_LM_NEEDED,
   *   UNKNOWN_NAME for an objective that no plugin added, and what the objective refuses
   */
  constructor(given: AlignmentTrainerOptions<S>) {
    const definition = definitionOf(new.target.name, given);
    const schema = trainingArgumentsSchema.extend({
      ...alignmentShape,
      ...definition.options.shape,
    });
    checkTrainerOptions(new.target.name, given, options, schema);
    const { objective: _, reference, ...rest } = given;
    const isUnpaired = definition.format === 'unpaired';
    const { trainDataset, evalDataset } = rest;
    super(
      {
        ...rest,
        ...(isUnpaired &&
          trainDataset && {
            trainDataset: unpairPreferences(trainDataset, { logger: rest.model.attune.logger }),
          }),
        ...(isUnpaired && evalDataset && { evalDataset: eachSet(evalDataset) }),
        objective: (args: AlignmentArguments, model: LanguageModel) =>
          createObjective(definition, pick(args, definition.options), args, {
            model,
            args,
            reference,
            start: rest.peftConfig ? 'base' : 'initial',
          }),
      } as never,
      {
        schema: schema as unknown as typeof trainingArgumentsSchema,
        defaults: {
          learningRate: 1e-6,
          loggingSteps: 10,
          maxLength: 1024,
          ...definition.defaults,
        },
      },
    );
    this.#isUnpaired = isUnpaired;
  }

  /** As `Trainer.evaluate`. Pairs are taken apart where the objective learns single answers. */
  override evaluate(dataset?: EvalDataset): Promise<EvalMetrics> {
    return super.evaluate(dataset && this.#isUnpaired ? eachSet(dataset) : dataset);
  }
}

const eachSet = (sets: EvalDataset): EvalDataset =>
  Symbol.iterator in sets || Symbol.asyncIterator in sets
    ? unpairPreferences(sets as never)
    : Object.fromEntries(
        Object.entries(sets).map(([name, set]) => [name, unpairPreferences(set as never)]),
      );

/** The objective itself, or that of the name. @throws TRAINER_OPTION, UNKNOWN_NAME */
function definitionOf(
  trainer: string,
  given: Pick<AlignmentTrainerOptions, 'objective' | 'model'>,
): AlignmentObjective {
  const objective: unknown = given?.objective;
  if (isObjective(objective)) return objective;
  // What else is wrong is said first: a model that is none has no objectives.
  checkTrainerOptions(trainer, given, options, trainingArgumentsSchema.loose());
  if (typeof objective === 'string')
    return given.model.attune.registry(AlignmentObjectives).get(objective);
  throw new AttuneError(
    'TRAINER_OPTION',
    `${trainer}: expected an alignment objective, found ${describeValue(objective)}.`,
    {
      remedy:
        "Name one: objective: 'dpo', with align() among the plugins; or pass what defineAlignmentObjective gives.",
    },
  );
}

const isObjective = (value: unknown): value is AlignmentObjective =>
  isPlainObject(value) && 'format' in value && 'options' in value && 'loss' in value;
