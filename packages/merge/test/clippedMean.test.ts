import { createAttune, silentLogger } from '@attune/core';
import { MergeMethods, merge, mergeTensors } from '@attune/merge';
import { mergeMethodKit } from '@attune/merge/testing';
import { expect, test } from 'vitest';
import { clippedMean, clippedMeanPlugin } from './clippedMean.js';

for (const { name, run } of mergeMethodKit(clippedMean)) test(name, run);

test('what is long is cut to the limit, what is short stays', () => {
  const base = Float32Array.of(3, 4); // its norm is 5
  const near = Float32Array.of(3, 4.5); // 0.5 away
  const far = Float32Array.of(13, 4); // 10 away, where 1 is allowed
  const options = { baseIndex: 0, parameters: { limit: 0.2 } };
  const merged = mergeTensors([base, near, far], clippedMean, options);
  expect([...merged]).toEqual([3 + 1 / 2, 4 + 0.5 / 2]);
});

test('its plugin adds it under its name', async () => {
  await using attune = await createAttune({
    backend: 'reference',
    plugins: [merge(), clippedMeanPlugin()],
    logger: silentLogger,
  });
  expect(attune.registry(MergeMethods).get('clipped_mean')).toBe(clippedMean);
});
