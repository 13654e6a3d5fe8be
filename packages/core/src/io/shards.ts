import { z } from 'zod';
import { join } from '#platform';
import { numel } from '../tensor/shape.js';
import { parseBytes } from '../util/bytes.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { type RawConfig, writeJson } from './hfConfig.js';
import { safetensorsBytes } from './safetensorsHeader.js';
import {
  safetensorsDType,
  type TensorDescription,
  type TensorToWrite,
  writeSafetensors,
} from './safetensorsWriter.js';
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

/** The files that weights are written into. */
export interface WeightFiles<T extends TensorDescription> {
  readonly files: readonly { readonly name: string; readonly tensors: readonly T[] }[];
  /** `model.safetensors.index.json`; null: one file needs none. */
  readonly index: RawConfig | null;
}

/**
 * The files of a model as transformers names them: `model.safetensors`, or where the weights are
 * larger than `maxShardSize`, `model-00001-of-0000N.safetensors` and so on with an index.
 *
 * @throws SIZE_INVALID
 */
export function planWeightFiles<T extends TensorDescription>(
  tensors: readonly T[],
  options: ShardOptions = {},
): WeightFiles<T> {
  const { maxShardSize } = parseOptions(shardOptions, options, { where: 'planWeightFiles' });
  const shards = split(tensors, parseBytes(maxShardSize, 'maxShardSize'));
  if (shards.length === 1)
    return { files: [{ name: 'model.safetensors', tensors: shards[0]! }], index: null };
  const total = `${shards.length}`.padStart(5, '0');
  const files = shards.map((shard, i) => ({
    name: `model-${`${i + 1}`.padStart(5, '0')}-of-${total}.safetensors`,
    tensors: shard,
  }));
  const places = files.flatMap((file) => file.tensors.map((t) => [t.name, file.name] as const));
  return {
    files,
    index: {
      metadata: { total_size: tensors.reduce((sum, t) => sum + bytesOf(t), 0) },
      weight_map: Object.fromEntries(places.sort(([a], [b]) => (a < b ? -1 : 1))),
    },
  };
}

/**
 * Weights of a model as transformers writes them, in the files of {@link planWeightFiles}. They
 * take the place of those of an earlier save all together.
 *
 * @throws SIZE_INVALID, SAFETENSORS_WRITE
 */
export async function writeWeights(
  folder: string,
  tensors: Iterable<TensorToWrite>,
  options: ShardOptions = {},
): Promise<void> {
  parseOptions(shardOptions, options, { where: 'writeWeights' });
  const { files, index } = planWeightFiles([...tensors], options);
  await saveWhole(folder, async (temporary) => {
    for (const file of files) await writeSafetensors(join(temporary, file.name), file.tensors);
    if (index) await writeJson(join(temporary, 'model.safetensors.index.json'), index);
  });
}

const bytesOf = ({ dtype, shape }: TensorDescription): number =>
  numel(shape) * safetensorsBytes[safetensorsDType(dtype)];

/**
 * In the order of the tensors; a file is closed when the next tensor would not fit, as
 * huggingface_hub does.
 */
function split<T extends TensorDescription>(tensors: readonly T[], limit: number): T[][] {
  const shards: T[][] = [];
  let open: T[] = [];
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
