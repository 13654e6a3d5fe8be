import { type AdapterService, definePlugin, type Plugin, TOKENS } from '@attune/core';
import { lora } from './methods/lora.js';
import { getPeftModel } from './peftModel.js';
import { PeftMethods } from './points.js';

const adapterService: AdapterService = { apply: (model, config) => getPeftModel(model, config) };

/**
 * Adapters for `createAttune({ plugins: [peft()] })`: the built-in methods (LORA), and what a Trainer
 * needs to apply a `peftConfig`.
 */
export const peft = (): Plugin =>
  definePlugin({
    name: 'peft',
    version: '0.1.0',
    apiVersion: 1,
    register: (context) => {
      context.add(PeftMethods, lora);
      context.provide(TOKENS.AdapterService, adapterService);
    },
  });
