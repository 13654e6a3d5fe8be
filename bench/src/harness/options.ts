import { parse as parsePath } from 'node:path';
import { parseArgs } from 'node:util';

export interface BenchOptions {
  /** The file's name: what the JSON lines call the bench. */
  readonly bench: string;
  /** Measured repetitions of each contender. */
  readonly reps: number;
  /** Refuse a software adapter. */
  readonly gpu: boolean;
  /** A Python with NumPy or PyTorch, as a yardstick of the machine; null: none. */
  readonly torch: string | null;
  /** Only cases whose name contains this. */
  readonly only: string;
  /** Run ours alone. */
  readonly alone: boolean;
  /** No case begins after so many seconds, nor is one repeated; those left over are named. */
  readonly seconds: number;
  /** Bytes of device memory that there are; null: what the system tells, if it does. */
  readonly memory: number | null;
  /** Cases to leave out at the beginning, in `conformance`. */
  readonly from: number;
}

/** Not a defect of the program: its message says it all. */
export class Refusal extends Error {}

/** Options of every bench, from the command line. @throws Refusal */
export function benchOptions(): BenchOptions {
  const values = parse();
  return {
    bench: parsePath(process.argv[1]!).name,
    reps: wholeNumber('reps', values.reps, 1),
    gpu: values.gpu,
    torch: values.torch ?? null,
    only: values.only,
    alone: values.alone,
    seconds: values.seconds ? wholeNumber('seconds', values.seconds, 1) : Number.POSITIVE_INFINITY,
    memory: values.memory ? wholeNumber('memory', values.memory, 1) * 1e9 : null,
    from: wholeNumber('from', values.from, 0),
  };
}

/** The same for a program of processes alone: what is wrong with an option is said, and it ends. */
export function optionsOrExit(): BenchOptions {
  try {
    return benchOptions();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    console.error(error.message);
    process.exit(1);
  }
}

function wholeNumber(name: string, text: string, least: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least) return value;
  throw new Refusal(`--${name} is "${text}"; expected a whole number of at least ${least}.`);
}

function parse() {
  try {
    return parseArgs({
      options: {
        reps: { type: 'string', default: '7' },
        gpu: { type: 'boolean', default: false },
        torch: { type: 'string' },
        only: { type: 'string', default: '' },
        alone: { type: 'boolean', default: false },
        seconds: { type: 'string' },
        memory: { type: 'string' },
        from: { type: 'string', default: '0' },
      },
    }).values;
  } catch (error) {
    throw new Refusal((error as Error).message);
  }
}
