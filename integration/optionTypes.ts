import { dawn } from '@attune/backend-dawn';
import {
  AutoModelForCausalLM,
  createAttune,
  EarlyStoppingCallback,
  type LanguageModel,
  SFTTrainer,
} from '@attune/core';
import { getPeftModel, type PeftConfigInput, peft } from '@attune/peft';

// What compiles and what does not. `tsc` reads this file, and optionTypes.test.ts; nothing runs it.

declare const model: LanguageModel;

/** The options of a run. */
export const runs = () => [
  new SFTTrainer({ model, args: { learningRate: 1e-3, reportTo: 'html', maxMemory: '8GiB' } }),
  new SFTTrainer({ model, args: { lrSchedulerKwargs: { numDecaySteps: 10 }, reportTo: null } }),
  new SFTTrainer({ model, args: { seed: undefined, includeNumInputTokensSeen: true } }),
  // @ts-expect-error no such option
  new SFTTrainer({ model, args: { learningrate: 1e-3 } }),
  // @ts-expect-error a number
  new SFTTrainer({ model, args: { learningRate: '1e-3' } }),
  // A schedule of a plugin, with an option of its own; a word that is none is refused when it runs.
  new SFTTrainer({
    model,
    args: { lrSchedulerType: 'acme-sqrt', lrSchedulerKwargs: { floor: 1 } },
  }),
  // @ts-expect-error a number
  new SFTTrainer({ model, args: { lrSchedulerKwargs: { numDecaySteps: '10' } } }),
  // @ts-expect-error a dataset, not its path
  new SFTTrainer({ model, trainDataset: 'train.jsonl' }),
  // @ts-expect-error not awaited
  new SFTTrainer({ model: AutoModelForCausalLM.fromPretrained('x', { attune }) }),
  new EarlyStoppingCallback({ earlyStoppingPatience: 2 }),
  // @ts-expect-error no such option
  new EarlyStoppingCallback({ patience: 2 }),
];

const attune = await createAttune({ plugins: [dawn(), peft()] });
// @ts-expect-error a function that is not called
export const notCalled = createAttune({ plugins: [dawn] });

/** The options of adapters: `peftType` decides. */
export const adapters = () => [
  new SFTTrainer({ model, peftConfig: { peftType: 'LORA', r: 8, targetModules: ['q_proj'] } }),
  new SFTTrainer({ model, peftConfig: { peftType: 'IA3', feedforwardModules: ['down_proj'] } }),
  new SFTTrainer({ model, peftConfig: { peftType: 'PROMPT_TUNING', numVirtualTokens: 8 } }),
  // As adapter_config.json has it.
  new SFTTrainer({ model, peftConfig: { peft_type: 'LORA', lora_alpha: 16, use_dora: true } }),
  getPeftModel(model, { peft_type: 'PREFIX_TUNING', num_virtual_tokens: 8 }),
  // A method that nobody has declared: the options of every method.
  new SFTTrainer({ model, peftConfig: { peftType: 'SOMEBODYS', targetModules: ['q_proj'] } }),
  // @ts-expect-error no such option
  new SFTTrainer({ model, peftConfig: { peftType: 'LORA', rank: 8 } }),
  // @ts-expect-error no such option, among others
  getPeftModel(model, { peftType: 'LORA', rank: 8, targetModules: 'all-linear' }),
  // @ts-expect-error a number
  new SFTTrainer({ model, peftConfig: { peftType: 'LORA', r: '8' } }),
  // @ts-expect-error a number, in snake_case too
  getPeftModel(model, { peft_type: 'LORA', lora_alpha: '16' }),
  // @ts-expect-error no such option, in snake_case too
  getPeftModel(model, { peft_type: 'LORA', lora_alpa: 16 }),
  // @ts-expect-error an option of LoRA
  getPeftModel(model, { peftType: 'IA3', r: 8 }),
  // @ts-expect-error an option of LoRA, among others
  getPeftModel(model, { peftType: 'IA3', r: 8, targetModules: ['q_proj'] }),
  // @ts-expect-error an option of prompt tuning
  getPeftModel(model, { peftType: 'LORA', numVirtualTokens: 8 }),
  // @ts-expect-error how many virtual tokens?
  getPeftModel(model, { peftType: 'PROMPT_TUNING' }),
  // @ts-expect-error no such method: a plugin's is in capitals
  getPeftModel(model, { peftType: 'lora' }),
  // @ts-expect-error no such method, with an option of LoRA
  getPeftModel(model, { peftType: 'LORRA', r: 8 }),
  // @ts-expect-error which method?
  getPeftModel(model, { r: 8 }),
  // @ts-expect-error one of three words
  getPeftModel(model, { peftType: 'LORA', bias: 'some' }),
];

/** Configs that are put together of others. */
export const composed = (given: PeftConfigInput) => {
  const lora = { peftType: 'LORA', r: 8 } as const;
  return [
    getPeftModel(model, { ...lora, initLoraWeights: 'pissa', bias: 'all' }),
    getPeftModel(model, given),
    new SFTTrainer({ model, peftConfig: given }),
    // @ts-expect-error no number
    getPeftModel(model, { ...lora, r: '9' }),
  ];
};

declare global {
  interface AttunePeftConfigs {
    DECLARED: {
      /** The method of a plugin that says what its options are. */
      readonly peftType: 'DECLARED';
      /** How strong. Default 1. */
      readonly strength?: number;
    };
  }
}

export const declared = [
  getPeftModel(model, { peftType: 'DECLARED', strength: 2 }),
  // @ts-expect-error no such option
  getPeftModel(model, { peftType: 'DECLARED', strenght: 2 }),
  // @ts-expect-error a number
  getPeftModel(model, { peftType: 'DECLARED', strength: 'much' }),
];
