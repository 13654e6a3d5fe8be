import { adafactorDefinition } from './adafactor.js';
import { adamwDefinition } from './adamw.js';
import { adamw8bitDefinition, pagedAdamw8bitDefinition } from './adamw8bit.js';
import type { OptimizerDefinition } from './definition.js';
import { lionDefinition } from './lion.js';
import { pagedAdamwDefinition, pagedLionDefinition } from './paged.js';
import { sgdDefinition } from './sgd.js';

/** What core adds to `Optimizers`, under transformers' names and the short ones. */
export const builtinOptimizers: readonly OptimizerDefinition[] = [
  adamwDefinition,
  // Every update is fused here.
  { ...adamwDefinition, name: 'adamw_torch_fused' },
  { ...adamwDefinition, name: 'adamw' },
  adamw8bitDefinition,
  { ...adamw8bitDefinition, name: 'adamw_8bit' },
  sgdDefinition,
  adafactorDefinition,
  lionDefinition,
  { ...lionDefinition, name: 'lion' },
  pagedAdamwDefinition,
  { ...pagedAdamwDefinition, name: 'paged_adamw' },
  pagedAdamw8bitDefinition,
  pagedLionDefinition,
  { ...pagedLionDefinition, name: 'paged_lion' },
];
