import {
  AttuneError,
  createAttune,
  type DType,
  SFTTrainer,
  type SftArgumentsInput,
} from '@attune/core';
import type { BufferHandle } from '@attune/core/backend';
import { describe, expect, test } from 'vitest';
import {
  backendPlugin,
  Float32Backend,
  idRows,
  ListLogger,
  minuteLlama,
  temporaryFolder,
  weightsOf,
} from './support.js';

/**
 * Says so at the next wait, as a device does, when more than `limit` bytes were asked for at once.
 */
class SmallBackend extends Float32Backend {
  #full = false;

  constructor(private readonly limit: number) {
    super();
  }

  override alloc(byteLength: number, dtype: DType): BufferHandle {
    const buffer = super.alloc(byteLength, dtype);
    this.#full ||= this.stats.liveBytes > this.limit;
    return buffer;
  }

  override async sync(): Promise<void> {
    if (this.#full) throw new AttuneError('OUT_OF_MEMORY', 'the device has no memory left.');
  }

  async recover(): Promise<void> {
    this.#full = false;
  }
}

async function run(args: SftArgumentsInput, limit = Number.POSITIVE_INFINITY, stopAt?: number) {
  const logger = new ListLogger();
  const backend = new SmallBackend(limit);
  await using attune = await createAttune({
    plugins: [backendPlugin('small', () => backend)],
    logger,
  });
  const model = await minuteLlama(attune, 3);
  const controller = new AbortController();
  const trainer = new SFTTrainer({
    model,
    trainDataset: idRows(16),
    args: { maxSteps: 3, learningRate: 0.01, saveSteps: 1, ...args },
  });
  trainer.on('step', ({ step }) => step === stopAt && controller.abort());
  await trainer.train({
    signal: controller.signal,
    resumeFromCheckpoint: args.resumeFromCheckpoint ?? false,
  });
  const { peakBytes } = backend.stats;
  return {
    size: trainer.args.perDeviceTrainBatchSize,
    logger,
    peakBytes,
    weights: await weightsOf(model),
  };
}

const folder = async () => ({ outputDir: await temporaryFolder() });

describe('autoFindBatchSize', () => {
  test('halves until it fits; the run is that of the size found', async () => {
    const small = await run({ perDeviceTrainBatchSize: 2, ...(await folder()) });
    const large = await run({ perDeviceTrainBatchSize: 4, ...(await folder()) });
    const limit = (small.peakBytes + large.peakBytes) / 2;
    const where = await folder();
    const args = { autoFindBatchSize: true, perDeviceTrainBatchSize: 9, ...where };
    const found = await run(args, limit);
    expect(found.size).toBe(2); // 9, 4, 2
    expect(found.weights).toEqual(small.weights);
    expect(found.logger.lines.filter((l) => /autoFindBatchSize/.test(l))).toEqual([
      'info: autoFindBatchSize: 9 rows do not fit into memory',
      'info: autoFindBatchSize: 4 rows do not fit into memory',
      'info: autoFindBatchSize: perDeviceTrainBatchSize is 2',
    ]);
    // A resumed run takes the size of its checkpoint.
    const again = { ...args, ...(await folder()) };
    await run(again, limit, 1);
    const resumed = await run({ ...again, resumeFromCheckpoint: true }, limit);
    expect(resumed.size).toBe(2);
    expect(resumed.weights).toEqual(small.weights);
  });

  test('what fits stays; nothing is left of the trial', async () => {
    const plain = await run({ perDeviceTrainBatchSize: 4, ...(await folder()) });
    const auto = { autoFindBatchSize: true, perDeviceTrainBatchSize: 4, ...(await folder()) };
    const found = await run(auto);
    expect(found.size).toBe(4);
    expect(found.weights).toEqual(plain.weights);
  });

  test('one row that does not fit is an error', async () => {
    await expect(
      run({ autoFindBatchSize: true, perDeviceTrainBatchSize: 4, ...(await folder()) }, 1000),
    ).rejects.toThrow(/OUT_OF_MEMORY/);
  });
});
