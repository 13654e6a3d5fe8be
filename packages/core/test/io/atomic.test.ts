import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeFolder, writeFileAtomic, writeFolderAtomic } from '@attune/core/io';
import { afterAll, beforeEach, expect, it } from 'vitest';

const made: string[] = [];
let scratch: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-atomic-'));
  made.push(scratch);
});
afterAll(() => Promise.all(made.map((folder) => rm(folder, { recursive: true }))));

it('writes a file, making its folder, and replaces it', async () => {
  const path = join(scratch, 'deep/er/state.json');
  await writeFileAtomic(path, 'one');
  await writeFileAtomic(path, new TextEncoder().encode('two'));
  expect(await readFile(path, 'utf8')).toBe('two');
  expect(await readdir(join(scratch, 'deep/er'))).toEqual(['state.json']);
});

it('shows a folder only when it is whole', async () => {
  const folder = join(scratch, 'checkpoint-5');
  await writeFolderAtomic(folder, async (temporary) => {
    await mkdir(join(temporary, 'inner'));
    await writeFile(join(temporary, 'inner/a'), '1');
    expect(await readdir(scratch)).not.toContain('checkpoint-5');
  });
  expect(await readFile(join(folder, 'inner/a'), 'utf8')).toBe('1');
  expect(await readdir(scratch)).toEqual(['checkpoint-5']);
});

it('keeps the old folder when writing the new one fails', async () => {
  const folder = join(scratch, 'checkpoint-5');
  await writeFolderAtomic(folder, (temporary) => writeFile(join(temporary, 'a'), 'old'));
  const torn = writeFolderAtomic(folder, async (temporary) => {
    await writeFile(join(temporary, 'a'), 'new');
    throw new Error('disk full');
  });
  await expect(torn).rejects.toThrow('disk full');
  expect(await readFile(join(folder, 'a'), 'utf8')).toBe('old');
  expect(await readdir(scratch)).toEqual(['checkpoint-5']);
});

it('replaces a folder as a whole', async () => {
  const folder = join(scratch, 'checkpoint-5');
  await writeFolderAtomic(folder, (temporary) => writeFile(join(temporary, 'a'), '1'));
  await writeFolderAtomic(folder, (temporary) => writeFile(join(temporary, 'b'), '2'));
  expect(await readdir(folder)).toEqual(['b']);
  expect(await readdir(scratch)).toEqual(['checkpoint-5']);
});

it('what the system refuses names the path and the reason', async () => {
  const inTheWay = join(scratch, 'a-file');
  await writeFileAtomic(inTheWay, '');
  const path = join(inTheWay, 'inside.json');
  const refused = new RegExp(`DISK_WRITE: ${path} cannot be written: .*ENOTDIR|EEXIST`);
  await expect(writeFileAtomic(path, '{}')).rejects.toThrow(refused);
  await expect(writeFolderAtomic(path, async () => {})).rejects.toThrow(refused);
});

it('makes a folder with those around it, however many do so at once', async () => {
  const folder = join(scratch, 'a/b/c');
  await Promise.all(Array.from({ length: 8 }, () => makeFolder(folder)));
  await makeFolder(`${folder}/`);
  await writeFile(join(folder, 'file'), 'kept');
  await makeFolder(folder);
  expect(await readdir(folder)).toEqual(['file']);
  await expect(makeFolder(join(folder, 'file'))).rejects.toThrow('EEXIST');
  await expect(makeFolder(join(folder, 'file/d'))).rejects.toThrow(`mkdir '${folder}/file'`);
});

// Node's recursive mkdir never comes to an end there.
it.runIf(process.platform === 'linux')('a folder below /proc is refused', async () => {
  await expect(makeFolder('/proc/attune/out')).rejects.toThrow('ENOENT');
  await expect(writeFolderAtomic('/proc/attune/out/x', async () => {})).rejects.toThrow(
    'DISK_WRITE: /proc/attune/out/x cannot be written',
  );
});
