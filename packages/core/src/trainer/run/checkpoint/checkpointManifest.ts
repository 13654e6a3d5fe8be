import { z } from 'zod';
import { createHash, join, lstat, readdir, readParts, stat, writeFile } from '#platform';
import { readText } from '../../../io/readText.js';
import { AttuneError } from '../../../util/errors.js';
import { checkpointJson } from './checkpointJson.js';

/** The last file of a checkpoint: what a torn or damaged one is recognised by. */
export const MANIFEST = 'attune_checkpoint.json';

const VERSION = 2;

/** Which run wrote a checkpoint: a run that is resumed keeps its identity. */
export interface RunIdentity {
  readonly id: string;
  /** When the run began, ISO 8601. */
  readonly started: string;
}

const identitySchema = z.object({ id: z.string().min(1), started: z.iso.datetime() });

/** `/` between folders; never out of the checkpoint. */
const fileName = z
  .string()
  .refine((name) => name.split('/').every((part) => !/^\.{0,2}$|[\\:\0]/.test(part)));

const manifestSchema = z.object({
  schema_version: z.literal(VERSION),
  run: identitySchema,
  files: z.record(
    fileName,
    z.object({
      bytes: z.int().nonnegative(),
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
    }),
  ),
});

/**
 * Writes the manifest of a checkpoint whose other files are there: schema, run, size and SHA-256 of
 * each file.
 */
export async function writeManifest(folder: string, run: RunIdentity): Promise<void> {
  const files: Record<string, { bytes: number; sha256: string }> = {};
  for (const name of await filesBelow(folder)) {
    const path = join(folder, name);
    files[name] = { bytes: (await stat(path)).size, sha256: await sha256Of(path) };
  }
  const manifest = { schema_version: VERSION, run, files };
  await writeFile(join(folder, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** What is wrong with a checkpoint folder, in words; null when every byte is what was written. */
export async function damage(folder: string): Promise<string | null> {
  try {
    const manifest = await readManifest(folder);
    if (typeof manifest === 'string') return manifest;
    if (!manifest.files['trainer_state.json']) return `${MANIFEST} names no trainer_state.json`;
    const files = Object.entries(manifest.files);
    // Sizes first: a file that was cut off shows without reading the gigabytes before it.
    for (const [name, { bytes }] of files) {
      const found = await stat(join(folder, name)).catch(() => null);
      if (!found?.isFile()) return `${name} is missing`;
      if (found.size !== bytes) return `${name} has ${found.size} bytes instead of ${bytes}`;
    }
    for (const [name, { sha256 }] of files) {
      const path = join(folder, name);
      if ((await sha256Of(path)) !== sha256)
        return `${name} has other bytes than were written (its SHA-256 differs)`;
      const problem = await checkpointJson.problem(name, path);
      if (problem) return problem;
    }
    return null;
  } catch (error) {
    return `a file of it cannot be read (${(error as Error).message})`;
  }
}

/** Who wrote the checkpoint, as far as its manifest says; null where it does not. */
export async function runOf(folder: string): Promise<RunIdentity | null> {
  const manifest = await readManifest(folder).catch(() => null);
  return manifest === null || typeof manifest === 'string' ? null : manifest.run;
}

/** The manifest, or why it is none. */
async function readManifest(folder: string): Promise<z.output<typeof manifestSchema> | string> {
  const path = join(folder, MANIFEST);
  if (!(await lstat(path).catch(() => null))) return `it has no ${MANIFEST}`;
  let json: unknown;
  try {
    // A pipe or a device in its place would be read for ever.
    json = JSON.parse(await readText(path, { code: 'CHECKPOINT_TORN', remedy: 'Take another.' }));
  } catch (error) {
    return AttuneError.isInstance(error)
      ? error.description
      : `${MANIFEST} is not JSON (${(error as Error).message})`;
  }
  const { success, data, error } = manifestSchema.safeParse(json);
  if (success) return data;
  const [issue] = error.issues;
  if (issue!.path[0] === 'schema_version')
    return `${MANIFEST} is not of version ${VERSION}: another version of Attune wrote it`;
  return `${MANIFEST}: ${issue!.path.join('.') || 'its content'}: ${issue!.message}`;
}

/** Names of all files below a folder, sorted. */
async function filesBelow(folder: string, prefix = ''): Promise<string[]> {
  const names: string[] = [];
  for (const entry of await readdir(join(folder, prefix), { withFileTypes: true }))
    if (entry.isDirectory()) names.push(...(await filesBelow(folder, `${prefix}${entry.name}/`)));
    else names.push(`${prefix}${entry.name}`);
  return names.sort();
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of readParts(path)) hash.update(chunk);
  return hash.digest('hex');
}
