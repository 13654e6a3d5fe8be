import { getPeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { insideMatcher, layerNumber, patternValue } from '../../src/contract/patterns.js';
import { fixture, load, open } from '../support.js';

interface Row405 {
  readonly names: readonly string[];
  readonly patterns: readonly (readonly [string, string | null, string | null, string | null])[];
  readonly layers: readonly (readonly [string, readonly (number | null)[]])[];
}

const { names, patterns, layers } = fixture<Row405>('row405-python-regex.json');

describe("row 405: PEFT's answers for module names", () => {
  test('keys of rank_pattern and alpha_pattern', () => {
    for (const [key, , , wrapped] of patterns) {
      // Too long, and what is absent on purpose: see core's test of the engine.
      if (wrapped === null || /\{1000\}|\{0,100\}|\\N|<=\\1/.test(key)) continue;
      const bits = [...wrapped].map((d) => Number.parseInt(d, 16).toString(2).padStart(4, '0'));
      const expected = bits.join('').slice(0, names.length);
      // The fast way for plain names knows no line feeds and no characters of two parts: no module
      // has them.
      const known = names.map((name) => !/\n|😀/.test(name));
      const ours = names.map((name, i) => known[i] && (patternValue({ [key]: 1 }, name) ?? 0));
      const theirs = names.map((_, i) => known[i] && Number(expected[i]));
      expect(ours, key).toEqual(theirs);
    }
  });

  test.each(layers)('the number of the layer for layers_pattern %s', (pattern, numbers) => {
    const numberOf = layerNumber([pattern]);
    expect(names.map((name) => numberOf(name))).toEqual(numbers.map((n) => n ?? Number.NaN));
  });
});

test('a name in modulesToSave covers what lies in it', () => {
  expect(insideMatcher('mlp')('model.layers.0.mlp.up_proj')).toBe(true);
  expect(insideMatcher('layers.0')('model.layers.0.mlp')).toBe(true);
  expect(insideMatcher('layers.0')('model.layers.01.mlp')).toBe(false);
  expect(insideMatcher('mlp|norm')('norm')).toBe(true);
  expect(insideMatcher('mlp|norm')('model.norm')).toBe(false);
});

const adaptedBy = async (config: object): Promise<string[]> => {
  const attune = await open();
  const model = getPeftModel(await load(attune), { peftType: 'LORA', ...config });
  return [...model.root.namedParameters()]
    .map(([name]) => /^(.*)\.lora_A\.default/.exec(name)?.[1])
    .filter((path) => path !== undefined);
};

test.each([
  [String.raw`(?i).*SELF_ATTN\.Q_proj\Z`, ['q_proj']],
  [String.raw`\A(?#the attention).*\.[qk]_proj`, ['q_proj', 'k_proj']],
  [String.raw`[^q]*+(?<=\.)q_proj|.*\.(?>v)_proj`, ['q_proj', 'v_proj']],
  [String.raw`^(?!.*mlp)(?!.*\.o_).*proj$`, ['q_proj', 'k_proj', 'v_proj']],
  [String.raw`model\.layers\.\d{,2}\.self_attn\.(?P<x>q)_proj(?(x)|no)`, ['q_proj']],
])('an adapter whose targetModules are %s', async (targetModules, expected) => {
  const paths = await adaptedBy({ targetModules });
  expect(paths).toEqual(
    [0, 1].flatMap((i) => expected.map((name) => `model.layers.${i}.self_attn.${name}`)),
  );
});

test.each([
  [
    'targetModules',
    { targetModules: '(?<n>q_proj)' },
    /PEFT_BAD_REGEX: "\(\?<n>q_proj\)".*unknown extension/,
  ],
  ['excludeModules', { excludeModules: 'a**' }, /PEFT_BAD_REGEX: "a\*\*".*multiple repeat/],
  // As in PEFT, which puts the key into an expression of its own.
  [
    'rankPattern',
    { rankPattern: { '(?i)Q_PROJ': 4 } },
    /PEFT_BAD_REGEX: "\(\?i\)Q_PROJ".*global flags/,
  ],
  ['layersPattern', { layersToTransform: [0], layersPattern: '(' }, /PEFT_BAD_REGEX: "\("/],
  [
    'feedforwardModules',
    { peftType: 'IA3', targetModules: '.*_proj', feedforwardModules: '[' },
    /PEFT_BAD_REGEX: "\["/,
  ],
  ['modulesToSave', { modulesToSave: ['norm('] }, /PEFT_BAD_REGEX: "norm\("/],
  [
    'targetModules of LAYER_SELECT',
    { peftType: 'LAYER_SELECT', targetModules: '*q' },
    /PEFT_BAD_REGEX: "\*q"/,
  ],
])('%s that is no expression is refused by name', async (_, config, says) => {
  await expect(adaptedBy({ targetModules: ['q_proj'], ...config })).rejects.toThrow(says);
});

test('an expression that backtracks without end is refused', async () => {
  const targetModules = String.raw`(?:(\w|\.)+(a)?(_|\w)*)+\2!`;
  await expect(adaptedBy({ targetModules })).rejects.toThrow(/REGEX_TOO_SLOW|PEFT_NO_TARGET/);
});
