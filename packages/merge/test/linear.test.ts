import { expect, test } from 'vitest';
import { mergeTensors } from '../src/arithmetic/mergeTensors.js';
import { linear } from '../src/methods/linear.js';

const x = Float32Array.of(1, 2, 3, 4, 5);
const y = Float32Array.of(5, 6, 7, 8, 9);

test('a weighted mean, whatever the pieces; without normalize a weighted sum', () => {
  for (const chunkElements of [1, 2, 100])
    expect([
      ...mergeTensors([x, y], linear, { parameters: { weight: [3, 1] }, chunkElements }),
    ]).toEqual([2, 3, 4, 5, 6]);
  const parameters = { weight: [2, -1], normalize: false };
  expect([...mergeTensors([x, y], linear, { parameters })]).toEqual([-3, -2, -1, 0, 1]);
});

test('weights that add up to 0 are refused', () => {
  expect(() => mergeTensors([x, y], linear, { parameters: { weight: [1, -1] } })).toThrow(
    'the weights 1, -1 add up to 0',
  );
});
