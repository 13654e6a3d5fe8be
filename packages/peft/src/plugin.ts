import { type AdapterService, definePlugin, type Plugin, TOKENS } from '@attune/core';
import { openAdapterDeltas } from './combine/savedDeltas.js';
import { PeftMethods } from './contract/points.js';
import { methods } from './methods/index.js';
import type { PeftConfigInput } from './methods/peftConfigInput.js';
import { getPeftModel } from './model/getPeftModel.js';
import { PeftModel } from './model/peftModel.js';

const adapterService: AdapterService = {
  // It may have any shape: what it holds is checked when the adapter is made.
  apply: (model, config) => getPeftModel(model, config as object as PeftConfigInput),
  load: (model, nameOrPath, options) => PeftModel.fromPretrained(model, nameOrPath, options),
  openDeltas: openAdapterDeltas,
};

/**
 * Adapters for `createAttune({ plugins: [peft()] })`: the built-in methods, and what core
 * needs to apply a `peftConfig` and to load adapters.
 */
export const peft = (): Plugin =>
  definePlugin({
    name: 'peft',
    version: '0.1.0',
    apiVersion: 1,
    register: (context) => {
      for (const method of methods) context.add(PeftMethods, method);
      context.provide(TOKENS.AdapterService, adapterService);
    },
  });
