import { open as openFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tensorToWrite, writeSafetensors } from '@attune/core';
import { getPeftModel } from '@attune/peft';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { WrittenTensors } from '../src/writtenTensors.js';
import { disturb, folder, load, open } from './support.js';

const lora = { peftType: 'LORA', r: 4, targetModules: ['q_proj', 'v_proj'] };

async function adapter() {
  const attune = await open();
  const model = getPeftModel(await load(attune), lora);
  disturb(model);
  return { model, out: await folder(), stats: attune.backend.stats };
}

/** Every tensor, not the header, loses one bit on its way to the disk, from now on. */
async function loseBits(): Promise<void> {
  const handle = await openFile(join(await folder(), 'any'), 'w');
  const prototype = Object.getPrototypeOf(handle) as { write: (...args: unknown[]) => unknown };
  await handle.close();
  const write = prototype.write;
  const spy = vi.spyOn(prototype, 'write').mockImplementation(function (
    this: unknown,
    bytes: unknown,
    ...rest: unknown[]
  ) {
    const copy = Uint8Array.from(bytes as Uint8Array);
    if (copy[8] !== '{'.charCodeAt(0)) copy[5]! ^= 1;
    return write.call(this, copy, ...rest);
  });
  onTestFinished(() => spy.mockRestore());
}

describe('a saved adapter is read back', () => {
  test('a write that loses a bit: the error names the tensor, and the folder is unfinished', async () => {
    const { model, out } = await adapter();
    await model.savePretrained(out);
    await loseBits();
    await expect(model.savePretrained(out)).rejects.toMatchObject({
      code: 'PEFT_SAVE_MISMATCH',
      message: expect.stringMatching(
        /adapter_model\.safetensors, read back after saving, holds other values of "base_model\.model\.model\.layers\.0\.self_attn\.\w_proj\.lora_\w\.weight"/,
      ),
    });
    await expect(readFile(join(out, 'adapter_config.json'))).rejects.toThrow(/ENOENT/);
  });

  test('verify: false does not look', async () => {
    const { model, out } = await adapter();
    await loseBits();
    await model.savePretrained(out, { verify: false });
    expect(await readFile(join(out, 'adapter_config.json'), 'utf8')).toMatch(/LORA/);
  });

  test('reads nothing from the device a second time', async () => {
    const { model, out, stats } = await adapter();
    const count = async (verify: boolean) => {
      const before = stats.readbacks;
      await model.savePretrained(out, { verify });
      return stats.readbacks - before;
    };
    expect(await count(true)).toBe(await count(false));
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
