import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseJson, plainJson } from '@attune/core/util';
import { lora } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { formatPeftConfig, parsePeftConfig } from '../../src/contract/config.js';
import { fixture, fixtures } from '../support.js';

const warnings: string[] = [];
const parse = (input: object, isFile = false) =>
  parsePeftConfig(lora, input as Record<string, unknown>, {
    label: isFile ? 'a/adapter_config.json' : 'peftConfig',
    isFile,
    warn: (message) => warnings.push(message),
  });

describe('row 55: adapter_config.json', () => {
  test('the default config is the file of PEFT', () => {
    const theirs = readFileSync(join(fixtures, 'lora-config-default/adapter_config.json'), 'utf8');
    expect(formatPeftConfig(lora, parse({ peftType: 'LORA' }))).toBe(theirs);
  });

  interface Row55 {
    readonly cases: readonly {
      readonly name: string;
      readonly attrs?: Readonly<Record<string, unknown>>;
      readonly outputs: { readonly saved?: Readonly<Record<string, unknown>> };
    }[];
  }
  for (const { name, attrs = {}, outputs } of fixture<Row55>('row55-lora-config.json').cases)
    if (outputs.saved)
      test(`${name}: written, read, written again`, () => {
        const config = parse({ peft_type: 'LORA', ...attrs });
        const text = formatPeftConfig(lora, config);
        const sets = (fields: Record<string, unknown>) => ({
          ...fields,
          target_modules: [...((fields.target_modules as string[] | null) ?? [])].sort(),
        });
        expect(sets(JSON.parse(text))).toEqual(sets(outputs.saved!));
        expect(formatPeftConfig(lora, parse(JSON.parse(text), true))).toBe(text);
      });

  test('a file that is written back keeps how its numbers are spelt', () => {
    const file = `{"peft_type": "LORA", "r": 4, "lora_alpha": 16.0, "lora_dropout": 0.050, "rank_pattern": {"b": 2, "10": 8, "9": 1}, "alpha_pattern": {"b": 4.0}, "target_modules": ["q_proj"]}`;
    const source = parseJson(file);
    const text = formatPeftConfig(lora, parse(plainJson(source) as object, true), source);
    expect(text).toContain('"lora_alpha": 16.0,');
    expect(text).toContain('"lora_dropout": 0.050,');
    expect(text).toContain('"b": 4.0');
    // Sorted as text, as Python does.
    expect(text).toMatch(/"rank_pattern": {\s*"10": 8,\s*"9": 1,\s*"b": 2\s*}/);
  });

  test('a file with the least that PEFT accepts takes the defaults', () => {
    const small = { peft_type: 'LORA', r: 4, target_modules: ['q_proj'] };
    expect(parse(small, true)).toMatchObject({ r: 4, loraAlpha: 8, loraDropout: 0, bias: 'none' });
  });
});

describe('spelling', () => {
  test('camelCase and snake_case mean the same', () => {
    expect(
      parse({ peft_type: 'LORA', lora_alpha: 4, use_rslora: true, rank_pattern: { q_proj: 2 } }),
    ).toEqual(
      parse({ peftType: 'LORA', loraAlpha: 4, useRslora: true, rankPattern: { q_proj: 2 } }),
    );
  });

  test('an option that is undefined is not given', () => {
    expect(parse({ peftType: 'LORA', loraAlpha: undefined, lora_alpha: 4 }).loraAlpha).toBe(4);
  });

  test('both at once is an error', () => {
    expect(() => parse({ peftType: 'LORA', loraAlpha: 4, lora_alpha: 8 })).toThrow(
      /has both "loraAlpha" and "lora_alpha"/,
    );
  });

  test('an unknown option names the nearest in the same spelling', () => {
    expect(() => parse({ peftType: 'LORA', lorAlpha: 4 })).toThrow(
      /UNKNOWN_OPTION: peftConfig\.lorAlpha is not an option of LORA\. Did you mean "loraAlpha"\?/,
    );
    expect(() => parse({ peft_type: 'LORA', lora_alhpa: 4 })).toThrow(
      /Did you mean "lora_alpha"\?/,
    );
  });
});

describe('values', () => {
  test.each([
    [{ r: 0 }, /peftConfig\.r is 0: .*>=1/],
    [{ r: 2.5 }, /peftConfig\.r is 2\.5/],
    [{ lora_dropout: 1 }, /peftConfig\.lora_dropout is 1: .*<1/],
    [{ rankPattern: { q_proj: 'x' } }, /peftConfig\.rankPattern\.q_proj is "x"/],
    [{ targetModules: 7 }, /peftConfig\.targetModules is 7; expected a list, or a text/],
    [{ bias: 'some' }, /peftConfig\.bias is "some": .*"none".*"all".*"lora_only"/],
    [{ initLoraWeights: 'loftq' }, /peftConfig\.initLoraWeights is "loftq"/],
    [{ targetModules: 'q_proj', layersToTransform: [0] }, /layersToTransform needs a list/],
    [
      { targetModules: ['q_proj'], layersPattern: 'layers' },
      /layersPattern "layers" is given without/,
    ],
  ])('%j', (options, message) => {
    expect(() => parse({ peftType: 'LORA', ...options })).toThrow(message);
  });

  test('all of them are named, and options that do not exist beside them', () => {
    const wrong = { r: 0, lora_dropout: 2, bias: 'some', rank: 8 };
    expect(() => parse({ peft_type: 'LORA', ...wrong })).toThrow(
      /UNKNOWN_OPTION: peftConfig\.rank .*"r"\?\n.*bias is "some"[\s\S]*r is 0[\s\S]*lora_dropout is 2/,
    );
    expect(() => parse({ peftType: 'LORA', r: 0, loraDropout: 2, bias: 'some' })).toThrow(
      /PEFT_CONFIG_INVALID: peftConfig\.bias is "some"[\s\S]*r is 0[\s\S]*loraDropout is 2/,
    );
  });

  test('options of PEFT that would change the result are refused', () => {
    expect(() => parse({ peft_type: 'LORA', use_qalora: true }, true)).toThrow(
      /PEFT_UNSUPPORTED_OPTION: a\/adapter_config\.json: use_qalora is true/,
    );
    expect(() => parse({ peftType: 'LORA', loftqConfig: { bits: 4 } })).toThrow(/loftq_config/);
  });

  test('a file of a newer PEFT: what is off is passed over, a number warned of, what is on refused', () => {
    warnings.length = 0;
    parse({ peft_type: 'LORA', use_next: false, next_config: {}, next_size: 16 }, true);
    expect(warnings).toEqual(['a/adapter_config.json: unknown option next_size = 16 is ignored.']);
    expect(() => parse({ peft_type: 'LORA', use_next: true }, true)).toThrow(/use_next/);
  });
});
