import type { LanguageModel } from '../models/languageModel.js';
import type { Engine } from '../tensor/engine.js';
import type { DeviceBatch, HostBatch, HostTensor } from './batch.js';

/**
 * Uploads host arrays as tensors of the current scope, in order with the dispatches that read them.
 *
 * @param model its adapters decide whether arrays about first tokens of rows are needed. Default:
 *   they are not
 */
export const upload = (
  engine: Engine,
  batch: HostBatch,
  model?: Pick<LanguageModel, 'adapters'>,
): DeviceBatch =>
  engine.scope('upload', () => {
    const isNeeded = ({ ofFirstTokens = false }: HostTensor) =>
      !ofFirstTokens || model?.adapters?.predictsFirstToken === true;
    return Object.fromEntries(
      Object.entries(batch)
        .filter(([, array]) => isNeeded(array))
        .map(([name, { data, shape, dtype, reach = null }]) => {
          const tensor = engine.fromBytes(data, shape, dtype);
          tensor.reach = reach;
          return [name, tensor];
        }),
    );
  });
