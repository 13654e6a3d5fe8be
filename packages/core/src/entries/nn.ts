/**
 * Modules: layers, decoders, adapters' places in them.
 *
 * @module
 */
export * from '../nn/attention.js';
export * from '../nn/bitsAndBytesLinear.js';
export * from '../nn/conv1d.js';
export * from '../nn/decoder.js';
export * from '../nn/embedding.js';
export * from '../nn/init.js';
export * from '../nn/linear.js';
export * from '../nn/mlp.js';
export * from '../nn/module.js';
export * from '../nn/norm.js';
export { offloadWeights } from '../nn/offload.js';
export * from '../nn/quantizedLayer.js';
export * from '../nn/rotary.js';
export * from '../nn/rotaryDecoder.js';
export type { KeyValues, VirtualTokens } from '../nn/virtualTokens.js';
