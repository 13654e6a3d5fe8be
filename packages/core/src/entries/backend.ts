/**
 * The contract of a device, and the two backends that core brings: the float64 reference and the
 * counting one.
 *
 * @module
 */
export * from '../backend/backend.js';
export { CountingBackend } from '../backend/countingBackend.js';
export * from '../backend/dtype.js';
export * from '../backend/opCall.js';
export { ReferenceBackend } from '../backend/reference/referenceBackend.js';
export * from '../backend/sameCall.js';
export { sizeClass } from '../backend/sizeClass.js';
