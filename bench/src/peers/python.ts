import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Contender } from '../harness/measure.js';

type Reply = Readonly<Record<string, number | string | boolean>>;

/**
 * NumPy or PyTorch in a process of its own that answers one JSON line with another: what this
 * machine can do at best. It prepares a piece of work once and runs it on demand, so it takes its
 * turn between the others; the clock is Python's.
 */
export class PythonYardstick {
  readonly #lines: AsyncIterator<string>;

  private constructor(
    private readonly process: ChildProcessByStdio<Writable, Readable, null>,
    lines: Interface,
  ) {
    this.#lines = lines[Symbol.asyncIterator]();
  }

  /** What computes: "torch-cpu", "torch-cuda" or "numpy". */
  name = '';

  /** @param python the executable */
  static async start(python: string): Promise<PythonYardstick> {
    const script = fileURLToPath(new URL('yardstick.py', import.meta.url));
    const child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
    child.stdin.on('error', () => undefined); // a process that is gone shows in the missing reply
    child.on('error', (error) => console.error(`--torch: ${error.message}`));
    const yardstick = new PythonYardstick(child, createInterface({ input: child.stdout }));
    const { name, version, threads } = await yardstick.#ask({ op: 'hello' });
    yardstick.name = String(name);
    console.error(`yardstick: ${name} ${version}, ${threads} threads`);
    return yardstick;
  }

  /** Work that the script knows by name. @throws when it does not have what that needs */
  async contender(op: string, sizes: Readonly<Record<string, unknown>>): Promise<Contender> {
    await this.#ask({ op, ...sizes });
    return {
      run: async () => Number((await this.#ask({ op: 'run' })).ms),
    };
  }

  /** The same for a Case's `yardsticks`; nothing without --torch. */
  static of(
    yardstick: PythonYardstick | null,
    op: string,
    sizes: Readonly<Record<string, unknown>>,
  ): Readonly<Record<string, () => Promise<Contender>>> {
    return yardstick ? { [yardstick.name]: () => yardstick.contender(op, sizes) } : {};
  }

  stop(): void {
    this.process.stdin.end();
  }

  async #ask(question: object): Promise<Reply> {
    this.process.stdin.write(`${JSON.stringify(question)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('--torch: Python ended without an answer.');
    const reply = JSON.parse(value) as Reply;
    if (reply.error) throw new Error(String(reply.error));
    return reply;
  }
}
