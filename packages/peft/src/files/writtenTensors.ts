import { AttuneError } from '@attune/core';
import type { HostArray } from '@attune/core/backend';
import { SafetensorsFile, safetensorsDType, type TensorToWrite } from '@attune/core/io';
import { createHash } from '@attune/core/platform';
import { formatShape, sameShape } from '@attune/core/tensor';

interface Meant {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Hash of the bytes that were handed to the writer. */
  hash: string | null;
}

/**
 * What is meant to be in a file, seen as it is written, to compare with what is in it then. Tensors
 * are hashed on their way, so that nothing is read from the device twice and memory holds one
 * tensor at a time.
 */
export class WrittenTensors {
  readonly #meant = new Map<string, Meant>();

  /** The tensor to hand to the writer in the place of this one. */
  watch(tensor: TensorToWrite): TensorToWrite {
    const { name, shape, data } = tensor;
    const meant: Meant = { dtype: safetensorsDType(tensor.dtype), shape, hash: null };
    this.#meant.set(name, meant);
    return {
      ...tensor,
      data: async () => {
        const values = typeof data === 'function' ? await data() : data;
        meant.hash = hashOf(values);
        return values;
      },
    };
  }

  /**
   * Reads a file and compares names, dtypes, shapes and bytes.
   *
   * @param shown what the file will be, for the message. Default the path
   * @throws PEFT_SAVE_MISMATCH naming the first tensor that differs
   */
  async compare(path: string, shown = path): Promise<void> {
    const file = await SafetensorsFile.open(path).catch((cause: unknown) => {
      throw mismatch(shown, 'cannot be read', cause);
    });
    try {
      for (const [name, { dtype, shape, hash }] of this.#meant) {
        if (!file.has(name)) throw mismatch(shown, `lacks "${name}"`);
        const found = file.info(name);
        if (found.dtype !== dtype)
          throw mismatch(shown, `holds "${name}" as ${found.dtype}, not ${dtype}`);
        if (!sameShape(found.shape, shape))
          throw mismatch(
            shown,
            `holds "${name}" as ${formatShape(found.shape)}, not ${formatShape(shape)}`,
          );
        if (hashOf(await file.readBytes(name)) !== hash)
          throw mismatch(shown, `holds other values of "${name}" than were written`);
      }
      const strange = file.names.find((name) => !this.#meant.has(name));
      if (strange !== undefined) throw mismatch(shown, `holds "${strange}", which is not of it`);
    } finally {
      await file.close();
    }
  }
}

export const mismatch = (path: string, what: string, cause?: unknown): AttuneError =>
  new AttuneError('PEFT_SAVE_MISMATCH', `${path}, read back after saving, ${what}.`, {
    remedy:
      'The disk or the file system does not keep what it is given, or something else writes there: save again, elsewhere.',
    ...(cause !== undefined && { cause }),
  });

const hashOf = ({ buffer, byteOffset, byteLength }: HostArray | Uint8Array): string =>
  createHash('sha256')
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest('hex');
