import { execFileSync } from 'node:child_process';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { AttuneError } from '@attune/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseMergeConfig, parseMergeYaml, readMergeYaml, toYaml } from '../../src/config/index.js';

const message = (text: string): string => {
  try {
    parseMergeYaml(text, { file: 'm.yml' });
  } catch (error) {
    if (AttuneError.isInstance(error)) return error.description;
    throw error;
  }
  return 'nothing is wrong';
};

const minimal = 'merge_method: linear\nmodels:\n  - model: a\n    parameters: {weight: 1}\n';

test('a config of whole models', () => {
  const config = parseMergeYaml(`merge_method: linear
base_model: org/base@main
models:
  - model: a@v1+adapter@v2
    parameters:
      weight: [0, 1e-5, 0.5]
  - model: org/base@main
    parameters:
      weight:
        - {filter: mlp, value: yes}
        - value: 2
parameters: {normalize: off}
dtype: torch.bfloat16
tokenizer_source: union
`);
  expect(config).toMatchObject({
    mergeMethod: 'linear',
    form: 'models',
    baseModel: { path: 'org/base', revision: 'main', adapter: null, key: 'org/base@main' },
    parameters: { normalize: false },
    dtype: 'bfloat16',
    outDtype: null,
    tokenizer: { source: 'union', padToMultipleOf: null },
    warnings: [],
    file: null,
  });
  expect(config.modules.get('default')).toMatchObject({
    models: [
      {
        model: { path: 'a', revision: 'v1', adapter: { path: 'adapter', revision: 'v2' } },
        parameters: { weight: [0, '1e-5', 0.5] },
      },
      {
        model: { key: 'org/base@main' },
        parameters: {
          weight: [
            { filter: 'mlp', value: true },
            { filter: null, value: 2 },
          ],
        },
      },
    ],
  });
});

test('values know where they stand, and what is missing where it would', () => {
  const config = parseMergeYaml(minimal);
  expect(config.placeOf(['merge_method'])).toEqual({ line: 1, column: 1 });
  expect(config.placeOf(['mergeMethod'])).toEqual({ line: 1, column: 1 });
  expect(config.placeOf(['models', 0])).toEqual({ line: 3, column: 5 });
  expect(config.placeOf(['models', 0, 'parameters', 'weight'])).toEqual({ line: 4, column: 18 });
  expect(config.placeOf(['models', 0, 'parameters', 'density'])).toEqual({ line: 4, column: 5 });
  const module = config.modules.get('default')!;
  const [model] = 'models' in module ? module.models : [];
  expect(config.pathOf(model!.parameters)).toEqual(['models', 0, 'parameters']);
});

test('all that is wrong is one message, with lines and the nearest names', () => {
  expect(
    message(`merge_method: linear
normalise: true
models:
  - model: a
    parametres: {}
  - model: a
    parameters: {weigth: 3, weight: x, normalize: true}
dtyp: float16
`),
  ).toBe(
    [
      'm.yml:2:1: the config has no "normalise".',
      'm.yml:8:1: the config has no "dtyp". Did you mean "dtype"?',
      'm.yml:5:5: a model has no "parametres". Did you mean "parameters"?',
      'm.yml:7:18: linear has no parameter "weigth". Did you mean "weight"?',
      'm.yml:7:29: weight is "x": expected number, received string.',
      'm.yml:7:40: normalize has one value for all models, so it has no effect in those of one model.',
      'm.yml:6:5: the model a is there twice.',
    ].join('\n  '),
  );
});

describe('YAML', () => {
  test.each([
    ['a tab before a key', 'models:\n\t- model: a\n', 'm.yml:2:1: tabs are not allowed'],
    ['a tab before a value', 'dtype:\tfloat16\n', 'm.yml:1:7: a tab stands outside of quotes'],
    [
      'a key twice',
      'dtype: float16\ndtype: bfloat16\n',
      'm.yml:2:1: "dtype" stands here and in line 1',
    ],
    ['two documents', `${minimal}---\n${minimal}`, 'm.yml:5:1: a second document'],
    ['nothing', '# nothing\n', 'm.yml:1:1: there is nothing in the file'],
    ['a list', '- model: a\n', 'm.yml:1:1: the config is the list'],
    ['a word', 'linear\n', 'm.yml:1:1: the config is "linear"'],
    ['an alias of nothing', 'models: *m\n', 'm.yml:1:9: there is no anchor &m'],
    ['a star', 'filter: *\n', 'm.yml:1:9: alias cannot be an empty string'],
    ['an alias in itself', 'models: &m [*m]\n', 'm.yml:1:13: the alias *m is inside'],
    ['an open quote', 'models: "a\n', 'm.yml:2:1: missing closing "quote'],
    [
      'a tag of a language',
      'models: !!python/object:os.system x\n',
      'the tag !python/object:os.system',
    ],
    ['a number as a key', '1: 2\n', 'm.yml:1:1: the key is the number 1'],
    ['a list as a key', '? [a]\n: 2\n', 'm.yml:1:3: a key is a list'],
    ['bytes', 'models: \u0000\n', 'the character U+0000 is in no text'],
    ['a merge of a list', '<<: [1]\n', 'm.yml:1:1: "<<" has a value that is no mapping'],
    ['deep nesting', '['.repeat(20_000), 'values are nested too deeply'],
  ])('%s', (_, text, expected) => {
    expect(message(text)).toContain(expected);
  });

  test('anchors, merge keys, a mark of the byte order, Windows line ends', () => {
    const text = `\uFEFF---
x: &common {weight: 2, <<: {weight: 3}}
merge_method: linear
models:
  - model: a
    parameters: &p
      <<: *common
  - {model: b, parameters: *p}
`.replaceAll('\n', '\r\n');
    const module = parseMergeYaml(text).modules.get('default');
    expect(module).toMatchObject({
      models: [{ parameters: { weight: 2 } }, { parameters: { weight: 2 } }],
    });
  });

  test('a bomb of aliases ends at once', () => {
    const lines = Array.from(
      { length: 30 },
      (_, i) =>
        `x${i}: &x${i} [${
          i
            ? Array(9)
                .fill(`*x${i - 1}`)
                .join(', ')
            : 'lol'
        }]`,
    );
    const begin = performance.now();
    expect(message(`${lines.join('\n')}\n${minimal}`)).toContain(
      'there are more than 200000 values',
    );
    expect(performance.now() - begin).toBeLessThan(1000);
  });

  test.each([
    ['5 MB', 'a: b\n'.repeat(1e6), 'there are 5000000 characters'],
    ['items without end', `models:\n${'- a\n'.repeat(2e5)}`, 'more than 200000 words and signs'],
    [
      'mappings that take over one another',
      `x: &x {${Array.from({ length: 400 }, (_, i) => `k${i}: 1`).join(', ')}}\ny:\n${'- <<: *x\n'.repeat(20_000)}`,
      'more than 200000 values',
    ],
  ])('%s ends soon', (_, text, message) => {
    const begin = performance.now();
    expect(() => parseMergeYaml(text)).toThrow(message);
    // It took 10 s to 50 s; two cores of many users take their time.
    expect(performance.now() - begin).toBeLessThan(4000);
  });
});

describe('files', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'attune-merge-config-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test('a file is read; its name is in messages', async () => {
    const file = join(folder, 'good.yml');
    await writeFile(file, minimal);
    expect(await readMergeYaml(file)).toMatchObject({ file, yaml: minimal });
    await writeFile(file, minimal.replace('linear', 'linar'));
    await expect(readMergeYaml(file)).rejects.toThrow(
      `${file}:1:1: there is no merge_method "linar"`,
    );
  });

  test.each([
    ['of 100 MB', new Uint8Array(100e6).fill(32), 'has more than 1'],
    [
      'in Latin-1',
      Buffer.from('a: 1\nb: ü\n', 'latin1'),
      'latin.yml:2 has bytes that are no UTF-8',
    ],
    ['in UTF-16', Buffer.from('\uFEFFa: 1', 'utf16le'), 'is in UTF-16'],
    ['of weights', Buffer.from([8, 0, 0, 0, 0, 0, 0, 0, 123, 125]), 'the character U+0008'],
  ])('a file %s is refused', async (_, bytes, expected) => {
    const file = join(folder, 'latin.yml');
    await writeFile(file, bytes);
    await expect(readMergeYaml(file)).rejects.toThrow(expected);
  });

  test.skipIf(process.platform === 'win32')(
    'a pipe is read; one without a writer is empty',
    async () => {
      const pipe = join(folder, 'pipe');
      execFileSync('mkfifo', [pipe]);
      await expect(readMergeYaml(pipe)).rejects.toThrow('there is nothing in the file');
      const writer = await open(pipe, 'r+');
      const read = readMergeYaml(pipe);
      await setTimeout(50);
      await writer.write(minimal);
      await writer.close();
      expect(await read).toMatchObject({ yaml: minimal });
    },
  );

  test('a folder, and a file that is not there', async () => {
    await expect(readMergeYaml(folder)).rejects.toThrow('is a folder');
    await expect(readMergeYaml(join(folder, 'none'))).rejects.toThrow('does not exist');
  });
});

describe('what is wrong in code is a message, not a crash', () => {
  const models = [{ model: 'a' }, { model: 'b' }];
  const itself: Record<string, unknown> = { mergeMethod: 'linear', models };
  itself.models = [itself];
  let deep: unknown = 1;
  for (let i = 0; i < 1e5; i++) deep = [deep];
  const weight = (value: unknown) => ({
    mergeMethod: 'linear',
    models: [{ model: 'a', parameters: { weight: value } }, ...models.slice(1)],
  });
  test.each<[string, unknown, string | RegExp]>([
    ['itself', itself, 'models[0].mergeMethod: a model has no "mergeMethod"'],
    ['deep', { mergeMethod: 'linear', models: deep }, 'models[0]: a model is the list'],
    ['a symbol', weight(Symbol('x')), 'weight is the symbol Symbol(x)'],
    ['a function', weight(() => 1), 'weight is the function'],
    [
      'a bigint',
      { mergeMethod: 'linear', models: [{ model: { model: 1n } }] },
      'has a model that is',
    ],
    [
      'a hole',
      {
        mergeMethod: 'linear',
        models: Object.assign(new Array(3), { 1: models[0], 2: models[1] }),
      },
      'models[0]: a model is missing',
    ],
    [
      'a residual',
      { mergeMethod: 'linear', slices: [{ sources: [], residualWeight: () => 1 }] },
      'residualWeight is the function',
    ],
    [
      'a gradient without end',
      weight(new Array(1e6).fill(1)),
      'is a list of 1000000 values, expected at most 1000',
    ],
    ['many +', { mergeMethod: 'linear', models: [{ model: '+'.repeat(1e5) }] }, 'has 100000 "+"'],
    [
      'a name of Object',
      { ...weight(1), dtype: 'constructor' },
      /dtype is "constructor", expected float32, bfloat16, float16\.\n/,
    ],
    ['a value of Object', weight('constructor'), 'received string'],
  ])('%s', (_, config, message) => {
    const begin = performance.now();
    expect(() => parseMergeConfig(config as never)).toThrow(
      expect.objectContaining({
        code: 'MERGE_INVALID',
        message:
          typeof message === 'string'
            ? expect.stringContaining(message)
            : expect.stringMatching(message),
      }),
    );
    expect(performance.now() - begin).toBeLessThan(1000);
  });

  test('toYaml says what it cannot write', () => {
    expect(() => toYaml(itself as never)).toThrow('holds itself, or is nested too deeply');
    expect(() => toYaml(weight(() => 1) as never)).toThrow('models[0].parameters.weight is');
    expect(() => parseMergeYaml(3 as never)).toThrow('The config is 3, expected text');
  });
});

test('in code, in either spelling; its YAML is read to the same', () => {
  const config = {
    mergeMethod: 'linear',
    outDtype: 'float16',
    slices: [
      { sources: [{ model: 'a', layerRange: [0, 2], parameters: { weight: 1e-7 } }] },
      { sources: [{ model: { model: { path: 'b', revision: 'yes' } }, layerRange: [1, 3] }] },
    ],
    tokenizer: { tokens: { camelCase: { source: { kind: 'zero' } } }, padToMultipleOf: 8 },
    parameters: { weight: [{ filter: '*', value: [0, 0.5] }] },
  } as const;
  const parsed = parseMergeConfig(config);
  const again = parseMergeYaml(toYaml(config));
  expect(parsed.yaml).toBe(toYaml(config));
  expect([...again.modules]).toEqual([
    [
      'default',
      {
        parameters: {},
        slices: [
          {
            baseModel: null,
            parameters: {},
            sources: [
              {
                model: { path: 'a', revision: null, adapter: null, key: 'a' },
                layerRange: [0, 2],
                parameters: { weight: '1e-7' },
              },
            ],
          },
          {
            baseModel: null,
            parameters: {},
            sources: [
              {
                model: { path: 'b', revision: 'yes', adapter: null, key: 'b@yes' },
                layerRange: [1, 3],
                parameters: {},
              },
            ],
          },
        ],
      },
    ],
  ]);
  for (const { parameters, outDtype, tokenizer } of [parsed, again])
    expect({ parameters, outDtype, tokenizer }).toEqual({
      parameters: { weight: [{ filter: '*', value: [0, 0.5] }] },
      outDtype: 'float16',
      tokenizer: {
        source: 'union',
        tokens: new Map([['camelCase', { source: { kind: 'zero' }, force: false }]]),
        padToMultipleOf: 8,
      },
    });
});
