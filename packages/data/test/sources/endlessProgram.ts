import { isMainThread, workerData } from 'node:worker_threads';
import { Patience } from '../../src/sources/tables/patience.js';

// A program that works as its first argument says, watched by its patience. It ends with 0.

const spin = (ms: number): void => {
  for (const end = performance.now() + ms; performance.now() < end; );
};

const works: Record<string, (patience: Patience) => Promise<void> | void> = {
  'a loop without an end': () => spin(60_000),
  'many pieces': (patience) => {
    for (let i = 0; i < 12; i++) {
      patience.begin();
      spin(200);
    }
  },
  'a large piece': (patience) => {
    patience.begin(2 ** 24);
    spin(2000);
  },
  'a slow disk': () => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2500);
  },
  'a pause between two requests': async (patience) => {
    patience.rest();
    spin(2000);
  },
  'too much memory': (patience) => {
    patience.begin(2 ** 40);
    const held = [];
    for (let i = 0; i < 64; i++) held.push(Buffer.alloc(2 ** 27, 1));
  },
};

if (isMainThread) {
  const patience = new Patience();
  patience.watch(new URL(import.meta.url));
  // The thread is there before the work begins.
  await new Promise((resolve) => setTimeout(resolve, 1000));
  patience.begin();
  await works[process.argv[2]!]!(patience);
  process.exit(0);
} else new Patience(workerData).guard();
