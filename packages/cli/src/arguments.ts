import { AttuneError } from '@attune/core';

/** What is wrong with a command line. */
export const wrongArguments = (command: string, message: string): AttuneError =>
  new AttuneError('CLI_ARGUMENTS', message, {
    remedy: `attune ${command} --help lists the options.`,
  });

/** Runs `parseArgs`; what it refuses is an error of the command. @throws CLI_ARGUMENTS */
export function parsing<T>(command: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw wrongArguments(command, (cause as Error).message);
  }
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** What was given. */
export const defined = <T extends object>(values: T): Defined<T> =>
  Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined),
  ) as Defined<T>;
