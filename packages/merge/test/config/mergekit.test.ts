import { readFileSync } from 'node:fs';
import { AttuneError } from '@attune/core';
import { camelToSnake } from '@attune/core/util';
import { describe, expect, test } from 'vitest';
import { parseMergeYaml } from '../../src/config/index.js';
import type { MergeConfig, ModelReference, OutputSlice } from '../../src/config/mergeConfig.js';
import { defaultOf } from '../../src/config/parameterValues.js';
import { ParameterProblems, resolveParameters } from '../../src/config/resolveParameters.js';
import type { MergeMethod, MergeParameter } from '../../src/contract/mergeMethod.js';
import { builtinMethods } from '../../src/methods/index.js';
import { MergeProblems } from '../../src/problems.js';

// Row 104: configs that mergekit 0.1.5 was given, and what it made of them.

interface Row {
  readonly slice: number;
  readonly t: number;
  readonly tensor: string;
  /** The model alone where its tensor has the name of the output's. */
  readonly inputs: readonly (string | readonly [model: string, name: string])[];
  readonly base: string | null;
  readonly shared: Readonly<Record<string, unknown>>;
  readonly perInput: readonly Readonly<Record<string, unknown>>[];
}

interface Spec {
  readonly base: MergeMethod['base'];
  readonly parameters: Readonly<
    Record<string, { scope: MergeParameter['scope']; type?: string; default?: unknown }>
  >;
}

interface Fixture {
  readonly methods: Readonly<Record<string, Spec>>;
  readonly right: readonly {
    readonly name: string;
    readonly rows?: readonly Row[];
    readonly models?: readonly string[];
  }[];
  readonly wrong: readonly { readonly name: string; readonly mergekit: string }[];
}

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');
const fixture = JSON.parse(read('../../../../parity/fixtures/row104-merge-config.json')) as Fixture;

/** The configs of a file: a heading `=== ...`, then the YAML. */
const configsOf = (file: string) =>
  read(file)
    .split(/^=== (?=.*\n)/m)
    .slice(1)
    .map((part) => {
      const end = part.indexOf('\n');
      return { heading: part.slice(0, end), text: part.slice(end + 1) };
    });

const camel = (name: string) => name.replace(/_(\w)/g, (_, c: string) => c.toUpperCase());

/** What the fixture says of parameters, as it would of ours. */
const specOf = (method: MergeMethod): Spec => ({
  base: method.base,
  parameters: Object.fromEntries(
    Object.entries(method.parameters).map(([name, parameter]) => {
      const fallback = defaultOf(parameter);
      return [
        camelToSnake(name),
        { scope: parameter.scope, ...(fallback && { default: fallback.value }) },
      ];
    }),
  ),
});

test('methods have the parameters of mergekit, with their scopes and defaults', () => {
  const expected = Object.entries(fixture.methods).map(([name, { base, parameters }]) => {
    const plain = Object.entries(parameters).map(([key, { type: _, ...spec }]) => [key, spec]);
    return [name, { base, parameters: Object.fromEntries(plain) }];
  });
  expect(Object.fromEntries(builtinMethods.map((method) => [method.name, specOf(method)]))).toEqual(
    Object.fromEntries(expected),
  );
});

/** Slices as the planner makes them of whole models: the base comes last where it is not listed. */
function slicesOf(config: MergeConfig): readonly OutputSlice[] {
  const module = config.modules.get('default')!;
  if ('slices' in module) return module.slices;
  const isListed = module.models.some(({ model }) => model.key === config.baseModel?.key);
  const added = config.baseModel && !isListed ? [{ model: config.baseModel, parameters: {} }] : [];
  const sources = [...module.models, ...added].map((input) => ({
    ...input,
    layerRange: [0, 4] as const,
  }));
  return [{ sources, baseModel: null, parameters: {} }];
}

describe('configs that mergekit merges', () => {
  const configs = configsOf('right.txt');

  test('are those of the fixture', () => {
    expect(configs.map(({ heading }) => heading)).toEqual(fixture.right.map(({ name }) => name));
  });

  test.each(configs)('$heading', ({ heading, text }) => {
    const { rows = [], models } = fixture.right.find(({ name }) => name === heading)!;
    const config = parseMergeYaml(text);
    const method = builtinMethods.find(({ name }) => name === config.mergeMethod)!;
    const slices = slicesOf(config);
    if (models)
      expect(slices[0]!.sources.slice(0, models.length).map(({ model }) => model.key)).toEqual(
        models,
      );
    for (const row of rows) {
      const slice = slices[row.slice]!;
      const modelOf = (key: string): ModelReference =>
        slice.sources.find(({ model }) => model.key === key)!.model;
      const inputs = row.inputs.map((input) =>
        typeof input === 'string' ? ([input, row.tensor] as const) : input,
      );
      const problems = new ParameterProblems();
      const values = resolveParameters(
        method,
        {
          config,
          module: config.modules.get('default')!,
          slice,
          inputs: inputs.map(([model, name]) => ({ model: modelOf(model), name })),
          outputName: row.tensor,
          baseModel: row.base === null ? null : modelOf(row.base),
          t: row.t,
        },
        problems,
      );
      const all = new MergeProblems();
      problems.reportTo(all);
      expect(all.all).toEqual([]);
      const expected: Record<string, unknown> = {};
      for (const [name, value] of Object.entries(row.shared)) expected[camel(name)] = value;
      for (const [name, { scope }] of Object.entries(method.parameters))
        if (scope !== 'shared')
          expected[name] = row.perInput
            .filter((_, i) => scope === 'perInput' || inputs[i]![0] !== row.base)
            .map((given) => givenTo(given, name));
      expect(values).toEqual(expected);
    }
  });
});

/** A value by its name in camelCase. */
const givenTo = (values: Readonly<Record<string, unknown>>, name: string): unknown =>
  Object.entries(values).find(([key]) => camel(key) === name)![1];

describe('configs that are refused, with line, column and the right name', () => {
  const configs = configsOf('wrong.txt').map(({ heading, text }) => {
    const [name, place, message] = heading.split(' | ');
    return { name: name!, place: place!, message: message!, text };
  });

  test('are those of the fixture, and many of them pass mergekit', () => {
    expect(configs.map(({ name }) => name)).toEqual(fixture.wrong.map(({ name }) => name));
    expect(fixture.wrong.filter(({ mergekit }) => mergekit === 'passes').length).toBe(28);
  });

  test.each(configs)('$name', ({ text, place, message }) => {
    const error = thrown(() => parseMergeYaml(text, { file: 'm.yml' }));
    expect(error.description.split('\n').map((line) => line.trim())).toContainEqual(
      expect.stringMatching(new RegExp(`^m\\.yml:${place}: .*${literally(message)}`)),
    );
  });
});

const literally = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

function thrown(call: () => unknown): AttuneError {
  try {
    call();
  } catch (error) {
    if (AttuneError.isInstance(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
