import type { MergeMethod } from '../contract/mergeMethod.js';
import { linear } from './linear.js';

/** The methods that are always there: those of mergekit 0.1.5. */
export const builtinMethods: readonly MergeMethod[] = [linear];
