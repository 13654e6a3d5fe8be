import { AttuneError, type LanguageModel } from '@attune/core';
import type { Objective, TrainingArguments } from '@attune/core/training';
import { describeValue, isPlainObject, type OptionsInput, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import type { AlignmentObjective, DefinedObjective } from '../contract/alignmentObjective.js';
import { isModel } from '../reference/otherModel.js';
import { Reference, type ReferenceChoice } from '../reference/reference.js';
import { answerRowShape } from '../rows/rowOptions.js';
import { alphaPoObjective, cpoObjective, simpoObjective } from './cpo.js';
import { dpoObjective } from './dpo.js';
import { ipoObjective } from './ipo.js';
import { ktoObjective } from './kto.js';
import { orpoObjective } from './orpo.js';
import { pairObjective } from './pairObjective.js';
import type { AlignmentSettings } from './settings.js';
import { unpairedObjective } from './unpairedObjective.js';

/** What every alignment objective takes beside options of its own. */
export const alignmentShape = {
  truncationMode: answerRowShape.truncationMode,
  /** What is shown and refused before the first step. Default 'on'. */
  preflight: answerRowShape.preflight,
  /**
   * Train without dropout, the adapters' too. With it the log-ratio to the reference is noise.
   * Default true.
   */
  disableDropout: z.boolean().default(true),
  /**
   * What the model is compared with: "base", its adapters off; "initial", a frozen copy of what it
   * is at the start; `{ precomputed: file }`, log-probabilities that are computed once and kept.
   * Another model stands beside `args`, as `reference` of the trainer. Default: "base" with
   * peftConfig, else "initial".
   */
  reference: z
    .union([z.enum(['base', 'initial']), z.strictObject({ precomputed: z.string().min(1) })])
    .optional()
    .meta({ aka: 'referencemodel refmodel' }),
};

/** Options that every alignment objective takes. */
export type AlignmentOptions = OptionsInput<typeof alignmentShape>;

/** What is known where an objective is made. */
export interface ObjectiveSite {
  readonly model: LanguageModel;
  readonly args: Pick<TrainingArguments, 'perDeviceTrainBatchSize'> & {
    readonly maxLength: number | null;
  };
  /** The reference, where it is not named in the options. Default: `start`. */
  readonly reference?: ReferenceChoice | undefined;
  /** What the model was before it is trained: what is computed where a file keeps it. */
  readonly start: 'base' | 'initial';
}

/**
 * An objective of options that were checked.
 *
 * @throws what `check` of the definition throws; REFERENCE
 */
export function createObjective(
  definition: AlignmentObjective,
  options: Readonly<Record<string, unknown>>,
  general: z.output<z.ZodObject<typeof alignmentShape>>,
  { model, args, reference: given, start }: ObjectiveSite,
): Objective {
  definition.check?.(options);
  if (model.taskType !== 'CAUSAL_LM')
    throw new AttuneError(
      'CAUSAL_LM_NEEDED',
      `${definition.name} compares log-probabilities of texts, and the model is for the task "${model.taskType}".`,
      { remedy: 'Load it with AutoModelForCausalLM.fromPretrained(path, { attune }).' },
    );
  const choice = chosenReference(general.reference, given) ?? start;
  const precomputed = isPlainObject(choice) ? (choice.precomputed as string) : null;
  const computing = precomputed === null ? choice : model.adapters ? start : 'initial';
  const settings: AlignmentSettings = {
    maxLength: args.maxLength!,
    truncationMode: general.truncationMode,
    preflight: general.preflight,
    disableDropout: general.disableDropout,
    precomputed,
    trainBatchSize: args.perDeviceTrainBatchSize,
    fingerprint: { ...(options as Readonly<Record<string, never>>) },
  };
  const reference = definition.needsReference
    ? Reference.of(model, computing as Exclude<ReferenceChoice, { precomputed: string }>)
    : null;
  const parts = { options, settings, reference };
  return (
    definition.format === 'pairs'
      ? pairObjective(definition, parts)
      : unpairedObjective(definition, parts)
  ) as Objective;
}

/** The one that is given, in the arguments or beside them. @throws REFERENCE */
function chosenReference(
  inArgs: ReferenceChoice | undefined,
  beside: unknown,
): ReferenceChoice | undefined {
  if (beside === undefined) return inArgs;
  if (inArgs !== undefined)
    throw new AttuneError('REFERENCE', 'reference stands among args and beside them.', {
      remedy: 'Keep one of the two.',
    });
  if (isModel(beside)) return beside;
  const { success, data } = alignmentShape.reference.safeParse(beside);
  if (success && data !== undefined) return data;
  throw new AttuneError('REFERENCE', `reference is ${describeValue(beside)}.`, {
    remedy: "Give 'base', 'initial', a loaded model, or { precomputed: 'cache' }.",
  });
}

/** Makes an objective where a Trainer has its checked arguments. */
export type ObjectiveFactory = (
  args: TrainingArguments & { readonly maxLength: number | null },
  model: LanguageModel,
) => Objective;

/**
 * An alignment objective for `new Trainer({ objective })`: options of its own, those of every
 * alignment objective, and a reference, which may be another model.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION, and later REFERENCE
 */
export const alignmentObjective = <S extends z.ZodObject>(
  definition: DefinedObjective<S>,
  options: z.input<S> &
    Omit<AlignmentOptions, 'reference'> & { readonly reference?: ReferenceChoice },
): ObjectiveFactory => {
  const { reference, ...given } = options as Record<string, unknown>;
  const other = isModel(reference) ? reference : undefined;
  const where = definition.name;
  const checked = parseOptions(
    z.strictObject({ ...definition.options.shape, ...alignmentShape }),
    { ...given, ...(reference !== undefined && !other && { reference }) },
    { where },
  ) as Record<string, unknown>;
  const [own, general] = [
    pick(checked, definition.options),
    pick(checked, z.strictObject(alignmentShape)),
  ];
  return (args, model) =>
    createObjective(definition, own, general as never, {
      model,
      args,
      reference: other,
      start: 'initial',
    });
};

/** Those of some values that a schema names. */
export const pick = (
  values: Readonly<Record<string, unknown>>,
  { shape }: z.ZodObject,
): Record<string, unknown> =>
  Object.fromEntries(Object.entries(values).filter(([name]) => name in shape));

type OptionsOf<D> =
  D extends DefinedObjective<infer S> ? Parameters<typeof alignmentObjective<S>>[1] : never;

/** DPO as an objective of a Trainer. @example new Trainer({ objective: dpo({ beta: 0.1 }), ... }) */
export const dpo = (options: OptionsOf<typeof dpoObjective> = {}) =>
  alignmentObjective(dpoObjective, options);
/** IPO as an objective of a Trainer. */
export const ipo = (options: OptionsOf<typeof ipoObjective> = {}) =>
  alignmentObjective(ipoObjective, options);
/** KTO as an objective of a Trainer. */
export const kto = (options: OptionsOf<typeof ktoObjective> = {}) =>
  alignmentObjective(ktoObjective, options);
/** ORPO as an objective of a Trainer. */
export const orpo = (options: OptionsOf<typeof orpoObjective> = {}) =>
  alignmentObjective(orpoObjective, options);
/** CPO as an objective of a Trainer. */
export const cpo = (options: OptionsOf<typeof cpoObjective> = {}) =>
  alignmentObjective(cpoObjective, options);
/** SimPO as an objective of a Trainer. */
export const simpo = (options: OptionsOf<typeof simpoObjective> = {}) =>
  alignmentObjective(simpoObjective, options);
/** AlphaPO as an objective of a Trainer. */
export const alphaPo = (options: OptionsOf<typeof alphaPoObjective> = {}) =>
  alignmentObjective(alphaPoObjective, options);

/** What `align()` adds to `AlignmentObjectives`. */
export const builtinObjectives: readonly AlignmentObjective[] = [
  dpoObjective,
  ipoObjective,
  ktoObjective,
  orpoObjective,
  cpoObjective,
  simpoObjective,
  alphaPoObjective,
];
