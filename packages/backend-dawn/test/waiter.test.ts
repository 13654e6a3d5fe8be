import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Waiter } from '../src/waiter.js';

/** Resolves after so many turns of the event loop, each a millisecond. */
async function after(turns: number): Promise<number> {
  for (let i = 0; i < turns; i++) {
    const start = performance.now();
    while (performance.now() - start < 1);
    await turn();
  }
  return turns;
}

test('naps between turns while something is awaited, and no longer', async () => {
  let naps = 0;
  const waiter = new Waiter(true, () => void naps++);
  expect(await waiter.wait(after(10))).toBe(10);
  expect(naps).toBeGreaterThan(5);
  const before = naps;
  await after(10);
  expect(naps - before).toBeLessThanOrEqual(1);
});

test('many short waits, one after the other or at once: at most one nap a turn', async () => {
  let naps = 0;
  const waiter = new Waiter(true, () => void naps++);
  for (let i = 0; i < 50; i++) await waiter.wait(after(2));
  expect(naps).toBeLessThanOrEqual(2 * 50 + 2);
  naps = 0;
  await Promise.all(Array.from({ length: 5 }, () => waiter.wait(after(20))));
  expect(naps).toBeLessThanOrEqual(22);
});

test('a rejection comes through, and the naps end', async () => {
  let naps = 0;
  const waiter = new Waiter(true, () => void naps++);
  const lost = after(3).then(() => Promise.reject(new Error('lost')));
  await expect(waiter.wait(lost)).rejects.toThrow('lost');
  await after(2);
  const before = naps;
  await after(5);
  expect(naps).toBe(before);
});

test('never naps where the device is a GPU', async () => {
  const waiter = new Waiter(false, () => expect.unreachable());
  expect(await waiter.wait(after(5))).toBe(5);
});
