/**
 * Checks for merge methods of one's own.
 *
 * @module
 */
export { type MergeMethodKitOptions, mergeMethodKit } from './mergeMethodKit.js';
