import { camelToSnake, explainUnknown, hintsOf, type OptionHints } from '@attune/core/util';
import type { z } from 'zod';

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

/** A sentence about an option that a method does not have, in the user's spelling. */
export function explainOption(
  key: string,
  schema: z.ZodObject,
  peftType: string,
  label: string,
): string {
  const spell = key.includes('_') ? camelToSnake : (name: string) => name;
  const { known, synonyms = {} } = hintsOf(schema);
  const spelt = Object.entries(synonyms).map(([word, name]) => [word, spell(name)]);
  return explainUnknown(
    key,
    { known: known.map(spell), synonyms: Object.fromEntries(spelt), notes },
    `${label}.${key} is not an option of ${peftType}`,
  );
}
