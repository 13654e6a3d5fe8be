/**
 * Checks for people who write stages of their own.
 *
 * @module
 */

export type { KitCheck } from '@attune/core/testing';
export { type DataStageKitOptions, dataStageKit } from './dataStageKit.js';
