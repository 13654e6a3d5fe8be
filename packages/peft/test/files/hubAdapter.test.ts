import { cp, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PeftModel } from '@attune/peft';
import { describe, expect, onTestFinished, test } from 'vitest';
import { serveHub } from '../../../core/test/io/hubServer.js';
import { fixtures, folder, load, logits, open } from '../support.js';

const local = join(fixtures, 'adapters/lora-qv');

/** A Hub with that adapter, and what else a repository of one holds. */
async function hubWith(
  files: readonly string[] = ['adapter_config.json', 'adapter_model.safetensors'],
) {
  const contents = await Promise.all(
    files.map(async (name) => [name, new Uint8Array(await readFile(join(local, name)))] as const),
  );
  const other = new TextEncoder().encode('not needed');
  const hub = await serveHub({
    repo: 'owner/adapter',
    files: { ...Object.fromEntries(contents), 'README.md': other, 'adapter_model.bin': other },
    revisions: ['main', 'v1'],
  });
  onTestFinished(() => hub[Symbol.asyncDispose]());
  return { hub, from: { hubUrl: hub.url, cacheDir: await folder() } };
}

describe('an adapter by its Hub id', () => {
  test('is the one of the folder; only its two files are fetched, once', async () => {
    const { hub, from } = await hubWith();
    const attune = await open();
    const one = await PeftModel.fromPretrained(await load(attune), local);
    const base = await load(attune);
    const two = await PeftModel.fromPretrained(base, 'owner/adapter', {
      ...from,
      adapterName: 'math',
    });
    expect(await logits(two)).toEqual(await logits(one));
    const bodies = () => hub.requests.filter((r) => r.includes('/resolve/') && !r.endsWith('0-0'));
    const fetched = bodies();
    expect(fetched.every((r) => /adapter_(config\.json|model\.safetensors)/.test(r))).toBe(true);
    await two.loadAdapter('owner/adapter', { ...from, adapterName: 'again', revision: 'v1' });
    expect(bodies()).toEqual(fetched); // the same commit
    two.setAdapter('again');
    expect(await logits(two)).toEqual(await logits(one));
    await two.loadAdapter('owner/adapter', { ...from, adapterName: 'off', localFilesOnly: true });
    expect(two.adapterNames).toEqual(['math', 'again', 'off']);
  });

  test('a folder of that name comes first', async () => {
    const { hub, from } = await hubWith();
    const here = await folder();
    await mkdir(join(here, 'owner'));
    await cp(join(fixtures, 'adapters/rslora-qv'), join(here, 'owner/adapter'), {
      recursive: true,
    });
    const attune = await open();
    const before = process.cwd();
    process.chdir(here);
    onTestFinished(() => process.chdir(before));
    const model = await PeftModel.fromPretrained(await load(attune), 'owner/adapter', from);
    expect(model.peftConfig.default).toMatchObject({ useRslora: true });
    expect(hub.requests).toEqual([]);
  });

  test.each([
    [
      'neither folder nor repository',
      'owner/other',
      {},
      'HUB_NOT_FOUND',
      /neither a folder "owner\/other" nor/,
    ],
    ['a revision that is not there', 'owner/adapter', { revision: 'v9' }, 'HUB_NOT_FOUND', /"v9"/],
    [
      'no server',
      'owner/adapter',
      { hubUrl: 'http://127.0.0.1:1' },
      'HUB_UNREACHABLE',
      /no folder/,
    ],
    ['not in the cache', 'owner/adapter', { localFilesOnly: true }, 'HUB_NOT_CACHED', /no folder/],
    ['a path', './out/none', {}, 'PEFT_ADAPTER_MISSING', /no folder "\.\/out\/none"/],
    ['a name without owner', 'adapter', {}, 'PEFT_ADAPTER_MISSING', /no folder "adapter"/],
    ['a file', join(local, 'adapter_config.json'), {}, 'PEFT_ADAPTER_MISSING', /is a file/],
    ['a misspelt option', 'owner/adapter', { revison: 'v1' }, 'UNKNOWN_OPTION', /"revision"/],
  ])('%s', async (_, name, options, code, message) => {
    const { from } = await hubWith();
    const model = await load(await open());
    await expect(
      PeftModel.fromPretrained(model, name, { ...from, ...options }),
    ).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(model.adapters).toBeNull();
  });

  test('a repository without an adapter', async () => {
    const { from } = await hubWith([]);
    const model = await load(await open());
    await expect(PeftModel.fromPretrained(model, 'owner/adapter', from)).rejects.toMatchObject({
      code: 'PEFT_ADAPTER_MISSING',
      message: expect.stringMatching(/repository "owner\/adapter" .* no adapter_config\.json/),
    });
  });
});
