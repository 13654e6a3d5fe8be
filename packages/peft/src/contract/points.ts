import { type ExtensionPoint, extensionPoint } from '@attune/core';
import type { PeftMethod } from './methodKinds.js';

/**
 * Ways to adapt a layer, by `peftType`. LoRA is one; a plugin adds its own with
 * `ctx.add(PeftMethods, method)`.
 */
export const PeftMethods: ExtensionPoint<PeftMethod> = extensionPoint(
  'PEFT method',
  (method) => method.peftType,
);
