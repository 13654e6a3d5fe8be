import type { MergeMethod } from '../contract/mergeMethod.js';
import { breadcrumbs } from './breadcrumbs.js';
import { breadcrumbsTies } from './breadcrumbsTies.js';
import { dareLinear } from './dareLinear.js';
import { dareTies } from './dareTies.js';
import { della } from './della.js';
import { dellaLinear } from './dellaLinear.js';
import { linear } from './linear.js';
import { ram } from './ram.js';
import { ramplusTl } from './ramplusTl.js';
import { sce } from './sce.js';
import { taskArithmetic } from './taskArithmetic.js';
import { ties } from './ties.js';

/** The methods that are always there: those of mergekit 0.1.5. */
export const builtinMethods: readonly MergeMethod[] = [
  breadcrumbs,
  breadcrumbsTies,
  dareLinear,
  dareTies,
  della,
  dellaLinear,
  linear,
  ram,
  ramplusTl,
  sce,
  taskArithmetic,
  ties,
];
