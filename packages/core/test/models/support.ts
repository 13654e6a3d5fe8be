import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Attune, createAttune, silentLogger } from '@attune/core';

const repository = resolve(dirname(fileURLToPath(import.meta.url)), '../../../..');

export const fixtures = resolve(repository, 'parity/fixtures');
export const stories = resolve(repository, '../shared/models/stories260k');

/** The shared model is not part of the repository: tests that need it say so and are skipped. */
export const hasStories = existsSync(resolve(stories, 'model.safetensors'));
export const storiesNote = hasStories ? '' : ` (skipped: no ${stories})`;

export const fixture = (name: string): string => resolve(fixtures, name);

// biome-ignore lint/suspicious/noExplicitAny: fixtures are what their README says
export const fixtureJson = (name: string): any => JSON.parse(readFileSync(fixture(name), 'utf8'));

export const reference = (): Promise<Attune> =>
  createAttune({ backend: 'reference', logger: silentLogger });

/** Largest |ours - theirs|, both flat. */
export function largestDifference(ours: ArrayLike<number>, theirs: ArrayLike<number>): number {
  if (ours.length !== theirs.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < ours.length; i++) {
    const difference = Math.abs(ours[i]! - theirs[i]!);
    if (!(difference <= largest)) largest = difference; // NaN counts as different
  }
  return largest;
}
