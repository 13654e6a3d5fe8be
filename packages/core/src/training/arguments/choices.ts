/**
 * What to do about an update whose loss or gradient is not finite: see `nonFinite` of the
 * arguments.
 */
export const NON_FINITE = ['skip', 'stop', 'rollback'] as const;
export type NonFinite = (typeof NON_FINITE)[number];

/** The column in which transformers looks for the lengths of rows, too. */
export const LENGTH_COLUMN = 'length';

/** What `resumeFromCheckpoint` may be. */
export type Resume = boolean | 'if-present' | (string & {});
