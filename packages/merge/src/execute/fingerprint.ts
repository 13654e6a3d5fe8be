import { createHash } from 'node:crypto';
import type { MergeMethod } from '../contract/mergeMethod.js';
import type { MergePlan } from '../plan/mergePlan.js';
import type { FileIdentity } from './inputFiles.js';
import type { OutputPlan } from './outputPlan.js';

/** Counts up when the same plan would give other bytes. */
const FORMAT = 1;

/**
 * All that the bytes of a merge depend on, as one number: two merges with the same one write the
 * same.
 *
 * @param methods those that the plan names; a method whose code changed is another
 */
export function fingerprintOf(
  { tasks, seed }: Pick<MergePlan, 'tasks' | 'seed'>,
  output: OutputPlan,
  inputs: readonly FileIdentity[],
  methods: Iterable<MergeMethod>,
): string {
  const hash = createHash('sha256');
  const add = (value: unknown) => hash.update(JSON.stringify(value, withoutRows)).update('\n');
  add([FORMAT, seed, output.index, output.shards.map(({ name, numBytes }) => [name, numBytes])]);
  add(inputs);
  for (const { name, chunks, module, merge } of methods)
    add([name, chunks, module, merge.toString()]);
  for (const task of tasks) {
    add(task);
    for (const { source } of task.inputs) if (source.kind === 'rows') hash.update(source.rows);
  }
  return hash.digest('hex');
}

/** Rows are hashed as bytes: as text they take long. */
const withoutRows = (_key: string, value: unknown): unknown =>
  value instanceof Int32Array ? value.length : value;
