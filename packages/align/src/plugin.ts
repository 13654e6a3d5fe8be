import { Callbacks, defineObjective, definePlugin, Objectives, type Plugin } from '@attune/core';
import type { ObjectiveDefinition } from '@attune/core/training';
import { z } from 'zod';
import { type AlignmentObjective, AlignmentObjectives } from './contract/alignmentObjective.js';
import { alignmentShape, builtinObjectives, createObjective, pick } from './objectives/create.js';
import { watchers } from './watch/watchers.js';

const general = z.strictObject(alignmentShape);

/** The objective under its name for `new Trainer({ objective: 'dpo', objectiveOptions })`. */
export const namedObjective = (definition: AlignmentObjective): ObjectiveDefinition =>
  defineObjective({
    name: definition.name,
    options: z.strictObject({ ...definition.options.shape, ...alignmentShape }),
    create: ({ model, args }, options) =>
      createObjective(
        definition,
        pick(options, definition.options),
        pick(options, general) as z.output<typeof general>,
        { model, args, start: 'initial' },
      ),
  });

/**
 * Alignment for `createAttune({ plugins: [align()] })`: the built-in objectives by their names, for
 * `AlignmentTrainer` and for `Trainer`, and the callbacks that watch a run (`watchers`).
 */
export const align = (): Plugin =>
  definePlugin({
    name: 'align',
    version: '0.1.0',
    apiVersion: 1,
    register: (context) => {
      for (const definition of builtinObjectives) {
        context.add(AlignmentObjectives, definition);
        context.add(Objectives, namedObjective(definition));
      }
      for (const [name, useClass] of Object.entries(watchers))
        context.add(Callbacks, { name, useClass });
    },
  });
