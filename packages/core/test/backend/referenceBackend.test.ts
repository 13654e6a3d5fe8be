import { expect, it } from 'vitest';
import type { DType } from '../../src/backend/dtype.js';
import { ReferenceBackend } from '../../src/backend/reference/referenceBackend.js';

const operand = (backend: ReferenceBackend, dtype: DType = 'float32') => {
  const buffer = backend.alloc(8, dtype);
  return { buffer, byteOffset: 0, shape: [2], dtype };
};

it('what was never written reads as NaN, also where a freed buffer lay', () => {
  const backend = new ReferenceBackend();
  const first = operand(backend);
  backend.poke(first, [1, 2]);
  backend.free(first.buffer);
  expect([...backend.peek(operand(backend))]).toEqual([Number.NaN, Number.NaN]);
});

it('a freed buffer serves one later buffer of its kind and length, and no other', () => {
  const backend = new ReferenceBackend();
  const [floats, integers] = [operand(backend), operand(backend, 'int32')];
  backend.free(floats.buffer);
  backend.free(integers.buffer);
  const later = [operand(backend), operand(backend), operand(backend, 'int32')];
  for (const [i, one] of later.entries()) backend.poke(one, [i + 1, i + 1]);
  expect(later.map((one) => [...backend.peek(one)])).toEqual([
    [1, 1],
    [2, 2],
    [3, 3],
  ]);
  expect(backend.stats).toMatchObject({ buffersCreated: 5, liveBytes: 24 });
});
