import { definePlugin, type Plugin } from '@attune/core';
import { DataStages } from './contract/dataStage.js';
import { builtinProviders, LLMProviders } from './providers/providerChoice.js';
import { builtinStages } from './stages/index.js';
import { VERSION } from './version.js';

/**
 * Data engineering for `createAttune({ plugins: [data()] })`: the built-in stages beside those that
 * other plugins add. `pipeline` knows the built-in ones without it.
 */
export const data = (): Plugin =>
  definePlugin({
    name: 'data',
    version: VERSION,
    apiVersion: 1,
    register: (context) => {
      for (const stage of builtinStages) context.add(DataStages, stage);
      for (const kind of builtinProviders) context.add(LLMProviders, kind);
    },
  });
