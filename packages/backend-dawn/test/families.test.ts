import type { Attune } from '@attune/core';
import { afterAll, beforeAll, describe, test } from 'vitest';
import {
  checkForwardBackward,
  checkGeneration,
  families,
} from '../../core/test/models/familyParity.js';
import { onDawn } from './support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune.dispose());

/** Float32 on both sides. */
const tolerance = { logits: 1e-4, gradients: 1e-3 };

describe.each(families)('%s', (name) => {
  test('gives the logits, the loss and every gradient of transformers', () =>
    checkForwardBackward(attune, name, tolerance));

  test('continues a text and a padded batch as transformers does', () =>
    checkGeneration(attune, name, true));
});
