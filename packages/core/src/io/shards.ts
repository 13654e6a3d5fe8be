import { z } from 'zod';
import { join } from '#platform';
import { numel } from '../tensor/shape.js';
import { parseBytes } from '../util/bytes.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { writeJson } from './hfConfig.js';
import { safetensorsBytes } from './safetensorsHeader.js';
import { safetensorsDType, type TensorToWrite, writeSafetensors } from './safetensorsWriter.js';
import { saveWhole } from './saveWhole.js';

const shardShape = {
  /**
   * Largest file; a single tensor above it has a file of its own. Bytes, or "5GB". Default "50GB",
   * as in transformers 5.
   */
  maxShardSize: z.union([z.number(), z.string()]).default('50GB').meta({ aka: 'shardsize' }),
};
export const shardOptions = z.strictObject(shardShape);

/** How weights are cut into files. */
export type ShardOptions = OptionsInput<typeof shardShape>;

/**
 * Weights of a model as transformers writes them: `model.safetensors`, or where they are larger
 * than `maxShardSize`, `model-00001-of-0000N.safetensors` and so on with an index. They take the
 * place of those of an earlier save all together.
 *
 * @throws SIZE_INVALID, SAFETENSORS_WRITE
 */
export async function writeWeights(
  folder: string,
  tensors: Iterable<TensorToWrite>,
  options: ShardOptions = {},
): Promise<void> {
  const { maxShardSize } = parseOptions(shardOptions, options, { where: 'writeWeights' });
  const shards = split([...tensors], parseBytes(maxShardSize, 'maxShardSize'));
  const total = `${shards.length}`.padStart(5, '0');
  const nameOf = (i: number) =>
    shards.length === 1
      ? 'model.safetensors'
      : `model-${`${i + 1}`.padStart(5, '0')}-of-${total}.safetensors`;
  await saveWhole(folder, async (temporary) => {
    for (const [i, shard] of shards.entries())
      await writeSafetensors(join(temporary, nameOf(i)), shard);
    if (shards.length === 1) return;
    const names = shards.flatMap((shard, i) => shard.map(({ name }) => [name, nameOf(i)] as const));
    await writeJson(join(temporary, 'model.safetensors.index.json'), {
      metadata: { total_size: shards.flat().reduce((sum, t) => sum + bytesOf(t), 0) },
      weight_map: Object.fromEntries(names.sort(([a], [b]) => (a < b ? -1 : 1))),
    });
  });
}

const bytesOf = ({ dtype, shape }: TensorToWrite): number =>
  numel(shape) * safetensorsBytes[safetensorsDType(dtype)];

/**
 * In the order of the tensors; a file is closed when the next tensor would not fit, as
 * huggingface_hub does.
 */
function split(tensors: readonly TensorToWrite[], limit: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [];
  let open: TensorToWrite[] = [];
  let held = 0;
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor);
    if (bytes > limit) {
      shards.push([tensor]);
      continue;
    }
    if (held + bytes > limit) {
      shards.push(open);
      open = [];
      held = 0;
    }
    open.push(tensor);
    held += bytes;
  }
  if (open.length > 0 || shards.length === 0) shards.push(open);
  return shards;
}
