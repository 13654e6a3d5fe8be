import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createAttune, type Logger } from '@attune/core';
import { expect, test } from 'vitest';
import { getPeftModel, PeftModel, peft } from '../../src/index.js';
import { folder, load } from '../support.js';

test('an adapter that is not finite is not saved; loading one warns and names the tensor', async () => {
  const warnings: string[] = [];
  const logger: Logger = { info() {}, error() {}, warn: (line) => void warnings.push(line) };
  await using attune = await createAttune({ backend: 'reference', plugins: [peft()], logger });
  const model = getPeftModel(await load(attune), {
    peftType: 'LORA',
    r: 2,
    targetModules: ['q_proj'],
  });
  const path = await folder();
  await model.savePretrained(path);
  const file = join(path, 'adapter_model.safetensors');
  const before = await readFile(file);
  const [name, first] = [...model.root.namedParameters()].find(([n]) => n.includes('lora_'))!;
  const values = (await first.tensor.data()).slice() as Float32Array;
  first.write(values.map((v, i) => (i === 3 ? Number.POSITIVE_INFINITY : v)) as Float32Array);
  await expect(model.savePretrained(path)).rejects.toThrow(
    /WEIGHTS_NON_FINITE: .*lora_.* is not finite .* at element 3/,
  );
  expect(name).toContain('lora_');
  expect(await readFile(file)).toEqual(before);
  model.unload();

  const broken = Buffer.from(before);
  broken.writeUInt32LE(0x7fc00000, broken.length - 4);
  await writeFile(file, broken);
  await PeftModel.fromPretrained(await load(attune), path);
  expect(warnings).toEqual([
    expect.stringMatching(/1 of \d+ tensors of the adapter are not finite .* among them ".*lora_/),
  ]);
});
