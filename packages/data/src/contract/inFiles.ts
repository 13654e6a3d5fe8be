import type { Attune } from '@attune/core';
import type { z } from 'zod';

/** What an option is in the YAML of a pipeline, where it is not the plain value itself. */
export interface InFiles {
  /**
   * Makes what code would give of the value of a file, and checks it.
   *
   * @param attune has what plugins add
   */
  readonly read?: (value: unknown, attune: Attune | null) => unknown;
  /** Whether such a value computes on a device. */
  readonly needsDevice?: (value: unknown) => boolean;
}

/** Says what an option is in files; further metadata is kept. */
export const inFiles = <S extends z.ZodType>(schema: S, inFiles: InFiles): S =>
  schema.meta({ inFiles });

/** What {@link inFiles} said of a schema. */
export const inFilesOf = (schema: z.ZodType): InFiles => (schema.meta()?.inFiles as InFiles) ?? {};
