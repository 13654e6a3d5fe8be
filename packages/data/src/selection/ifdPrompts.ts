import type { Instruction } from './instructionOf.js';

/** What is put before an answer in the two passes. `{instruction}`, `{input}` are filled in. */
export interface IfdPrompts {
  /** For rows with an input. */
  readonly withInput: string;
  readonly withoutInput: string;
  /** Before the answer alone. */
  readonly direct: string;
}

/** How the score is made of the losses c of the answer behind the prompt, d of it alone. */
export type IfdVariant = 'cherry' | 'superfiltering';

/** Prompts of the variants, as their authors have them. */
export const IFD_PROMPTS: Readonly<Record<IfdVariant, IfdPrompts>> = {
  cherry: {
    withInput:
      'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:',
    withoutInput:
      'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:',
    direct: '### Response:',
  },
  superfiltering: {
    withInput: '{instruction}\n{input}\n',
    withoutInput: '{instruction}\n',
    direct: '',
  },
};

/**
 * The prompt of a row. Where a template has no place for the input, it follows the instruction, as
 * where Alpaca's rows become conversations.
 */
export function fillPrompt(
  { withInput, withoutInput }: IfdPrompts,
  { instruction, input }: Instruction,
): string {
  const template = input === '' ? withoutInput : withInput;
  const hasPlace = input === '' || template.includes('{input}');
  const asked = hasPlace ? instruction : `${instruction}\n${input}`;
  // In one go: an instruction may have "{input}" in it.
  return template.replace(/\{(instruction|input)\}/g, (_all, name) =>
    name === 'input' ? input : asked,
  );
}
