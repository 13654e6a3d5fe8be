import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Attune, type CausalLM, createAttune, silentLogger } from '@attune/core';
import { checkAdapter, PeftModel, peft } from '@attune/peft';
import { afterAll, beforeAll, describe, test } from 'vitest';
import {
  badJson,
  contents,
  copyOf,
  expectRefusal,
  notFiles,
  type Put,
} from '../../../core/test/hostile/cases.js';
import { fixture, fixtureJson } from '../../../core/test/models/support.js';
import { temporaryFolder, tinyLlama } from '../../../core/test/trainer/support.js';

let attune: Attune;
let base: CausalLM;
let root: string;
beforeAll(async () => {
  root = await temporaryFolder();
  attune = await createAttune({ backend: 'reference', plugins: [peft()], logger: silentLogger });
  base = await tinyLlama(attune);
});
afterAll(async () => {
  await attune.dispose();
  rmSync(root, { recursive: true, force: true });
});

const files = ['adapter_config.json', 'adapter_model.safetensors'];
const lora = fixture('adapters/lora-qv');
const CONFIG = /^(CONFIG_(MISSING|INVALID)|PEFT_ADAPTER_MISSING)$/;
let folders = 0;

/** Both readers: what loads an adapter, what checks it for others. */
function check(name: string, file: string, put: Put, code: RegExp, says: RegExp): void {
  test(name, async () => {
    const folder = copyOf(lora, files, join(root, `${folders++}`));
    const path = join(folder, file);
    rmSync(path);
    await put(path);
    await expectRefusal(() => PeftModel.fromPretrained(base, folder), path, code, says);
    await expectRefusal(() => checkAdapter(folder, { target: 'vllm' }), path, code, says);
  });
}

describe('adapter_config.json is no JSON object', () => {
  for (const [name, bytes, says] of badJson)
    check(name, 'adapter_config.json', contents(bytes), CONFIG, says);
});

describe('no file', () => {
  for (const [name, put, says] of notFiles) {
    check(`${name}: adapter_config.json`, 'adapter_config.json', put, CONFIG, says);
    check(`${name}: the weights`, 'adapter_model.safetensors', put, /^SAFETENSORS_MISSING$/, says);
  }
});

describe('adapter_config.json with a value that cannot be', () => {
  const config = fixtureJson('adapters/lora-qv/adapter_config.json') as Record<string, unknown>;
  const values: readonly [string, readonly unknown[]][] = [
    ['peft_type', ['constructor', '__proto__', 'toString', '', 'lora', null, 1, [], {}]],
    ['r', [-1, 0, 1.5, 2 ** 53, 2 ** 60, 1e308, '8', [], {}, 1e9, 16]],
    ['lora_alpha', ['16', [], {}, true]],
    ['target_modules', [{}, 1, true, [1], [null], [['q_proj']], [], 'constructor', ['toString']]],
    ['rank_pattern', [[], 'a', 1, { q_proj: 'a' }, { q_proj: -1 }, { q_proj: 2 ** 60 }]],
    ['alpha_pattern', [[], 'a', 1, { q_proj: 'a' }, { q_proj: {} }]],
    ['bias', ['some', 1, [], {}, 'constructor', '__proto__']],
    ['use_dora', ['yes', 1, [], {}]],
    ['use_rslora', ['yes', 1, [], {}]],
    ['modules_to_save', [1, {}, [1], ['constructor'], ['__proto__']]],
    ['layers_to_transform', ['a', {}, [-1], [1.5], ['0']]],
    ['lora_dropout', [-1, 1.5, '0', [], {}]],
    ['init_lora_weights', [1, {}, 'constructor']],
  ];
  for (const [key, list] of values)
    for (const value of list)
      test(`${key}: ${JSON.stringify(value)}`, async () => {
        const folder = copyOf(lora, files, join(root, `${folders++}`));
        const text = JSON.stringify({ ...config, [key]: value });
        writeFileSync(join(folder, 'adapter_config.json'), text);
        await expectRefusal(
          () => PeftModel.fromPretrained(base, folder),
          '',
          /^(PEFT_\w+|CONFIG_INVALID|UNKNOWN_NAME)$/,
          /./,
        );
      });
});
