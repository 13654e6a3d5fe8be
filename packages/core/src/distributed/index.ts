export * from './communicator.js';
export { gatherJson, rankSeed, sumNumbers, sumTensors } from './exchange.js';
