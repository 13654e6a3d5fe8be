import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as align from '@attune/align';
import * as alignTesting from '@attune/align/testing';
import * as core from '@attune/core';
import * as coreTesting from '@attune/core/testing';
import * as data from '@attune/data';
import * as dataTesting from '@attune/data/testing';
import * as merge from '@attune/merge';
import * as mergeTesting from '@attune/merge/testing';
import * as peft from '@attune/peft';
import * as peftTesting from '@attune/peft/testing';
import { expect, test } from 'vitest';

const isPoint = (value: unknown): boolean =>
  typeof value === 'object' &&
  value !== null &&
  String((value as { id?: unknown }).id).startsWith('Symbol(attune.point.');

/** | `Point` | package | takes | found by | kit | */
const guide = await readFile(join(import.meta.dirname, '../docs/writing-a-plugin.md'), 'utf8');
const listed = [
  ...guide.matchAll(/^\| `(\w+)` \| (core|peft|align|merge|data) \|.*\| `(\w+)` \|$/gm),
].map(([, point, from, kit]) => ({ point: point!, from: from!, kit }));

test('the guide lists every extension point that a package exports, with a test kit', () => {
  for (const [from, exported] of Object.entries({ core, peft, align, merge, data })) {
    const points = Object.entries(exported).flatMap(([name, v]) => (isPoint(v) ? [name] : []));
    const named = listed.filter((line) => line.from === from).map(({ point }) => point);
    expect(named.toSorted()).toEqual(points.toSorted());
  }
});

test('the test kits that it names are there', () => {
  const kits: Readonly<Record<string, unknown>> = {
    ...coreTesting,
    ...peftTesting,
    ...alignTesting,
    ...mergeTesting,
    ...dataTesting,
  };
  for (const { kit } of listed) expect(typeof kits[kit!], kit).toBe('function');
});
