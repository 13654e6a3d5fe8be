import { type LanguageModel, ops } from '@attune/core';
import { AdamW, applyPeft, decayGroups } from '@attune/core/training';
import type { Contender } from '../harness/measure.js';
import { someIds } from './tinyLm.js';
import { loraConfig } from './training.js';

/** The sizes of an update, as in `trainingSteps`. */
interface BareSteps {
  readonly model: LanguageModel;
  readonly batchSize: number;
  readonly length: number;
  readonly loraRank: number;
}

/**
 * The updates of `trainingSteps` by a loop that does nothing but the update: forward, backward,
 * clipping, AdamW on one batch that lies on the device. No rows, no metrics, no callbacks, no log.
 */
export function bareSteps({ model: base, batchSize, length, loraRank }: BareSteps): Contender {
  const model = loraRank > 0 ? applyPeft(base, loraConfig(loraRank)) : base;
  const { engine } = model;
  const optimizer = new AdamW(engine, decayGroups(model.root, 0));
  const ids = Array.from({ length: batchSize }, (_, row) =>
    someIds(length, model.config.vocabSize, row),
  );
  const shape = [batchSize, length];
  const int32 = (rows: readonly (readonly number[])[]) =>
    engine.keep(engine.tensor(Int32Array.from(rows.flat()), shape, 'int32'));
  const inputIds = int32(ids);
  const labels = int32(ids.map((row) => [...row.slice(1), -100]));
  const positions = int32(ids.map((row) => row.map((_, t) => t)));
  const segments = int32(ids.map((row) => row.map(() => 0)));
  const items = batchSize * (length - 1);
  return {
    async run() {
      model.root.train();
      engine.scope('update', () => {
        const hidden = model.hiddenStates({ inputIds, positions, segments });
        const rows = hidden.reshape(labels.size, -1);
        const loss = ops.linearCrossEntropy(rows, model.headWeight()!, labels.reshape(labels.size));
        engine.backward(loss, { scale: 1 / items });
      });
      const clip = optimizer.clipGradNorm(1);
      optimizer.step({ lr: 1e-3, clip });
      clip.dispose();
      optimizer.zeroGrad();
      await engine.backend.sync();
    },
    dispose() {
      optimizer.dispose();
      for (const tensor of [inputIds, labels, positions, segments]) tensor.dispose();
    },
  };
}
