import type { Row } from '@attune/core';
import { isPlainObject } from '@attune/core/util';
import { z } from 'zod';
import { runShape } from '../pipeline/runOptions.js';

const anObject = z.custom<object>(isPlainObject, 'expected an object').optional();
const rows = z.custom<readonly Row[]>(
  (value) => Array.isArray(value) && value.length >= 2 && value.every(isPlainObject),
  'expected an array of two rows or more',
);

/** What a kit of a data stage is given. */
export const stageKitSchema = z.strictObject({ rows, options: anObject, attune: runShape.attune });

/** What a kit of a quality check is given. */
export const checkKitSchema = z.strictObject({ rows, options: anObject });

/** What a kit of a kind of providers is given. */
export const providerKitSchema = z.strictObject({
  options: anObject,
  request: anObject,
  isDeterministic: z.boolean().optional(),
  attune: runShape.attune,
});
