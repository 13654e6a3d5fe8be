import { AttuneError } from '@attune/core';
import type { ProgressStream } from '@attune/core/util';
import { nearest } from '@attune/core/util';
import { dataCommand, dataHelp } from './data.js';
import { extractAdapterCommand, extractAdapterHelp } from './extractAdapter.js';
import { inspect, inspectHelp } from './inspect.js';
import { mergeCommand, mergeHelp } from './merge.js';

/** What a command line program writes to; the process's own streams outside of tests. */
export interface CliOutput {
  out(text: string): void;
  err(text: string): void;
  /** Where progress is drawn. Absent: nowhere. */
  readonly progress?: ProgressStream;
}

const commands = {
  data: {
    run: dataCommand,
    help: dataHelp,
    summary: 'run a data pipeline, or look at a file of rows',
  },
  inspect: {
    run: inspect,
    help: inspectHelp,
    summary: 'show what supervised fine-tuning trains on',
  },
  merge: {
    run: mergeCommand,
    help: mergeHelp,
    summary: 'merge models as a mergekit YAML says',
  },
  'extract-adapter': {
    run: extractAdapterCommand,
    help: extractAdapterHelp,
    summary: 'make a LoRA out of two checkpoints',
  },
} as const;

const help = `Usage: attune <command> [options]

Commands:
${Object.entries(commands)
  .map(([name, { summary }]) => `  ${name.padEnd(15)} ${summary}`)
  .join('\n')}

attune <command> --help explains a command.
`;

const processOutput: CliOutput = {
  out: (text) => console.log(text),
  err: (text) => console.error(text),
  progress: process.stderr,
};

/**
 * The program `attune`.
 *
 * @param args without node and the program's own name
 * @returns the exit status: 0, 1 where a command found something to refuse, 2 for a wrong command
 *   line or input, 130 where Ctrl-C stopped it
 */
export async function main(
  args: readonly string[],
  output: CliOutput = processOutput,
): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || ['--help', '-h', 'help'].includes(name)) {
    output.out(help);
    return name === undefined ? 2 : 0;
  }
  if (!Object.hasOwn(commands, name)) {
    const near = nearest(name, Object.keys(commands));
    output.err(`attune: there is no command "${name}".${near ? ` Did you mean "${near}"?` : ''}`);
    output.err(help);
    return 2;
  }
  const command = commands[name as keyof typeof commands];
  if (rest.includes('--help') || rest.includes('-h')) {
    output.out(command.help);
    return 0;
  }
  try {
    return await command.run(rest, output);
  } catch (error) {
    if (!AttuneError.isInstance(error)) throw error;
    output.err(error.message);
    return STOPPED.includes(error.code) ? 130 : 2;
  }
}

/** Codes of errors that Ctrl-C makes. */
const STOPPED: readonly string[] = ['ABORTED', 'MERGE_STOPPED'];
