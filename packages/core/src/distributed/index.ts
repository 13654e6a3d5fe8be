export * from './communicator.js';
export { gatherJson, rankSeed, shareRows, sumNumbers, sumTensors } from './exchange.js';
