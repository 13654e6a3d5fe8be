/**
 * The process that pairs.test.ts starts: opens and disposes an Attune again and again, and says on
 * standard output how many threads and open files it has after each.
 *
 * usage: node --expose-gc pairsRun.mjs COUNT plain|work
 */
import { readdirSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { onDawn } from './support.js';

const [count, kind] = process.argv.slice(2);
const held = () => ({
  threads: readdirSync('/proc/self/task').length,
  files: readdirSync('/proc/self/fd').length,
});

async function pair() {
  await using attune = await onDawn();
  if (kind !== 'work') return;
  const { engine } = attune;
  const x = engine.tensor([1, 2, 3]);
  const y = engine.scope('work', () => x.mul(2).add(1).exp());
  await y.data();
}

const after = [];
for (let i = 0; i < Number(count); i++) {
  await pair();
  after.push(held());
}
for (let i = 0; i < 20; i++) {
  await turn();
  (globalThis as { gc?: () => void }).gc!();
}
process.stdout.write(`${JSON.stringify({ after, collected: held() })}\n`);
