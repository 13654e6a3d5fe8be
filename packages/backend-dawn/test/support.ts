import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Attune, createAttune, silentLogger } from '@attune/core';
import { dawn } from '../src/index.js';

const repository = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
export const fixture = (name: string): string => join(repository, 'parity/fixtures', name);
// biome-ignore lint/suspicious/noExplicitAny: fixtures are what their README says
export const fixtureJson = (name: string): any => JSON.parse(readFileSync(fixture(name), 'utf8'));

export const shared = (path: string): string => resolve(repository, '../shared', path);
/** The shared model is not part of the repository: tests that need it say so and are skipped. */
export const hasStories = existsSync(shared('models/stories260k/model.safetensors'));

export const onDawn = (): Promise<Attune> =>
  createAttune({ plugins: [dawn()], logger: silentLogger });

export const temporaryFolder = (): string => mkdtempSync(join(tmpdir(), 'attune-'));
