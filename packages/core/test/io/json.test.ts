import { camelToSnake, keysToCamel, keysToSnake, snakeToCamel } from '@attune/core/util';
import { expect, it } from 'vitest';

it.each([
  ['rms_norm_eps', 'rmsNormEps'],
  ['lora_alpha', 'loraAlpha'],
  ['load_in_4bit', 'loadIn4bit'],
  ['bnb_4bit_quant_type', 'bnb4bitQuantType'],
  ['bnb_4bit_use_double_quant', 'bnb4bitUseDoubleQuant'],
  ['adam_beta1', 'adamBeta1'],
  ['top_k', 'topK'],
  ['use_rslora', 'useRslora'],
  ['_name_or_path', '_nameOrPath'],
  ['r', 'r'],
])('%s <-> %s', (snake, camel) => {
  expect(snakeToCamel(snake)).toBe(camel);
  expect(camelToSnake(camel)).toBe(snake);
  expect(camelToSnake(snake)).toBe(snake);
  expect(snakeToCamel(camel)).toBe(camel);
});

it('maps keys one level deep, or all of them but dictionaries by module name', () => {
  const value = { log_history: [{ eval_loss: 1 }], rank_pattern: { q_proj: 4 } };
  expect(keysToCamel(value)).toEqual({
    logHistory: [{ eval_loss: 1 }],
    rankPattern: { q_proj: 4 },
  });
  const deep = keysToCamel(value, { deep: true, keep: ['rank_pattern'] });
  expect(deep).toEqual({ logHistory: [{ evalLoss: 1 }], rankPattern: { q_proj: 4 } });
  expect(keysToSnake(deep, { deep: true, keep: ['rankPattern'] })).toEqual(value);
});
