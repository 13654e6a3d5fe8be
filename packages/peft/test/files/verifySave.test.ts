import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TensorToWrite, tensorToWrite, writeSafetensors } from '@attune/core/io';
import { getPeftModel, type SaveAdapterOptions } from '@attune/peft';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { parsePeftConfig } from '../../src/contract/config.js';
import {
  type SavedTensor,
  type WriteAdapterOptions,
  writeAdapter,
} from '../../src/files/writeAdapter.js';
import { WrittenTensors } from '../../src/files/writtenTensors.js';
import { lora } from '../../src/methods/lora.js';
import { disturb, folder, load, open } from '../support.js';

const options = { peftType: 'LORA', r: 4, targetModules: ['q_proj', 'v_proj'] } as const;
const config = parsePeftConfig(lora, options, {
  label: 'peftConfig',
  isFile: false,
  warn: () => {},
});
const names = ['a', 'b'].map((layer) => `model.layers.0.${layer}.lora_A.weight`);
const parameters: ReadonlyMap<string, SavedTensor> = new Map(
  names.map((name) => [
    name,
    { shape: [1, 2], tensor: { data: async () => Float32Array.of(1, 2) } },
  ]),
);
const write = (to: string, how: WriteAdapterOptions) =>
  writeAdapter(to, lora, config, parameters, how);

/** Writes what it is given; the last tensor then lies on the disk with one bit changed. */
async function losesABit(path: string, tensors: readonly TensorToWrite[]): Promise<void> {
  await writeSafetensors(path, tensors);
  const bytes = await readFile(path);
  bytes[bytes.length - 1]! ^= 1;
  await writeFile(path, bytes);
}

describe('a saved adapter is read back', () => {
  test('a lost bit: the error names the tensor, and the adapter of before stays', async () => {
    const out = await folder();
    await write(out, { verify: true });
    const before = await readFile(join(out, 'adapter_model.safetensors'));
    await expect(write(out, { verify: true, writeTensors: losesABit })).rejects.toMatchObject({
      code: 'PEFT_SAVE_MISMATCH',
      message: expect.stringMatching(
        /adapter_model\.safetensors, read back after saving, holds other values of "base_model\.model\.model\.layers\.0\.b\.lora_A\.weight"/,
      ),
    });
    expect(await readFile(join(out, 'adapter_model.safetensors'))).toEqual(before);
    expect((await readdir(out)).sort()).toEqual([
      'adapter_config.json',
      'adapter_model.safetensors',
    ]);
  });

  test('a tensor that is left out', async () => {
    await expect(
      write(await folder(), {
        verify: true,
        writeTensors: (path, tensors) => writeSafetensors(path, tensors.slice(1)),
      }),
    ).rejects.toMatchObject({
      code: 'PEFT_SAVE_MISMATCH',
      message: expect.stringMatching(/lacks "base_model\.model\.model\.layers\.0\.a\.lora_A/),
    });
  });

  test('verify: false does not look', async () => {
    const out = await folder();
    await write(out, { verify: false, writeTensors: losesABit });
    expect(await readFile(join(out, 'adapter_config.json'), 'utf8')).toMatch(/LORA/);
  });

  test('savePretrained looks, unless told not to, and reads nothing from the device a second time', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), options);
    disturb(model);
    const out = await folder();
    const { stats } = attune.backend;
    const compare = vi.spyOn(WrittenTensors.prototype, 'compare');
    onTestFinished(() => compare.mockRestore());
    const saved = async (how: SaveAdapterOptions) => {
      const before = [stats.readbacks, compare.mock.calls.length] as const;
      await model.savePretrained(out, how);
      return {
        readbacks: stats.readbacks - before[0],
        looked: compare.mock.calls.length - before[1],
      };
    };
    const looking = await saved({});
    const trusting = await saved({ verify: false });
    expect([looking.looked, trusting.looked]).toEqual([1, 0]);
    expect(looking.readbacks).toBe(trusting.readbacks);
    expect(looking.readbacks).toBeGreaterThan(0);
  });
});

describe('what may differ', () => {
  const values = [1, 2, 3, 4, 5, 6];
  const meant = [tensorToWrite('a', values, [2, 3]), tensorToWrite('b', values, [6])];

  /** Two tensors are written; the file then holds others. */
  async function compared(others: typeof meant) {
    const path = join(await folder(), 'file.safetensors');
    const written = new WrittenTensors();
    await writeSafetensors(
      path,
      meant.map((tensor) => written.watch(tensor)),
    );
    await written.compare(path); // as long as nobody touches it
    await writeSafetensors(path, others);
    return {
      path,
      error: await written.compare(path).then(
        () => null,
        (e: Error) => e,
      ),
    };
  }

  test.each([
    ['values', [meant[0]!, tensorToWrite('b', [1, 2, 3, 4, 5, 7], [6])], /other values of "b"/],
    ['shape', [tensorToWrite('a', values, [3, 2]), meant[1]!], /"a" as \[3, 2\], not \[2, 3\]/],
    ['dtype', [tensorToWrite('a', values, [2, 3], 'float16'), meant[1]!], /"a" as F16, not F32/],
    ['a name less', [meant[0]!], /lacks "b"/],
    ['a name more', [...meant, tensorToWrite('c', values, [6])], /holds "c"/],
  ] as const)('%s', async (_, others, message) => {
    const { error } = await compared([...others]);
    expect(error).toMatchObject({ code: 'PEFT_SAVE_MISMATCH' });
    expect(error!.message).toMatch(message);
  });

  test('half a file', async () => {
    const { path } = await compared(meant);
    const written = new WrittenTensors();
    await writeSafetensors(path, [written.watch(meant[0]!)]);
    await writeFile(path, (await readFile(path)).subarray(0, 90));
    await expect(written.compare(path)).rejects.toMatchObject({
      code: 'PEFT_SAVE_MISMATCH',
      message: expect.stringMatching(/cannot be read/),
    });
  });
});
