// What the program says to the process that reads a table, and what it answers.

/** What the process is told. */
export interface TableJob {
  readonly kind: 'parquet' | 'arrow';
  readonly file: string;
  readonly columns: readonly string[] | null;
  readonly binary: 'refuse' | 'base64';
}

/** What it answers when it is asked for more. */
export type TableAnswer =
  | {
      readonly kind: 'rows';
      readonly rows: readonly unknown[];
      /** Why rows are none, by their place in `rows`. */
      readonly faults: readonly (readonly [index: number, problem: string])[];
    }
  /** Rows that cannot be read: a sentence, and how many they are. */
  | { readonly kind: 'gap'; readonly problem: string; readonly rows: number }
  | { readonly kind: 'end' };
