import { describe, expect, test } from 'vitest';
import { mergeTensors } from '../src/index.js';

const tensors = [Float32Array.of(1, 2), Float32Array.of(3, 6)];

test('a built-in method by its name', () => {
  const merged = mergeTensors(tensors, 'linear', { parameters: { weight: [1, 3] } });
  expect([...merged]).toEqual([2.5, 5]);
});

describe('refuses', () => {
  test.each<[string, readonly unknown[], string]>([
    ['a method that there is not', [tensors, 'linaer'], 'Did you mean "linear"?'],
    ['an option that there is not', [tensors, 'linear', { paramaters: {} }], 'UNKNOWN_OPTION'],
    ['lists of numbers', [[[1], [2]], 'linear'], 'no list of Float32Array'],
    ['nothing', [undefined, 'linear'], 'no list of Float32Array'],
    ['a base that is none of them', [tensors, 'ties', { baseIndex: 7 }], 'there are 2 tensors'],
    ['a shape of no tensor', [tensors, 'linear', { shape: [-1, -2] }], 'shape'],
    [
      'a value of another type',
      [tensors, 'linear', { parameters: { weight: 1n } }],
      'MERGE_PARAMETER',
    ],
  ])('%s', (_, call, message) => {
    expect(() => mergeTensors(...(call as Parameters<typeof mergeTensors>))).toThrow(message);
  });
});
