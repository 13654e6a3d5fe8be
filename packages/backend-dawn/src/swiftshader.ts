import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { cacheFolder } from './cacheFolder.js';

/**
 * The SwiftShader Vulkan driver (and a Vulkan loader) that ship in the npm package
 * `@sparticuz/chromium`: a software device for machines that have none, without root.
 *
 * @returns the folder with libvulkan.so.1 and vk_swiftshader_icd.json
 * @throws when the package is not installed or the platform is not linux-x64
 */
export function unpackSwiftShader(): string {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error('it exists for linux-x64 only');
  const folder = join(cacheFolder(), 'swiftshader');
  if (existsSync(join(folder, 'vk_swiftshader_icd.json'))) return folder;
  const tar = brotliDecompressSync(readFileSync(findArchive()));
  // Unpacked aside and renamed, so that parallel processes may race.
  const aside = `${folder}.${process.pid}`;
  mkdirSync(aside, { recursive: true });
  for (const { name, bytes } of tarEntries(tar))
    if (/libvk_swiftshader\.so$|libvulkan\.so\.1$|\.json$/.test(name))
      writeFileSync(join(aside, basename(name)), bytes, { mode: 0o755 });
  try {
    renameSync(aside, folder);
  } catch {
    rmSync(aside, { recursive: true, force: true }); // another process was first
  }
  return folder;
}

/** The package's exports hide its bin folder, so look along node's own search path. */
function findArchive(): string {
  const name = '@sparticuz/chromium';
  for (const folder of createRequire(import.meta.url).resolve.paths(name) ?? []) {
    const file = join(folder, name, 'bin/swiftshader.tar.br');
    if (existsSync(file)) return file;
  }
  throw new Error(`the package ${name} is not installed`);
}

function* tarEntries(tar: Buffer): Generator<{ name: string; bytes: Buffer }> {
  for (let at = 0; at + 512 <= tar.length; ) {
    const name = tar.toString('utf8', at, at + 100).replace(/\0.*$/s, '');
    if (!name) return;
    const size = Number.parseInt(tar.toString('utf8', at + 124, at + 136), 8) || 0;
    yield { name, bytes: tar.subarray(at + 512, at + 512 + size) };
    at += 512 + Math.ceil(size / 512) * 512;
  }
}

const RTLD_NOW = 2;
const RTLD_NODELETE = 0x1000;

/**
 * Makes the unpacked driver the one that Dawn finds. Vulkan's loader reads VK_DRIVER_FILES at each
 * start; Dawn opens the loader by name, so ours is mapped first under that name.
 */
export function useDriver(folder: string): void {
  const manifest = join(folder, 'vk_swiftshader_icd.json');
  process.env.VK_DRIVER_FILES = manifest;
  process.env.VK_ICD_FILENAMES = manifest;
  try {
    process.dlopen({ exports: {} }, join(folder, 'libvulkan.so.1'), RTLD_NOW | RTLD_NODELETE);
  } catch {
    // "did not self-register" is expected of a library that is no addon; NODELETE keeps it mapped.
  }
}

/**
 * Asks the dynamic linker itself whether the system has a Vulkan loader: Dawn would print a
 * warning.
 */
export function hasSystemLoader(): boolean {
  if (process.platform !== 'linux') return true;
  try {
    process.dlopen({ exports: {} }, 'libvulkan.so.1', RTLD_NOW);
  } catch (error) {
    return !/cannot open shared object|invalid ELF/.test((error as Error).message);
  }
  return true;
}
