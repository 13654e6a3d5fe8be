import { AttuneError } from '../util/errors.js';

/**
 * One property of an extension, for any test framework:
 * `for (const { name, run } of kit) test(name, run)`. `run` rejects with the code KIT when the
 * extension does not have it.
 */
export interface KitCheck {
  readonly name: string;
  run(): Promise<void>;
}

/**
 * The checks of one extension: `check` makes one, `fail` says what it does not do and what to
 * change.
 */
export function kitOf(subject: string) {
  const fail = (what: string, remedy: string): never => {
    throw new AttuneError('KIT', `${subject}: ${what}.`, { remedy });
  };
  return {
    fail,
    check: (name: string, body: () => void | Promise<void>): KitCheck => ({
      name: `${subject}: ${name}`,
      run: async () => body(),
    }),
    /** What it throws; fails where it throws nothing. */
    rejected: async (what: string, body: () => unknown, remedy: string): Promise<unknown> => {
      try {
        await body();
      } catch (error) {
        return error;
      }
      return fail(`${what} is taken without an error`, remedy);
    },
  };
}
