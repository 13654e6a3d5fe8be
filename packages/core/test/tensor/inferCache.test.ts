import { expect, test } from 'vitest';
import { type Attrs, ReferenceBackend } from '../../src/entries/backend.js';
import type { TensorSpec } from '../../src/entries/tensor.js';
import { defineOp, Engine, ops } from '../../src/index.js';
import { InferCache, type Inferred } from '../../src/tensor/inferCache.js';

const def = defineOp<Attrs>({ name: 'x', infer: () => [], reference: () => {} });

/** A cache with a rule that counts how often it is asked. */
function counted(capacity?: number) {
  const cache = new InferCache(capacity);
  const counter = {
    asked: 0,
    get: (inputs: TensorSpec[], attrs: Attrs) =>
      cache.get(def, inputs, attrs, (): Inferred => {
        counter.asked++;
        return { outputs: [], hasFloat: false, isSupported: true };
      }),
    refuse: (inputs: TensorSpec[]) =>
      cache.get(def, inputs, {}, () => {
        throw new Error('does not fit');
      }),
  };
  return counter;
}

const spec = (shape: number[], dtype: TensorSpec['dtype'] = 'float32'): TensorSpec => ({
  shape,
  dtype,
});

test('asks once for equal calls, anew for any difference', () => {
  const counter = counted();
  const { get } = counter;
  get([spec([2, 3])], { axis: 0, list: [1, 2], keep: true });
  get([spec([2, 3])], { axis: 0, list: [1, 2], keep: true });
  expect(counter.asked).toBe(1);
  for (const [inputs, attrs] of [
    [[spec([3, 2])], { axis: 0, list: [1, 2], keep: true }],
    [[spec([2, 3], 'int32')], { axis: 0, list: [1, 2], keep: true }],
    [[spec([2, 3]), spec([2, 3])], { axis: 0, list: [1, 2], keep: true }],
    [[spec([2, 3])], { axis: 1, list: [1, 2], keep: true }],
    [[spec([2, 3])], { axis: -0, list: [1, 2], keep: true }],
    [[spec([2, 3])], { axis: 0, list: [1, 3], keep: true }],
    [[spec([2, 3])], { axis: 0, list: [1, 2, 3], keep: true }],
    [[spec([2, 3])], { axis: 0, list: [1, 2], keep: false }],
    [[spec([2, 3])], { axis: 0, list: [1, 2] }],
    [[spec([2, 3])], { axis: 0, list: [1, 2], keep: true, more: 1 }],
  ] as [TensorSpec[], Attrs][]) {
    get([spec([2, 3])], { axis: 0, list: [1, 2], keep: true });
    const before = counter.asked;
    get(inputs, attrs);
    expect(counter.asked, JSON.stringify([inputs, attrs])).toBe(before + 1);
  }
});

test('what the caller changes afterwards is another call', () => {
  const counter = counted();
  const attrs = { n: 1, list: [1] };
  const shape = [2];
  counter.get([spec(shape)], attrs);
  attrs.n = 2;
  counter.get([spec(shape)], attrs);
  attrs.list[0] = 5;
  counter.get([spec(shape)], attrs);
  shape[0] = 3;
  counter.get([spec(shape)], attrs);
  expect(counter.asked).toBe(4);
});

test('an error is not kept, and a full cache starts again', () => {
  const counter = counted(4);
  expect(() => counter.refuse([spec([1])])).toThrow('does not fit');
  for (let n = 1; n <= 5; n++) counter.get([spec([n])], {});
  expect(counter.asked).toBe(5);
  counter.get([spec([5])], {});
  expect(counter.asked).toBe(5);
  counter.get([spec([1])], {});
  expect(counter.asked).toBe(6);
});

test('a number that decides the shape does so at every call', async () => {
  const engine = new Engine(new ReferenceBackend());
  const x = engine.tensor([1, 2, 3, 4, 5]);
  for (const end of [1, 4, 2, 4]) {
    const part = ops.slice(x, 0, 0, end);
    expect(part.shape).toEqual([end]);
    expect([...(await part.data())]).toEqual([1, 2, 3, 4, 5].slice(0, end));
  }
});
