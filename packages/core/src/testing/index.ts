export * from './callbackKit.js';
export * from './communicatorKit.js';
export * from './conformance.js';
export * from './datasetReaderKit.js';
export * from './evaluationTaskKit.js';
export * from './gradients.js';
export * from './inProcessWorld.js';
export * from './kit.js';
export * from './modelFamilyKit.js';
export type { ObjectiveKitOptions } from './objectiveBench.js';
export * from './objectiveKit.js';
export * from './opCase.js';
export { opCases } from './opCases.js';
<<<<<<< HEAD
export * from './optimizerKit.js';
=======
export * from './quantizationFormatKit.js';
>>>>>>> 327739e (core: quantisation formats are an extension point; that of bitsandbytes comes through it)
export * from './scheduleKit.js';
export * from './trackerKit.js';
