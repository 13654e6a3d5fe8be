import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { RequestGate } from '../../src/providers/http/requestGate.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Seconds at which requests of so many tokens pass, each over at once. */
async function passing(gate: RequestGate, tokens: readonly number[], minutes: number) {
  const start = performance.now();
  const times: number[] = [];
  for (const each of tokens)
    void gate.enter(each).then((passage) => {
      times.push(Math.round((performance.now() - start) / 1000));
      passage.leave();
    });
  await vi.advanceTimersByTimeAsync(minutes * 60_000);
  return times;
}

test('no more requests than the limit within any 60 seconds', async () => {
  const gate = new RequestGate({ maxConcurrent: 9, requestsPerMinute: 3, tokensPerMinute: null });
  expect(await passing(gate, Array(8).fill(0), 3)).toEqual([0, 0, 0, 61, 61, 61, 122, 122]);
});

test('no more tokens than the limit, and one that is larger passes alone', async () => {
  const gate = new RequestGate({
    maxConcurrent: 9,
    requestsPerMinute: null,
    tokensPerMinute: 100,
  });
  expect(await passing(gate, [60, 40, 10, 500, 10], 5)).toEqual([0, 0, 61, 122, 183]);
});

test('tokens that were not taken are free again', async () => {
  const gate = new RequestGate({
    maxConcurrent: 9,
    requestsPerMinute: null,
    tokensPerMinute: 100,
  });
  const passage = await gate.enter(100);
  let hasPassed = false;
  void gate.enter(50).then(() => {
    hasPassed = true;
  });
  await vi.advanceTimersByTimeAsync(1000);
  expect(hasPassed).toBe(false);
  passage.leave(20);
  await vi.advanceTimersByTimeAsync(1000);
  expect(hasPassed).toBe(true);
});

test('in their order; one that gives up does not hold up the others', async () => {
  const gate = new RequestGate({
    maxConcurrent: 1,
    requestsPerMinute: null,
    tokensPerMinute: null,
  });
  const order: string[] = [];
  const first = await gate.enter(0);
  const controller = new AbortController();
  const gone = gate.enter(0, controller.signal).catch(() => order.push('gone'));
  const third = gate.enter(0).then((passage) => {
    order.push('third');
    passage.leave();
  });
  controller.abort();
  await gone;
  first.leave();
  await third;
  expect(order).toEqual(['gone', 'third']);
});

test('nothing passes while it is paused', async () => {
  const gate = new RequestGate({
    maxConcurrent: 9,
    requestsPerMinute: null,
    tokensPerMinute: null,
  });
  gate.pause(30_000);
  expect(await passing(gate, [0, 0], 1)).toEqual([30, 30]);
});
