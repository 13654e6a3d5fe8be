import type { MergeMethod } from '../contract/mergeMethod.js';
import { arceeFusion } from './arceeFusion.js';
import { breadcrumbs } from './breadcrumbs.js';
import { breadcrumbsTies } from './breadcrumbsTies.js';
import { dareLinear } from './dareLinear.js';
import { dareTies } from './dareTies.js';
import { della } from './della.js';
import { dellaLinear } from './dellaLinear.js';
import { karcher } from './karcher.js';
import { linear } from './linear.js';
import { modelStock } from './modelStock.js';
import { multislerp } from './multislerp.js';
import { nearswap } from './nearswap.js';
import { nuslerp } from './nuslerp.js';
import { passthrough } from './passthrough.js';
import { ram } from './ram.js';
import { ramplusTl } from './ramplusTl.js';
import { sce } from './sce.js';
import { slerp } from './slerp.js';
import { taskArithmetic } from './taskArithmetic.js';
import { ties } from './ties.js';

/** The methods that are always there: those of mergekit 0.1.5. */
export const builtinMethods: readonly MergeMethod[] = [
  arceeFusion,
  breadcrumbs,
  breadcrumbsTies,
  dareLinear,
  dareTies,
  della,
  dellaLinear,
  karcher,
  linear,
  modelStock,
  multislerp,
  nearswap,
  nuslerp,
  passthrough,
  ram,
  ramplusTl,
  sce,
  slerp,
  taskArithmetic,
  ties,
];
