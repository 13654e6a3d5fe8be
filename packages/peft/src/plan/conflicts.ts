import { AttuneError } from '@attune/core';
import type { Module } from '@attune/core/nn';
import { AdapterSlot } from '../slots/adapterSlot.js';
import type { PlannedBias, PlannedCopy } from '../slots/plannedSlot.js';
import { SavedModule } from '../slots/savedModule.js';
import { TrainedBias } from '../slots/trainedBias.js';
import type { ModuleTable } from './baseFacts.js';

/**
 * An adapter either adapts a module or saves it; and a bias has one kind of copy on a model.
 *
 * @throws PEFT_CONFLICT
 */
export function refuseConflicts(
  paths: readonly string[],
  biases: readonly PlannedBias[],
  copies: readonly PlannedCopy[],
  modules: ModuleTable,
): void {
  const whole = copies.find(({ path }) => paths.includes(path));
  if (whole)
    throw new AttuneError(
      'PEFT_CONFLICT',
      `"${whole.path}" is in modulesToSave and in targetModules.`,
      { remedy: 'Leave the module out of one of them.' },
    );
  const bias =
    copies.find(
      (p) =>
        p.parameters.some(({ name }) => name === 'bias') &&
        hasSlot(modules.get(p.path), TrainedBias),
    ) ?? biases.find(({ path }) => hasSlot(modules.get(path), SavedModule));
  if (bias)
    throw new AttuneError(
      'PEFT_CONFLICT',
      `the bias of "${bias.path}" is trained by the option \`bias\` of one adapter, and whole by another on this model.`,
      { remedy: 'Delete the other adapter, or leave the bias out of one of them.' },
    );
}

function hasSlot(module: Module | undefined, type: new (...args: never[]) => AdapterSlot): boolean {
  if (!(module instanceof AdapterSlot)) return false;
  return hasSlot(module.inner, type) || module instanceof type;
}
