import { attentionCases } from './cases/attention.js';
import { chooseTokensCases } from './cases/chooseTokens.js';
import { elementwiseCases } from './cases/elementwise.js';
import { matmulCases } from './cases/matmul.js';
import { movementCases } from './cases/movement.js';
import { optimizerCases } from './cases/optimizers.js';
import { quantizedCases } from './cases/quantized.js';
import { reduceCases } from './cases/reduce.js';
import { rowwiseCases } from './cases/rowwise.js';
import { updateCases } from './cases/update.js';
import type { OpCase } from './opCase.js';

/** Cases for every op of the table: what a backend must compute to be one. */
export const opCases: readonly OpCase[] = [
  ...elementwiseCases,
  ...matmulCases,
  ...quantizedCases,
  ...optimizerCases,
  ...movementCases,
  ...reduceCases,
  ...rowwiseCases,
  ...attentionCases,
  ...updateCases,
  ...chooseTokensCases,
];
