import type { TrainingArguments } from '../../training/arguments/trainingArguments.js';
import { AttuneError } from '../../util/errors.js';
import type { Logger } from '../../util/logger.js';
import { checkpointJson } from '../run/checkpoint/checkpointJson.js';

/** No memory on the device, a tensor that it does not bind, more than `maxMemory`. */
const TOO_MUCH = new Set(['OUT_OF_MEMORY', 'TENSOR_TOO_LARGE', 'MEMORY_BUDGET']);

/**
 * `autoFindBatchSize`: halves the batch size until an update of the longest rows fits the device,
 * before training begins. So it does not depend on when a long row comes, and no weight has changed
 * when the run starts.
 *
 * @param attempt an update with batches of that size; rejects with OUT_OF_MEMORY where it does not
 *   fit
 * @param recover makes the device usable again
 * @returns the size that fits
 * @throws OUT_OF_MEMORY when one row does not fit either, or the device cannot recover
 */
export async function findBatchSize(
  size: number,
  attempt: (size: number) => Promise<void>,
  recover: (() => Promise<void>) | undefined,
  logger: Logger,
): Promise<number> {
  for (let tried = size; ; tried = Math.floor(tried / 2)) {
    try {
      await attempt(tried);
      if (tried < size) logger.info(`autoFindBatchSize: perDeviceTrainBatchSize is ${tried}`);
      return tried;
    } catch (error) {
      if (!AttuneError.isInstance(error) || !TOO_MUCH.has(error.code) || tried === 1) throw error;
      logger.info(`autoFindBatchSize: ${tried} rows do not fit into memory`);
      if (error.code !== 'OUT_OF_MEMORY') continue;
      if (!recover) throw error;
      await recover();
    }
  }
}

/** A resumed run goes on with the batches of its checkpoint. */
export async function takeBatchSize(args: TrainingArguments, checkpoint: string): Promise<void> {
  const { train_batch_size } = await checkpointJson.read(checkpoint, 'trainer_state.json');
  Object.assign(args, { perDeviceTrainBatchSize: train_batch_size });
}
