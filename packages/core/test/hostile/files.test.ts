import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoTokenizer,
  createAttune,
  loadDataset,
  silentLogger,
} from '@attune/core';
import { readHfConfig, SafetensorsFile, WeightFolder } from '@attune/core/io';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { damage } from '../../src/trainer/run/checkpoint/checkpointManifest.js';
import { fixture, fixtureJson } from '../models/support.js';
import { temporaryFolder } from '../trainer/support.js';
import {
  badJson,
  contents,
  copyOf,
  encodings,
  expectRefusal,
  notFiles,
  type Put,
} from './cases.js';

let attune: Attune;
let root: string;
beforeAll(async () => {
  root = await temporaryFolder();
  attune = await createAttune({ backend: 'reference', logger: silentLogger });
});
afterAll(async () => {
  await attune.dispose();
  rmSync(root, { recursive: true, force: true });
});

/** A file that is read: whose folder holds the others, how it is read, the codes of refusals. */
interface Target {
  readonly file: string;
  readonly others?: readonly string[];
  readonly code: RegExp;
  read(folder: string, path: string): Promise<unknown>;
}

const tinyLlama = ['config.json', 'model.safetensors', 'generation_config.json'];
const model = (folder: string) =>
  AutoModelForCausalLM.fromPretrained(folder, { attune, dtype: 'float32' });
const others = (file: string) => tinyLlama.filter((name) => name !== file);
const CONFIG = /^CONFIG_(MISSING|INVALID)$/;

const json: readonly Target[] = [
  { file: 'config.json', others: others('config.json'), code: CONFIG, read: model },
  { file: 'config.json', others: [], code: CONFIG, read: readHfConfig },
  {
    file: 'generation_config.json',
    others: others('generation_config.json'),
    code: CONFIG,
    read: model,
  },
  ...['tokenizer_config.json', 'special_tokens_map.json'].map(
    (file): Target => ({
      file,
      code: CONFIG,
      read: (folder) => {
        writeFileSync(join(folder, 'tokenizer.json'), '{}');
        return AutoTokenizer.fromPretrained(folder);
      },
    }),
  ),
  {
    file: 'model.safetensors.index.json',
    code: /^WEIGHTS_INDEX$/,
    read: (folder) => WeightFolder.open(folder),
  },
  {
    file: 'train.jsonl',
    code: /^DATASET_(FILE|JSON|ENCODING|EMPTY)$/,
    read: (_, path) => loadDataset('json', { dataFiles: path }),
  },
];

const texts: readonly Target[] = [
  {
    file: 'chat_template.jinja',
    code: /^CHAT_TEMPLATE$/,
    read: (folder) => {
      writeFileSync(join(folder, 'tokenizer.json'), '{}');
      return AutoTokenizer.fromPretrained(folder);
    },
  },
  {
    file: 'train.txt',
    code: /^DATASET_(FILE|ENCODING)$/,
    read: (_, path) => loadDataset('text', { dataFiles: path }),
  },
];

const weights: readonly Target[] = [
  {
    file: 'model.safetensors',
    others: others('model.safetensors'),
    code: /^SAFETENSORS_MISSING$/,
    read: model,
  },
  {
    file: 'model-00001-of-00001.safetensors',
    code: /^SAFETENSORS_MISSING$/,
    read: (folder) => {
      writeFileSync(
        join(folder, 'model.safetensors.index.json'),
        '{"weight_map":{"a":"model-00001-of-00001.safetensors"}}',
      );
      return WeightFolder.open(folder);
    },
  },
  {
    file: 'optimizer.safetensors',
    code: /^SAFETENSORS_MISSING$/,
    read: (_, path) => SafetensorsFile.open(path),
  },
];

let folders = 0;
function check(target: Target, name: string, put: Put, says: RegExp): void {
  test(name, async () => {
    const folder = copyOf(fixture('tiny-llama'), target.others ?? [], join(root, `${folders++}`));
    const path = join(folder, target.file);
    await put(path);
    await expectRefusal(() => target.read(folder, path), path, target.code, says);
  });
}

for (const [kind, targets, cases] of [
  ['no JSON object', json, badJson.map(([name, bytes, says]) => [name, contents(bytes), says])],
  ['no text', texts, encodings.map(([name, bytes, says]) => [name, contents(bytes), says])],
  ['no file', [...json, ...texts, ...weights], notFiles],
] as readonly (readonly [string, readonly Target[], readonly (readonly [string, Put, RegExp])[]])[])
  for (const target of targets)
    describe(`${target.file} is ${kind}`, () => {
      for (const [name, put, says] of cases) check(target, name, put, says);
    });

describe('a byte order mark, files too large', () => {
  const bom = contents(Buffer.from('\uFEFF{"a":1}'));
  const large = contents(Buffer.alloc(2 ** 24 + 1, ' '));
  const many = contents(Buffer.from(`{"a":[${'1,'.repeat(2 ** 20)}1]}`));
  for (const target of json.slice(0, 5)) {
    check(target, `${target.file}: a mark`, bom, /begins with a byte order mark/);
    check(target, `${target.file}: 16 MiB and a byte`, large, /at most 16\.0 MiB/);
    check(target, `${target.file}: a million values`, many, /more values than/);
  }
  check(json[5]!, 'the index: a mark', bom, /begins with a byte order mark/);
});

describe('names of things that every object has', () => {
  const config = (changes: object) =>
    contents(Buffer.from(JSON.stringify({ ...fixtureConfig, ...changes })));
  const fixtureConfig = fixtureJson('tiny-llama/config.json') as object;
  const at = (changes: object, code: RegExp, says: RegExp) =>
    test(JSON.stringify(changes), async () => {
      const folder = copyOf(fixture('tiny-llama'), tinyLlama, join(root, `${folders++}`));
      await config(changes)(join(folder, 'config.json'));
      const read = () => AutoModelForCausalLM.fromPretrained(folder, { attune });
      await expectRefusal(read, '', code, says);
    });
  for (const name of ['constructor', 'toString', 'hasOwnProperty', '__proto__', 'valueOf', '']) {
    at({ model_type: name }, /^UNKNOWN_NAME$/, /unknown model/);
    at({ dtype: name }, /^DTYPE_UNKNOWN$/, /dtype/);
    at({ hidden_act: name }, /^CONFIG_INVALID$/, /hidden_act/);
  }
});

describe('the manifest of a checkpoint that is no file', () => {
  for (const [name, put, says] of notFiles)
    test(name, async () => {
      const folder = copyOf(fixture('tiny-llama'), ['config.json'], join(root, `${folders++}`));
      await put(join(folder, 'attune_checkpoint.json'));
      expect(await damage(folder)).toMatch(says);
    });
});

test('the folder itself may be anything but a folder', async () => {
  for (const [name, put] of notFiles.filter(([n]) => !/folder/.test(n))) {
    const path = join(root, `${folders++}`);
    await put(path);
    await expectRefusal(() => model(path), path, /^MODEL_FOLDER_MISSING$/, /./).catch((e) => {
      throw new Error(name, { cause: e });
    });
  }
});
