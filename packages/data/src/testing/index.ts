/**
 * Checks for people who write stages, quality checks and providers of their own.
 *
 * @module
 */

export type { KitCheck } from '@attune/core/testing';
export { type DataStageKitOptions, dataStageKit } from './dataStageKit.js';
export { type LLMProviderKitOptions, llmProviderKit } from './llmProviderKit.js';
export { type QualityCheckKitOptions, qualityCheckKit } from './qualityCheckKit.js';
