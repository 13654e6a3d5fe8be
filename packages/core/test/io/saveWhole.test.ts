import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { finishSave, saveWhole } from '@attune/core/io';
import { afterAll, beforeEach, expect, it } from 'vitest';
import { orphanTag, ownerTag } from '../../src/io/owner.js';
import { notFiles } from '../hostile/cases.js';

const made: string[] = [];
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-save-'));
  made.push(folder);
});
afterAll(() => Promise.all(made.map((path) => rm(path, { recursive: true }))));

const put = async (files: Readonly<Record<string, string>>, into = folder) => {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(into, name, '..'), { recursive: true });
    await writeFile(join(into, name), text);
  }
};
const names = async () => (await readdir(folder)).sort();
const save = (files: Readonly<Record<string, string>>) =>
  saveWhole(folder, (temporary) => put(files, temporary));

it('files of a kind are replaced together; others stay', async () => {
  await put({
    'README.md': 'r',
    'config.json': 'old',
    'generation_config.json': 'old',
    'model-00001-of-00002.safetensors': 'old',
    'model-00002-of-00002.safetensors': 'old',
    'model.safetensors.index.json': 'old',
    'tokenizer.json': 'old',
    'chat_template.jinja': 'old',
    'additional_chat_templates/old.jinja': 'old',
    'adapter_config.json': 'old',
  });
  await save({ 'config.json': 'new', 'model.safetensors': 'new' });
  expect(await names()).toEqual([
    'README.md',
    'adapter_config.json',
    'additional_chat_templates',
    'chat_template.jinja',
    'config.json',
    'model.safetensors',
    'tokenizer.json',
  ]);
  await save({ 'tokenizer.json': 'new', 'additional_chat_templates/tool_use.jinja': 'new' });
  expect(await names()).not.toContain('chat_template.jinja');
  expect(await readdir(join(folder, 'additional_chat_templates'))).toEqual(['tool_use.jinja']);
  expect(await readFile(join(folder, 'additional_chat_templates/tool_use.jinja'), 'utf8')).toBe(
    'new',
  );
});

it('what fails while it writes changes nothing', async () => {
  await put({ 'config.json': 'old' });
  const torn = saveWhole(folder, async (temporary) => {
    await put({ 'config.json': 'new' }, temporary);
    throw new Error('disk full');
  });
  await expect(torn).rejects.toThrow('disk full');
  expect(await names()).toEqual(['config.json']);
  expect(await readFile(join(folder, 'config.json'), 'utf8')).toBe('old');
});

/** A save that was broken off after its journal was written. */
async function left(
  tag: string,
  files = ['config.json', 'model.safetensors'],
  remove: string[] = [],
) {
  const from = `.attune-save-${tag}`;
  await put({ 'config.json': 'new', 'model.safetensors': 'new' }, join(folder, from));
  await writeFile(join(folder, `${from}.json`), JSON.stringify({ from, files, remove }));
  return join(folder, `${from}.json`);
}
/** Above the largest number that Linux gives a process. */
const deadTag = () => ownerTag().replace(/-\d+-/, `-${2 ** 22 + 1}-`);

it.each([
  ['a dead process', deadTag],
  ['a save that failed while it moved', orphanTag],
])(
  'opening the folder completes what %s left, at once for several that open it',
  async (_, tag) => {
    await put({ 'config.json': 'old', 'model-00001-of-00002.safetensors': 'old' });
    await left(tag(), undefined, ['model-00001-of-00002.safetensors']);
    await Promise.all([finishSave(folder), finishSave(folder), finishSave(folder)]);
    expect(await names()).toEqual(['config.json', 'model.safetensors']);
    expect(await readFile(join(folder, 'config.json'), 'utf8')).toBe('new');
  },
);

it('of another machine: what is old is completed', async () => {
  const path = await left('00000000-1-00000000');
  await utimes(path, new Date(0), new Date(0));
  await finishSave(folder);
  expect(await names()).toEqual(['config.json', 'model.safetensors']);
});

it('what dead processes left is cleared by the next save, what living ones write is not', async () => {
  const dead = deadTag();
  const living = ownerTag().replace(/-\d+-/, `-${process.ppid}-`);
  await put({
    [`.attune-save-${dead}/config.json`]: 'x',
    [`.model.safetensors.tmp-${dead}`]: 'x',
    [`.attune-save-${living}/config.json`]: 'x',
    [`.model.safetensors.tmp-${living}`]: 'x',
    '.gitattributes': 'x',
  });
  await save({ 'config.json': 'new' });
  expect(await names()).toEqual(
    [
      `.attune-save-${living}`,
      '.gitattributes',
      `.model.safetensors.tmp-${living}`,
      'config.json',
    ].sort(),
  );
});

it.each([
  ['leads out', ['../x']],
  ['is absolute', ['/etc/x']],
  ['is no name', [7]],
])('a journal that %s is refused', async (_, files) => {
  await left(orphanTag(), files as string[]);
  await expect(finishSave(folder)).rejects.toMatchObject({ code: 'SAVE_INTERRUPTED' });
});

it.each(['', '{', '[]', 'null', '{"from":"..","files":[],"remove":[]}'])(
  'a journal of %j is refused',
  async (text) => {
    await writeFile(join(folder, `.attune-save-${orphanTag()}.json`), text);
    await expect(finishSave(folder)).rejects.toMatchObject({ code: 'SAVE_INTERRUPTED' });
  },
);

it.each(notFiles.filter(([name]) => name !== 'a file of someone else'))(
  'a journal that is %s is refused',
  async (_, place) => {
    await place(join(folder, `.attune-save-${orphanTag()}.json`));
    await expect(finishSave(folder)).rejects.toMatchObject({ code: 'SAVE_INTERRUPTED' });
  },
);
