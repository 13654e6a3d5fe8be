import type { Operand } from '@attune/core/backend';
import type { Param, Stage } from './kernel.js';
import { type Access, type Declared, shader } from './shader.js';

/** A buffer of a stage: read by its dtype, or in another way. */
export type Bound = Operand | { readonly operand: Operand; readonly access: Access };

/** What a stage of a kernel is made of. */
export interface StageParts {
  /**
   * Names the shader: everything that its text depends on, and nothing that changes from step to
   * step.
   */
  readonly key: string;
  /** What is read, by the names that the shader gives it; see {@link named}. */
  readonly reads: Readonly<Record<string, Bound>>;
  /** What is written, and may be read as well. */
  readonly writes: Readonly<Record<string, Bound>>;
  /** Numbers that travel with the dispatch, at most 16: `p.name` in the shader. */
  readonly params?: Readonly<Record<string, Param>>;
  /** Lanes of a workgroup. */
  readonly workgroup: number;
  /**
   * Whether the shader uses subgroups. It then runs with `facts.subgroupSize` lanes in each, and
   * `workgroup` is a multiple of that.
   */
  readonly subgroups?: boolean;
  /** Further directives of WGSL, e.g. `enable f16;`. */
  readonly directives?: readonly string[];
  /**
   * Declarations before `main`: helper functions, workgroup memory. A function is called when the
   * shader is new.
   */
  readonly declarations?: string | (() => string);
  /**
   * The body of `main`. In scope: of a buffer `x` that is read `x(i)`, its element i with 16-bit
   * floats widened, and `xData`, the array as it lies; of a buffer `y` that is written the array
   * `y`; `p`, the params; `lane` (index in the workgroup), `group` (linear index of the workgroup),
   * `wid` (its vector), `gid` (group * workgroup + lane).
   */
  readonly body: string | (() => string);
  readonly grid: readonly [number, number, number];
}

/**
 * One dispatch. The shader declares its buffers and numbers in the order in which they are bound
 * here: both are made from the same lists.
 */
export function stage(parts: StageParts): Stage {
  const { key, params = {}, workgroup, grid } = parts;
  const [reads, writes] = [Object.values(parts.reads), Object.values(parts.writes)];
  return {
    key,
    wgsl: (subgroupSize) =>
      shader({
        reads: declared(parts.reads),
        writes: declared(parts.writes),
        params: Object.fromEntries(Object.entries(params).map(([name, [type]]) => [name, type])),
        workgroup,
        subgroups: parts.subgroups ?? false,
        subgroupSize,
        directives: parts.directives ?? [],
        declarations: textOf(parts.declarations ?? ''),
        body: textOf(parts.body),
      }),
    operands: [...reads, ...writes].map(operandOf),
    reads: reads.length,
    params: Object.values(params),
    grid,
  };
}

const textOf = (text: string | (() => string)): string =>
  typeof text === 'string' ? text : text();
const operandOf = (bound: Bound): Operand => ('operand' in bound ? bound.operand : bound);

const declared = (bounds: Readonly<Record<string, Bound>>): Declared[] =>
  Object.entries(bounds).map(([name, bound]) => ({
    name,
    access: 'operand' in bound ? bound.access : bound.dtype,
  }));

/**
 * Operands of an op by names, in its order. Where the last of them are optional, their names are
 * left over.
 */
export const named = (
  operands: readonly Operand[],
  ...names: readonly string[]
): Record<string, Operand> =>
  Object.fromEntries(operands.map((operand, i) => [names[i]!, operand]));

/** The same buffers read and written in another way. */
export const readAs = (
  access: Access,
  operands: Readonly<Record<string, Operand>>,
): Record<string, Bound> =>
  Object.fromEntries(
    Object.entries(operands).map(([name, operand]) => [name, { operand, access }]),
  );
