import { AttuneError, camelToSnake, explainUnknown, type OptionHints } from '@attune/core';
import type { PeftMethod } from './definePeftMethod.js';

/** What options of adapters are called in other libraries. */
const synonyms: Readonly<Record<string, string>> = {
  rank: 'r',
  lorar: 'r',
  lorarank: 'r',
  alpha: 'loraAlpha',
  dropout: 'loraDropout',
  target: 'targetModules',
  targets: 'targetModules',
  modules: 'targetModules',
  targetlayers: 'targetModules',
  loratarget: 'targetModules',
  loratargetmodules: 'targetModules',
  keys: 'targetModules',
  exclude: 'excludeModules',
  layers: 'layersToTransform',
  rslora: 'useRslora',
  dora: 'useDora',
  init: 'initLoraWeights',
  initweights: 'initLoraWeights',
  loraplus: 'loraplusLrRatio',
  virtualtokens: 'numVirtualTokens',
  numtokens: 'numVirtualTokens',
  prefixlength: 'numVirtualTokens',
  promptlength: 'numVirtualTokens',
  reduction: 'reductionFactor',
  bottleneck: 'bottleneckSize',
  adaptersize: 'bottleneckSize',
  activation: 'nonLinearity',
  lastnlayers: 'lastLayers',
  numlayers: 'lastLayers',
  hiddensize: 'encoderHiddenSize',
  basemodel: 'baseModelNameOrPath',
  task: 'taskType',
};

const ofModel = 'it belongs into fromPretrained, where the model is loaded';

const notes: NonNullable<OptionHints['notes']> = {
  type: "the method is peftType: 'LORA'",
  method: "the method is peftType: 'LORA'",
  learningrate: 'it belongs into args of the trainer',
  lr: 'it belongs into args of the trainer: learningRate',
  adaptername: 'it is the third argument of getPeftModel, and the first of addAdapter',
  loadin4bit: ofModel,
  quantization: ofModel,
  loftqconfig: 'the base is quantised as it is loaded',
};

/** All options of a config that its method does not have, in the user's spelling, with the right name of each. */
export function unknownOptions(
  { peftType }: PeftMethod,
  options: readonly string[],
  keys: readonly string[],
  label: string,
): AttuneError {
  const problems = keys.map((key) => {
    const spell = key.includes('_') ? camelToSnake : (name: string) => name;
    const why = explainUnknown(key, {
      known: options.map(spell),
      synonyms: Object.fromEntries(Object.entries(synonyms).map(([k, name]) => [k, spell(name)])),
      notes,
    });
    const rest = why.slice(`there is no option "${key}"`.length);
    return `${label}.${key} is not an option of ${peftType}${rest}`;
  });
  return new AttuneError('PEFT_CONFIG_UNKNOWN_KEY', problems.join('\n  '), {
    remedy: `Options: ${options.join(', ')}.`,
  });
}
