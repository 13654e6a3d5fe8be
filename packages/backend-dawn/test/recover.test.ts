import { expect, test } from 'vitest';
import type { DawnBackend } from '../src/index.js';
import { onDawn } from './support.js';

/** What Dawn reports when a buffer could not be made. */
class GPUOutOfMemoryError {
  readonly message = 'no memory';
}

test('after OUT_OF_MEMORY work goes on with the tensors that are left', async () => {
  await using attune = await onDawn();
  const { engine } = attune;
  const backend = attune.backend as DawnBackend;
  const x = engine.keep(engine.tensor([1, 2, 3]));
  expect([...(await x.mul(2).data())]).toEqual([2, 4, 6]);
  engine.scope('lost', () => {
    x.mul(5).add(1);
    const error = Object.assign(new Event('uncapturederror'), { error: new GPUOutOfMemoryError() });
    backend.device.dispatchEvent(error);
  });
  await expect(backend.sync()).rejects.toThrow(/OUT_OF_MEMORY/);
  await backend.recover();
  await backend.recover(); // nothing to recover from
  expect([...(await x.mul(3).data())]).toEqual([3, 6, 9]);
});
