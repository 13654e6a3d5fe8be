import { type ExtensionPoint, extensionPoint } from '../di/extensionPoint.js';
import type { OptimizerDefinition } from './definition.js';

/** What `optim` may name: `context.add(Optimizers, defineOptimizer({ name: 'mine', ... }))`. */
export const Optimizers: ExtensionPoint<OptimizerDefinition> = extensionPoint(
  'optimizer',
  (definition) => definition.name,
);
