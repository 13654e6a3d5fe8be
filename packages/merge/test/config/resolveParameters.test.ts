import { AttuneError } from '@attune/core';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { parseMergeYaml } from '../../src/config/index.js';
import type { InputModel, MergeConfig } from '../../src/config/mergeConfig.js';
import { ParameterProblems, resolveParameters } from '../../src/config/resolveParameters.js';
import { defineMergeMethod, perInput, perModel, shared } from '../../src/contract/mergeMethod.js';
import { MergeProblems } from '../../src/problems.js';

const method = defineMergeMethod({
  name: 'probe',
  title: 'Probe',
  base: 'optional',
  parameters: {
    weight: perModel(z.number()),
    scale: perInput(z.number().default(1)),
    selectTopk: shared(z.number().min(0).max(1).default(0.5)),
    steps: shared(z.int().default(10)),
    flag: shared(z.boolean().default(false)),
  },
  check: ({ weight }) =>
    weight.reduce((a, b) => a + b, 0) === 0 ? `the weights ${weight.join(', ')} add up to 0` : null,
  merge: () => () => {},
});

const parse = (text: string): MergeConfig =>
  parseMergeYaml(`merge_method: probe\n${text}`, { file: 'm.yml', methods: [method] });

/** What one tensor of a config of whole models gets. */
function resolve(
  config: MergeConfig,
  t = 0,
  name = 'layers.0.mlp',
  problems = new ParameterProblems(),
) {
  const module = config.modules.get('default')!;
  const models: readonly InputModel[] = 'models' in module ? module.models : [];
  return resolveParameters(
    method,
    {
      config,
      module,
      slice: {
        sources: models.map((model) => ({ ...model, layerRange: [0, 3] })),
        parameters: {},
      },
      inputs: models.map(({ model }) => ({ model, name: `${model.key}.${name}` })),
      outputName: name,
      baseModel: config.baseModel,
      t,
    },
    problems,
  );
}

test('a value for each input, without the base where it has none; defaults', () => {
  const config = parse(`base_model: b
models:
  - {model: a, parameters: {weight: 2, scale: "1e-3"}}
  - {model: b, parameters: {scale: yes}}
  - {model: c}
parameters: {weight: 3, steps: "4", flag: on}
`);
  expect(resolve(config)).toEqual({
    weight: [2, 3],
    scale: [0.001, 1, 1],
    selectTopk: 0.5,
    steps: 4,
    flag: true,
  });
});

test('gradients: numbers between neighbours, words and switches as they are', () => {
  const config = parse(`models: [{model: a}]
parameters: {weight: [0, 1, "3"], flag: [yes, no], scale: [5], select_topk: []}
`);
  const at = (t: number) => resolve(config, t);
  expect(at(0)).toMatchObject({ weight: [0], flag: true, scale: [5], selectTopk: 0.5 });
  expect(at(0.25)).toMatchObject({ weight: [0.5], flag: true });
  expect(at(0.75)).toMatchObject({ weight: [2], flag: true });
  expect(at(1)).toMatchObject({ weight: [3], flag: false, scale: [5] });
});

test('the first filter that fits counts; where none does, the next scope', () => {
  const config = parse(`models:
  - model: a
    parameters:
      weight:
        - {filter: a.layers.0.attn, value: 1}
        - {filter: attn, value: 2}
parameters:
  weight: [{filter: layers.9, value: 3}, {value: 4}]
  flag: {filter: "layers.0", value: true}
`);
  expect(resolve(config, 0, 'layers.0.attn')).toMatchObject({ weight: [1], flag: true });
  expect(resolve(config, 0, 'layers.1.attn')).toMatchObject({ weight: [2], flag: false });
  expect(resolve(config, 0, 'layers.9.mlp')).toMatchObject({ weight: [3], flag: false });
  expect(resolve(config, 0, 'embed')).toMatchObject({ weight: [4] });
});

test('a filter that no tensor asked for is named', () => {
  const config = parse(`models:
  - model: a
    parameters:
      weight:
        - {filter: self_atn, value: 1}
        - {filter: mlp, value: 2}
parameters:
  weight: [{filter: mlp, value: 3}, {value: 4}]
`);
  const problems = new ParameterProblems();
  resolve(config, 0, 'layers.0.mlp', problems);
  expect(problems.unusedFilters(config)).toEqual([
    'The filter "mlp" of weight (line 9) fits no tensor that asks for it.',
    'The filter "self_atn" of weight (line 5) fits no tensor that asks for it.',
  ]);
});

describe('problems', () => {
  const report = (config: MergeConfig): string => {
    const problems = new ParameterProblems();
    for (const [i, t] of [0, 0.5, 1].entries()) resolve(config, t, `layers.${i}.mlp`, problems);
    const all = new MergeProblems();
    problems.reportTo(all);
    try {
      all.throwIfAny(config);
    } catch (error) {
      if (AttuneError.isInstance(error)) return error.description;
    }
    return '';
  };

  test('what is not set is said once, with the model, a tensor and its line', () => {
    expect(
      report(parse('models:\n  - model: a\n  - model: b\n    parameters: {weight: 1}\n')),
    ).toBe('m.yml:3:5: weight of a is not set, and has no default (a.layers.0.mlp and 2 more).');
  });

  test('what a method says of values', () => {
    const text = 'models:\n  - model: a\n  - model: b\nparameters: {weight: 0}\n';
    expect(report(parse(text))).toBe(
      'm.yml:2:1: probe: the weights 0, 0 add up to 0 (layers.0.mlp and 2 more).',
    );
  });

  test('values between those of a gradient', () => {
    const text = 'models:\n  - model: a\nparameters: {weight: 1, steps: [1, 2]}\n';
    expect(report(parse(text))).toMatch(
      /^m\.yml:4:25: steps is 1\.5: .*expected int.* \(layers\.1\.mlp\)\.$/,
    );
  });
});
