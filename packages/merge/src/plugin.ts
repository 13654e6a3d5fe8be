import { definePlugin, type Plugin } from '@attune/core';
import { MergeMethods } from './contract/mergeMethod.js';
import { builtinMethods } from './methods/index.js';
import { VERSION } from './version.js';

/**
 * Merging for `createAttune({ plugins: [merge()] })`: the built-in methods beside those that other
 * plugins add. `mergeModels` knows the built-in ones without it.
 */
export const merge = (): Plugin =>
  definePlugin({
    name: 'merge',
    version: VERSION,
    apiVersion: 1,
    register: (context) => {
      for (const method of builtinMethods) context.add(MergeMethods, method);
    },
  });
