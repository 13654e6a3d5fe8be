import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AutoModelForCausalLM, AutoTokenizer, createAttune, type HubOptions } from '@attune/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MODEL_FILES, resolveFolder } from '../../src/io/hub.js';
import { fixture } from '../models/support.js';
import { type HubServer, serveHub } from './hubServer.js';

const weights = Uint8Array.from({ length: 5000 }, (_, i) => (i * 7) % 251);
const text = (value: string) => new TextEncoder().encode(value);
const files = {
  'config.json': text('{"model_type":"llama"}'),
  'model.safetensors': weights,
  'model.safetensors.index.json': text('{}'),
  'model-00001-of-00002.safetensors': weights,
  'README.md': text('not needed'),
  'pytorch_model.bin': weights,
};

let cacheDir: string;
let hub: HubServer;
const fetchModel = (options: HubOptions = {}) =>
  resolveFolder('owner/model', MODEL_FILES, { cacheDir, hubUrl: hub.url, ...options });
const bodies = () => hub.requests.filter((r) => r.includes('/resolve/') && !r.endsWith('0-0'));

beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'attune-hub-'));
  hub = await serveHub({ repo: 'owner/model', files, revisions: ['main', 'v1', 'refs/pr/3'] });
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  await rm(cacheDir, { recursive: true, force: true });
});

describe('a model of the Hub', () => {
  it('comes into the cache as huggingface_hub lays it out, and only what is needed', async () => {
    const folder = await fetchModel();
    const repo = join(cacheDir, 'models--owner--model');
    expect(folder).toBe(join(repo, 'snapshots', hub.sha));
    expect((await readdir(folder)).sort()).toEqual(['config.json', 'model.safetensors']);
    expect(await readFile(join(repo, 'refs', 'main'), 'utf8')).toBe(hub.sha);
    const blob = await realpath(join(folder, 'model.safetensors'));
    expect(blob.startsWith(await realpath(join(repo, 'blobs')))).toBe(true);
    expect(new Uint8Array(readFileSync(blob))).toEqual(weights);
  });

  it('is fetched once', async () => {
    await fetchModel();
    const before = bodies().length;
    expect(before).toBe(2);
    await fetchModel();
    expect(bodies()).toHaveLength(before);
  });

  it('of another revision shares what is the same', async () => {
    await fetchModel();
    const folder = await fetchModel({ revision: 'refs/pr/3' });
    expect(folder).toContain(hub.sha);
    expect(bodies()).toHaveLength(2);
    const ref = join(cacheDir, 'models--owner--model', 'refs', 'refs', 'pr', '3');
    expect(await readFile(ref, 'utf8')).toBe(hub.sha);
  });

  it('goes on where a broken connection stopped', async () => {
    hub.breakOnce.set('model.safetensors', 2000);
    const folder = await fetchModel({
      onProgress: ({ bytesDone }) => bytesDone === 2000 && hub.cut(),
    });
    expect(new Uint8Array(readFileSync(join(folder, 'model.safetensors')))).toEqual(weights);
    const asked = bodies().filter((r) => r.includes('model.safetensors'));
    expect(asked).toHaveLength(2);
    expect(asked[1]).toMatch(/bytes=[1-9]\d*-$/);
  });

  it('goes on where an earlier process stopped, and says how far it is', async () => {
    await fetchModel();
    const blob = await realpath(
      join(cacheDir, 'models--owner--model', 'snapshots', hub.sha, 'model.safetensors'),
    );
    await rm(blob);
    await writeFile(`${blob}.incomplete`, weights.subarray(0, 3000));
    const seen: number[] = [];
    await fetchModel({ onProgress: ({ bytesDone }) => seen.push(bytesDone) });
    expect(bodies().at(-1)).toMatch(/bytes=3000-$/);
    expect(seen.at(-1)).toBe(5000);
    expect(new Uint8Array(readFileSync(blob))).toEqual(weights);
  });

  it('is not kept when its hash is wrong', async () => {
    hub.corrupt.add('model.safetensors');
    await expect(fetchModel()).rejects.toMatchObject({ code: 'HUB_CORRUPT' });
    const blobs = await readdir(join(cacheDir, 'models--owner--model', 'blobs'));
    expect(blobs.filter((name) => name.endsWith('.incomplete'))).toEqual([]);
    hub.corrupt.clear();
    await fetchModel();
  });

  it('serves from the cache without a connection', async () => {
    const folder = await fetchModel();
    const asked = hub.requests.length;
    expect(await fetchModel({ localFilesOnly: true })).toBe(folder);
    expect(hub.requests).toHaveLength(asked);
    expect(await fetchModel({ hubUrl: 'http://127.0.0.1:1' })).toBe(folder);
  });

  it('sends a token that is given, and says what to do without one', async () => {
    hub.token = 'hf_secret';
    await expect(fetchModel()).rejects.toMatchObject({
      code: 'HUB_ACCESS',
      message: expect.stringMatching(/licence[\s\S]*token/),
    });
    await fetchModel({ token: 'hf_secret' });
    await expect(fetchModel({ token: 'secret' })).rejects.toMatchObject({ code: 'HUB_TOKEN' });
  });

  it.each([
    ['HUB_NOT_FOUND', 'owner/other', {}],
    ['HUB_NOT_FOUND', 'owner/model', { revision: 'v2' }],
    ['HUB_NOT_CACHED', 'owner/model', { localFilesOnly: true }],
    ['HUB_UNREACHABLE', 'owner/model', { hubUrl: 'http://127.0.0.1:1' }],
    ['MODEL_FOLDER_MISSING', './owner/model', {}],
    ['MODEL_FOLDER_MISSING', '/no/such/folder', {}],
  ])('%s: %s %o', async (code, name, options) => {
    const asked = resolveFolder(name, MODEL_FILES, { cacheDir, hubUrl: hub.url, ...options });
    await expect(asked).rejects.toMatchObject({ code });
    expect(existsSync(join(cacheDir, 'models--owner--model', 'blobs'))).toBe(false);
  });
});

it('fromPretrained takes ids of the Hub: the model is the one of the folder', async () => {
  const names = ['config.json', 'model.safetensors'];
  const read = (name: string) => new Uint8Array(readFileSync(fixture(`tiny-llama/${name}`)));
  await using server = await serveHub({
    repo: 'tiny/llama',
    files: Object.fromEntries(names.map((name) => [name, read(name)])),
  });
  await using attune = await createAttune({ backend: 'reference' });
  const options = { cacheDir, hubUrl: server.url };
  const ours = await AutoModelForCausalLM.fromPretrained('tiny/llama', { attune, ...options });
  expect(ours.nameOrPath).toBe('tiny/llama');
  const theirs = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), { attune });
  const inputIds = [1, 2, 3];
  const [a, b] = await Promise.all(
    [ours, theirs].map((model) => model.generate({ inputIds, maxNewTokens: 5 })),
  );
  expect(a!.sequences).toEqual(b!.sequences);
  await expect(AutoTokenizer.fromPretrained('tiny/llama', options)).rejects.toMatchObject({
    code: 'TOKENIZER_MISSING',
  });
});
