import type { Row } from '@attune/core';

/** Where a row came from. */
export interface RowOrigin {
  /** The file, or what a source without one is called: "rows". */
  readonly file: string;
  /** Its place among the rows of the file, from 0 on. */
  readonly row: number;
  /** The line that it begins on, from 1 on. Absent: the format has no lines. */
  readonly line?: number;
}

/** A row with the place it came from. */
export interface DataRow<R extends Row = Row> {
  readonly row: R;
  readonly origin: RowOrigin;
  /** The part of the data that it belongs to. Absent: nothing was split yet. */
  readonly split?: SplitName;
}

/** Parts of a data set. */
export type SplitName = 'train' | 'validation' | 'test';

/** A place of a file that gave no row. */
export interface RowProblem {
  /** What is wrong, and what was expected. A sentence. */
  readonly problem: string;
  readonly origin: RowOrigin;
  /** What stands there, as it was; cut off where it is long. */
  readonly raw?: string;
}

/** What reading a file gives: each row, or what is in its place. */
export type ReadRow<R extends Row = Row> = DataRow<R> | RowProblem;

/** Whether a place gave no row. */
export const isProblem = (read: ReadRow): read is RowProblem => 'problem' in read;

/** "train.jsonl:12", or without lines "train.parquet[11]". */
export const formatOrigin = ({ file, row, line }: RowOrigin): string =>
  line === undefined ? `${file}[${row}]` : `${file}:${line}`;
