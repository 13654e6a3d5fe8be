import { sequenceFilters } from './sequenceFilters.js';
import { textFilters } from './textFilters.js';
import type { Callable } from './values.js';

/** Jinja's filters by name. */
export const filters: ReadonlyMap<string, Callable> = new Map([...textFilters, ...sequenceFilters]);
