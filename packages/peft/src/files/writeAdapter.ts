import { saveWhole, type TensorToWrite, writeFileAtomic, writeSafetensors } from '@attune/core/io';
import { join, readFile } from '@attune/core/platform';
import type { JsonValue } from '@attune/core/util';
import { formatPeftConfig, type PeftConfig } from '../contract/config.js';
import type { PeftMethod } from '../contract/methodKinds.js';
import { isEncoderIn } from '../slots/promptSlot.js';
import { CONFIG_FILE, ENCODER_FILE, nameInFile, WEIGHTS_FILE } from './names.js';
import { mismatch, WrittenTensors } from './writtenTensors.js';

/** What is written of a parameter. */
export interface SavedTensor {
  readonly shape: readonly number[];
  readonly tensor: { data(): Promise<ArrayLike<number>> };
}

export interface WriteAdapterOptions {
  /** The config that the adapter was loaded with: numbers that are the same are spelt as there. */
  readonly like?: JsonValue | undefined;
  /** Read the files back and compare them with what was meant. */
  readonly verify: boolean;
  /** What writes tensors to a path. Default writeSafetensors. */
  readonly writeTensors?: (path: string, tensors: readonly TensorToWrite[]) => Promise<void>;
}

/**
 * Writes an adapter's folder as PEFT does. It takes the place of an earlier one as a whole, or, on
 * an error, not at all. Parameters of an encoder of virtual tokens go into a file beside PEFT's.
 *
 * @throws PEFT_SAVE_MISMATCH
 */
export async function writeAdapter(
  folder: string,
  method: PeftMethod,
  config: PeftConfig,
  parameters: ReadonlyMap<string, SavedTensor>,
  { verify, like, writeTensors = writeSafetensors }: WriteAdapterOptions,
): Promise<void> {
  const write = async (
    temporary: string,
    file: string,
    named: readonly (readonly [string, SavedTensor])[],
  ) => {
    const path = join(temporary, file);
    const written = new WrittenTensors();
    const tensors = named.map(([name, { shape, tensor }]): TensorToWrite => {
      const data = async () => (await tensor.data()) as Float32Array;
      const own: TensorToWrite = { name, dtype: 'float32', shape, data };
      return verify ? written.watch(own) : own;
    });
    await writeTensors(path, tensors);
    if (verify) await written.compare(path, join(folder, file));
  };
  const all = [...parameters];
  const encoder = all.filter(([name]) => isEncoderIn([name]));
  const others = all.filter(([name]) => !isEncoderIn([name]));
  const text = formatPeftConfig(method, { ...config, inferenceMode: true }, like);
  await saveWhole(folder, async (temporary) => {
    await write(
      temporary,
      WEIGHTS_FILE,
      others.map(([name, tensor]) => [nameInFile(method, name), tensor] as const),
    );
    if (encoder.length > 0) await write(temporary, ENCODER_FILE, encoder);
    const path = join(temporary, CONFIG_FILE);
    await writeFileAtomic(path, text);
    if (verify && (await readFile(path, 'utf8')) !== text)
      throw mismatch(join(folder, CONFIG_FILE), 'is not the config that was written');
  });
}
