import type { OpDef } from './op.js';
import * as ops from './ops/index.js';

/**
 * Every built-in op: what the reference backend computes and the conformance suite compares.
 * A list made from the definitions themselves, so that none can be forgotten.
 */
export const opTable: readonly OpDef[] = Object.values(ops).filter(
  (value): value is OpDef =>
    typeof value === 'object' && value !== null && 'name' in value && 'infer' in value,
) as readonly OpDef[];
