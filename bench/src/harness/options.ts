import { basename } from 'node:path';
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
}

/** Not a defect of the program: its message says it all. */
export class Refusal extends Error {}

/** Options of every bench, from the command line. @throws Refusal */
export function benchOptions(): BenchOptions {
  const values = parse();
  const reps = Number(values.reps);
  if (!Number.isInteger(reps) || reps < 1)
    throw new Refusal(`--reps is "${values.reps}"; expected a whole number of at least 1.`);
  return {
    bench: basename(process.argv[1]!, '.ts'),
    reps,
    gpu: values.gpu,
    torch: values.torch ?? null,
    only: values.only,
    alone: values.alone,
  };
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
      },
    }).values;
  } catch (error) {
    throw new Refusal((error as Error).message);
  }
}
