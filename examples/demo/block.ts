import type { Bug } from './issues.js';
import type { Names } from './names.js';

export type Language = 'js' | 'py';

/**
 * A few lines of a function that do one thing, in a correct version and in one broken version for
 * each bug that they can host. Functions are put together from blocks (see compose.ts), so the same
 * lines appear in good and in bad functions, and only the broken spot itself gives the class away.
 */
export interface Block {
  readonly id: string;
  /** `one`: the block works on a record, `many`: on a list; left out: on either. */
  readonly shape?: 'one' | 'many';
  readonly async?: boolean;
  /** Parameters that the function needs for these lines. */
  readonly params?: (n: Names) => string[];
  /** The bugs it can host, each with the identifier at fault, as a reviewer would name it. */
  readonly hosts: Partial<Readonly<Record<Bug, (n: Names) => string>>>;
  /** The lines without outer indentation; `bug` is undefined in the correct version. */
  readonly lines: (n: Names, bug: Bug | undefined) => string[];
}

/** A result block also says what the function is for: it names the function. */
export interface ResultBlock extends Block {
  /** The name in words, as `['sum', 'Invoice', 'Amount']`: joined in camelCase or snake_case. */
  readonly title: (n: Names) => string[];
  /** What it does, for docstrings: `add up the amount of all invoices`. */
  readonly purpose: (n: Names) => string;
}

/** The comparison operator of a check: the right one, or the one that the bug puts in its place. */
export function equals(bug: Bug | undefined): string {
  if (bug === 'loose-equality') return '==';
  return bug === 'assignment-in-condition' ? '=' : '===';
}

/** Keeps the listed lines only when the condition holds; reads well inside a line list. */
export function when(condition: boolean, ...lines: string[]): string[] {
  return condition ? lines : [];
}
