import { Engine, ops } from '@attune/core';
import { ReferenceBackend } from '@attune/core/backend';
import { writeValues } from '@attune/core/nn';
import { broadcastShapes, resolveReshape } from '@attune/core/tensor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

describe('broadcastShapes', () => {
  it('is symmetric, and a shape broadcasts to itself', () => {
    const shape = fc.array(fc.constantFrom(1, 2, 3), { maxLength: 4 });
    fc.assert(
      fc.property(shape, shape, (a, b) => {
        const attempt = (x: number[], y: number[]) => {
          try {
            return broadcastShapes(x, y, 'add').join();
          } catch {
            return 'refused';
          }
        };
        expect(attempt(a, b)).toBe(attempt(b, a));
        expect(broadcastShapes(a, a, 'add')).toEqual(a);
      }),
    );
  });
});

describe('resolveReshape', () => {
  it('fills in one -1', () => {
    expect(resolveReshape([2, 3, 4], [4, -1])).toEqual([4, 6]);
    expect(resolveReshape([0, 3], [0, 5])).toEqual([0, 5]);
  });
});

describe('shape errors name the op, the shapes and the fix', () => {
  const engine = new Engine(new ReferenceBackend());
  const t = (...shape: number[]) => engine.zeros(shape);
  const ids = (...shape: number[]) => engine.zeros(shape, 'int32');

  it.each<[string, () => unknown]>([
    ['add', () => t(2, 3).add(t(4))],
    ['reshape', () => t(2, 3).reshape(4, -1)],
    ['two unknowns', () => t(2, 3).reshape(-1, -1)],
    ['axis', () => t(2, 3).sum(2)],
    ['permute', () => t(2, 3).permute(0, 0)],
    ['expand', () => t(2, 3).expand(2, 6)],
    ['slice', () => t(2, 3).slice(1, 2, 5)],
    ['concat', () => ops.concat([t(2, 3), t(3, 3)], 1)],
    ['concat nothing', () => ops.concat([], 0)],
    ['matmul', () => t(2, 3).matmul(t(2, 3))],
    ['matmul batches', () => t(2, 4, 3).matmul(t(5, 3, 2))],
    ['embedding', () => ops.embedding(t(5, 2), t(3))],
    ['crossEntropy', () => ops.crossEntropy(t(3, 7), ids(4))],
    ['rmsNorm', () => ops.rmsNorm(t(3, 7), t(6), 1e-5)],
    ['layerNorm', () => ops.layerNorm(t(3, 7), t(7), t(1), 1e-5)],
    ['swiglu', () => ops.swiglu(t(3, 7), t(7))],
    ['rope', () => ops.rope(t(1, 2, 3, 4), { cos: t(9, 4), sin: t(9, 4) }, ids(1, 2))],
    ['attention heads', () => ops.attention(t(1, 2, 3, 4), t(1, 2, 2, 4), t(1, 2, 2, 4))],
    [
      'attention length',
      () => ops.attention(t(1, 2, 2, 4), t(1, 2, 2, 4), t(1, 2, 2, 4), { queryOffset: 1 }),
    ],
    ['assign', () => ops.assign(t(4), t(5))],
    ['writeRows', () => ops.writeRows(t(1, 4, 2), t(1, 3, 2), 2)],
    ['too few values', () => engine.tensor([1, 2, 3], [2, 2])],
    ['too few bytes', () => engine.fromBytes(new Uint16Array(3), [2, 2], 'float16')],
    ['values to write', () => writeValues(t(2, 2), [1, 2, 3])],
    ['unsqueeze', () => t(2, 3).unsqueeze(4)],
    ['squeeze', () => t(2, 3).squeeze(2)],
    ['squeeze of more than one', () => t(2, 3).squeeze(0)],
    ['window', () => engine.window(t(128), 3, [4])],
    ['window beyond', () => engine.window(t(128), 64, [65])],
    ['largest of nothing', () => t(2, 0).max(1)],
    ['concat of two dtypes', () => ops.concat([t(2), ids(2)], 0)],
    ['accumulate in 16 bits', () => ops.accumulate(t(2).cast('float16'), t(2))],
    [
      'update of itself',
      () => {
        const x = t(2);
        ops.accumulate(x.reshape(2, 1), x);
      },
    ],
  ])('%s', (_, run) => {
    expect(run).toThrowErrorMatchingSnapshot();
  });
});
