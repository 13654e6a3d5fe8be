import type { MergeMethod } from '../contract/mergeMethod.js';
import { arceeFusion } from './arceeFusion.js';
import { karcher } from './karcher.js';
import { linear } from './linear.js';
import { modelStock } from './modelStock.js';
import { multislerp } from './multislerp.js';
import { nearswap } from './nearswap.js';
import { nuslerp } from './nuslerp.js';
import { passthrough } from './passthrough.js';
import { slerp } from './slerp.js';

/** The methods that are always there: those of mergekit 0.1.5. */
export const builtinMethods: readonly MergeMethod[] = [
  arceeFusion,
  karcher,
  linear,
  modelStock,
  multislerp,
  nearswap,
  nuslerp,
  passthrough,
  slerp,
];
