/**
 * Tensors, ops, gradients, the algebra of adapters and merges, quantisation.
 *
 * @module
 */
export * as quant from '../quant/index.js';
export * as algebra from '../tensor/algebra/index.js';
export type { CrossEntropyOptions } from '../tensor/crossEntropyOptions.js';
export { Engine } from '../tensor/engine.js';
export type { MatmulOptions } from '../tensor/matmulOptions.js';
export * from '../tensor/op.js';
export { chunkRows } from '../tensor/ops/headChunks.js';
export * as ops from '../tensor/ops/index.js';
export { opTable } from '../tensor/opTable.js';
export * from '../tensor/shape.js';
export { Tensor } from '../tensor/tensor.js';
