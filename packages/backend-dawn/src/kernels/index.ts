import { adafactorKernel } from './adafactor.js';
import { attentionKernels } from './attention/index.js';
import { chooseTokensKernel } from './chooseTokens.js';
import { clippingKernels } from './clipping.js';
import { crossEntropyKernels } from './crossEntropy.js';
import { elementwiseKernels } from './elementwise.js';
import { gatedKernels } from './gated.js';
import type { Kernel } from './kernel.js';
import { matmulKernel } from './matmul/index.js';
import { linearsKernel } from './matmul/linears.js';
import { movementKernels } from './movement.js';
import { optimizerKernels } from './optimizers.js';
import { quantizedKernels } from './quantized.js';
import { randomKernels } from './random.js';
import { rangeKernels } from './ranges.js';
import { reduceKernels } from './reduce.js';
import { ropeKernels } from './rope.js';
import { rowwiseKernels } from './rowwise.js';
import { unaryKernels } from './unary.js';

/** Every kernel of this backend. An op that is not here runs as its decomposition. */
export const kernels: readonly Kernel[] = [
  ...unaryKernels,
  ...elementwiseKernels,
  ...gatedKernels,
  ...randomKernels,
  ...movementKernels,
  ...reduceKernels,
  ...rowwiseKernels,
  ...ropeKernels,
  ...crossEntropyKernels,
  chooseTokensKernel,
  ...attentionKernels,
  matmulKernel,
  linearsKernel,
  ...quantizedKernels,
  ...optimizerKernels,
  adafactorKernel,
  ...clippingKernels,
  ...rangeKernels,
];
