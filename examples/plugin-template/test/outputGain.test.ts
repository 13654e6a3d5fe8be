import { peftMethodKit } from '@attune/peft/testing';
import { describe, expect, test } from 'vitest';
import { outputGain, outputGainPlugin } from '../src/index.js';

// Every property that a method must have; see docs/writing-a-peft-method.md.
describe.each([{}, { strength: 0.5, targetModules: 'all-linear' }])('with %j', (config) => {
  for (const { name, run } of peftMethodKit(outputGain, { config })) test(name, run);
});

test('the plugin says what it is', () => {
  expect(outputGainPlugin().name).toBe('output-gain');
});
