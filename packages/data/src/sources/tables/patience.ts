import { setInterval } from 'node:timers';
import { isMainThread, Worker } from 'node:worker_threads';

// Who waits for a loop that a file made endless? Not the process that asked: it may be busy, and
// cannot tell a slow disk from a loop. A thread beside the work sees both, the time of the CPU and
// whether the work has come further.

/** Time of the CPU for a piece of work of no size, in milliseconds. */
const LEAST_MS = 700;

/** What the slowest of decoders does in a millisecond, each several times over. */
const BYTES_IN_A_MS = 4000;
const VALUES_IN_A_MS = 400;

/** Memory of the process. Rows come some megabytes at once, whatever the size of the file. */
const MEMORY_BYTES = 3 * 2 ** 30;

const TICK_MS = 50;

/** How far the work is, and how long its next piece may take. */
export class Patience {
  // The number of the piece, and its milliseconds; 0: there is no work.
  readonly #shared: Int32Array;

  constructor(buffer = new SharedArrayBuffer(8)) {
    this.#shared = new Int32Array(buffer);
  }

  /**
   * A piece of work begins, and the one before has ended.
   *
   * @param bytes, values how large it is
   */
  begin(bytes = 0, values = 0): void {
    const ms = LEAST_MS + bytes / BYTES_IN_A_MS + values / VALUES_IN_A_MS;
    Atomics.store(this.#shared, 1, Math.min(ms, 2 ** 30));
    Atomics.add(this.#shared, 0, 1);
  }

  /** Nothing is worked on. */
  rest(): void {
    Atomics.store(this.#shared, 1, 0);
  }

  /** Starts the thread that ends this process when a piece takes too long, or too much memory. */
  watch(program: URL): void {
    if (!isMainThread) throw new Error('One thread watches.');
    new Worker(program, { workerData: this.#shared.buffer }).unref();
  }

  /** What that thread does. SIGTERM: there was no progress; SIGKILL: there is no more memory. */
  guard(): void {
    let [piece, spent, cpu, clock] = [0, 0, process.cpuUsage(), performance.now()];
    setInterval(() => {
      const { user, system } = process.cpuUsage(cpu);
      const passed = performance.now() - clock;
      cpu = process.cpuUsage();
      clock += passed;
      const [current, allowed] = [Atomics.load(this.#shared, 0), Atomics.load(this.#shared, 1)];
      // A process that waits for a disk, or for its turn, uses none.
      spent = current === piece ? spent + Math.min(passed, (user + system) / 1000) : 0;
      piece = current;
      if (allowed > 0 && spent > allowed) process.kill(process.pid, 'SIGTERM');
      if (process.memoryUsage.rss() > MEMORY_BYTES) process.kill(process.pid, 'SIGKILL');
    }, TICK_MS);
  }
}
