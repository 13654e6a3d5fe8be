import type { Engine } from '../tensor/engine.js';
import type { DeviceBatch, HostBatch } from './objective.js';

/** Host arrays -> tensors of the current scope, in order with the dispatches that read them. */
export const upload = (engine: Engine, batch: HostBatch): DeviceBatch =>
  engine.scope('upload', () =>
    Object.fromEntries(
      Object.entries(batch).map(([name, { data, shape, dtype, reach = null }]) => {
        const tensor = engine.fromBytes(data, shape, dtype);
        tensor.reach = reach;
        return [name, tensor];
      }),
    ),
  );
