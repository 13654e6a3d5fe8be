import type { z } from 'zod';
import { type ExtensionPoint, extensionPoint } from '../di/extensionPoint.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { TrainingArguments } from './arguments/trainingArguments.js';
import type { Objective } from './objective.js';

/** What an objective that is made by name may look at. */
export interface ObjectiveContext {
  readonly model: LanguageModel;
  /** Checked; `maxLength` is what the model allows, where it was not given. */
  readonly args: TrainingArguments;
}

/**
 * An objective as a Trainer finds it by name:
 * `new Trainer({ objective: 'acme-loss', objectiveOptions })`. A plugin adds one with
 * `context.add(Objectives, defineObjective({ ... }))`; the built-in ones come in the same way.
 */
export interface ObjectiveDefinition<Options = Readonly<Record<string, unknown>>> {
  readonly name: string;
  /** Checks and completes `objectiveOptions`, camelCase: a z.strictObject. */
  readonly options: z.ZodObject;
  create(context: ObjectiveContext, options: Options): Objective;
}

/** Types an objective where it is written: `options` of `create` are what the schema gives. */
export const defineObjective = <S extends z.ZodObject>(
  definition: ObjectiveDefinition<z.output<S>> & { readonly options: S },
): ObjectiveDefinition => definition as unknown as ObjectiveDefinition;

/** What `objective` of a Trainer may name: `context.add(Objectives, defineObjective({ ... }))`. */
export const Objectives: ExtensionPoint<ObjectiveDefinition> = extensionPoint(
  'objective',
  (definition) => definition.name,
);
