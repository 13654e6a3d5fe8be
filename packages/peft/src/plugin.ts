import { type AdapterService, definePlugin, type Plugin, TOKENS } from '@attune/core';
import { PeftMethods } from './contract/points.js';
import { methods } from './methods/index.js';
import type { PeftConfigInput } from './methods/peftConfigInput.js';
import { getPeftModel } from './model/peftModel.js';

// Of any shape: what it holds is checked when the adapter is made.
const adapterService: AdapterService = {
  apply: (model, config) => getPeftModel(model, config as object as PeftConfigInput),
};

/**
 * Adapters for `createAttune({ plugins: [peft()] })`: the built-in methods, and what a Trainer
 * needs to apply a `peftConfig`.
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
