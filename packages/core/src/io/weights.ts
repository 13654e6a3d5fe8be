import { join, lstat } from '#platform';
import { formatShape, type Shape, sameShape } from '../tensor/shape.js';
import { briefly } from '../util/briefly.js';
import { AttuneError, nearest } from '../util/errors.js';
import type { JsonValue } from '../util/losslessJson.js';
import { readJsonMap } from './jsonMap.js';
import {
  type HostTensorData,
  type Room,
  SafetensorsFile,
  type TensorLocation,
} from './safetensors.js';
import type { SafetensorsDType, TensorInfo } from './safetensorsHeader.js';
import { finishSave } from './saveWhole.js';

const singleFile = 'model.safetensors';
const indexFile = 'model.safetensors.index.json';

/**
 * The weights of a model folder, in one file or in shards: names to tensors, read one at a time.
 *
 * With `model.safetensors.index.json`, every shard is opened (header only) and checked against it.
 */
export class WeightFolder implements AsyncDisposable {
  private constructor(
    readonly folder: string,
    private readonly fileOf: ReadonlyMap<string, SafetensorsFile>,
    private readonly files: readonly SafetensorsFile[],
    /** Names here -> names in the files, where they are others. */
    private readonly stored: ReadonlyMap<string, string> = new Map(),
  ) {}

  /**
   * The same weights under other names; the files are this one's to close.
   *
   * @throws WEIGHTS_INDEX where two tensors would have one name
   */
  renamed(rename: (name: string) => string): WeightFolder {
    const fileOf = new Map<string, SafetensorsFile>();
    const stored = new Map<string, string>();
    for (const [name, file] of this.fileOf) {
      const other = rename(name);
      if (fileOf.has(other))
        throw new AttuneError(
          'WEIGHTS_INDEX',
          `${this.folder} has both "${stored.get(other)}" and "${name}", which are "${other}" of the model.`,
          { remedy: 'Fetch the folder again, or remove the tensors of one of the two spellings.' },
        );
      fileOf.set(other, file);
      stored.set(other, this.#inFile(name));
    }
    return new WeightFolder(this.folder, fileOf, this.files, stored);
  }

  #inFile(name: string): string {
    return this.stored.get(name) ?? name;
  }

  /**
   * @throws WEIGHTS_MISSING, WEIGHTS_INDEX, WEIGHTS_SHARD_MISSING, and the codes of SafetensorsFile
   */
  static async open(folder: string): Promise<WeightFolder> {
    await finishSave(folder);
    if (await exists(join(folder, singleFile))) {
      const file = await SafetensorsFile.open(join(folder, singleFile));
      return new WeightFolder(folder, new Map(file.names.map((name) => [name, file])), [file]);
    }
    if (!(await exists(join(folder, indexFile)))) throw await noWeights(folder);
    return WeightFolder.#openShards(folder, await readIndex(join(folder, indexFile)));
  }

  static async #openShards(
    folder: string,
    weightMap: ReadonlyMap<string, string>,
  ): Promise<WeightFolder> {
    const shards = new Map<string, SafetensorsFile>();
    try {
      for (const shard of new Set(weightMap.values())) {
        const path = join(folder, shard);
        if (!(await exists(path))) throw missingShard(folder, shard, weightMap);
        shards.set(shard, await SafetensorsFile.open(path));
      }
      const fileOf = new Map<string, SafetensorsFile>();
      for (const [name, shard] of weightMap) {
        const file = shards.get(shard)!;
        if (!file.has(name))
          throw new AttuneError(
            'WEIGHTS_INDEX',
            `${join(folder, indexFile)} says that ${briefly(name)} is in ${briefly(shard)}, which does not have it.`,
            { remedy: 'Index and shards are from different downloads: fetch the folder again.' },
          );
        fileOf.set(name, file);
      }
      return new WeightFolder(folder, fileOf, [...shards.values()]);
    } catch (error) {
      await Promise.all([...shards.values()].map((file) => file.close()));
      throw error;
    }
  }

  get names(): readonly string[] {
    return [...this.fileOf.keys()];
  }

  has(name: string): boolean {
    return this.fileOf.has(name);
  }

  /** The file that holds a tensor. @throws WEIGHTS_TENSOR_UNKNOWN with the nearest name */
  file(name: string): SafetensorsFile {
    const file = this.fileOf.get(name);
    if (file) return file;
    const near = nearest(name, this.names);
    throw new AttuneError('WEIGHTS_TENSOR_UNKNOWN', `${this.folder} has no tensor "${name}".`, {
      remedy: near ? `Did you mean "${near}"?` : `It has ${this.names.length} tensors.`,
    });
  }

  info(name: string): TensorInfo {
    return this.file(name).info(this.#inFile(name));
  }

  /** Where a tensor's data lie, in which file. @throws WEIGHTS_TENSOR_UNKNOWN */
  location(name: string): TensorLocation {
    return this.file(name).location(this.#inFile(name));
  }

  /** The bytes as they lie in the file. @throws WEIGHTS_TENSOR_UNKNOWN */
  readBytes(name: string): Promise<Uint8Array<ArrayBuffer>> {
    return this.file(name).readBytes(this.#inFile(name));
  }

  /**
   * The bytes of a tensor that are to be so many of this type, checked before they are read.
   *
   * @throws WEIGHTS_TENSOR_UNKNOWN, WEIGHTS_SHAPE
   */
  async readPart(
    name: string,
    dtype: SafetensorsDType,
    numBytes: number,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { dtype: found, begin, end } = this.info(name);
    if (found === dtype && end - begin === numBytes) return this.readBytes(name);
    throw new AttuneError(
      'WEIGHTS_SHAPE',
      `tensor "${name}" is ${found} of ${end - begin} bytes in ${this.file(name).path}, but config.json asks for ${dtype} of ${numBytes} bytes.`,
      { remedy: 'Use the config.json that belongs to these weights.' },
    );
  }

  /**
   * One tensor in its storage form.
   *
   * @param shape what config.json asks for; checked before anything is read
   * @param configKeys the keys of config.json that decide the shape, for the message
   * @param room where its bytes go. Default: new memory
   * @throws WEIGHTS_TENSOR_UNKNOWN, WEIGHTS_SHAPE
   */
  async get(
    name: string,
    shape?: Shape,
    configKeys: readonly string[] = [],
    room?: Room,
  ): Promise<HostTensorData> {
    const file = this.file(name);
    const found = this.info(name).shape;
    if (shape && !sameShape(found, shape))
      throw new AttuneError(
        'WEIGHTS_SHAPE',
        `tensor "${name}" is ${formatShape(found)} in ${file.path}, but config.json asks for ${formatShape(shape)}.`,
        {
          remedy: configKeys.length
            ? `Compare ${configKeys.join(', ')} in config.json with the checkpoint.`
            : 'Use the config.json that belongs to these weights.',
          details: { name, found, expected: shape },
        },
      );
    return { ...(await file.read(this.#inFile(name), room)), name };
  }

  async close(): Promise<void> {
    await Promise.all(this.files.map((file) => file.close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Anything of this name, a broken link too: what is no file is then refused as what it is. */
const exists = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

async function noWeights(folder: string): Promise<AttuneError> {
  const pickled = await exists(join(folder, 'pytorch_model.bin'));
  return new AttuneError(
    'WEIGHTS_MISSING',
    `${folder} has neither ${singleFile} nor ${indexFile}.`,
    {
      remedy: pickled
        ? 'pytorch_model.bin is a pickle, which can run code, so it is not read: save it with save_pretrained(folder, safe_serialization=True) in Python.'
        : 'Give the folder of a Hugging Face checkpoint with safetensors weights.',
    },
  );
}

function missingShard(
  folder: string,
  shard: string,
  weightMap: ReadonlyMap<string, string>,
): AttuneError {
  const inside = [...weightMap].filter(([, file]) => file === shard).map(([name]) => name);
  return new AttuneError(
    'WEIGHTS_SHARD_MISSING',
    `${folder}: ${indexFile} names the shard ${briefly(shard)}, which is not there; it holds ${inside.length} tensors (${briefly(inside[0])}, ...).`,
    { remedy: `Fetch ${shard.slice(0, 100)} into the folder.` },
  );
}

/** An index lists each tensor of the largest models with its file: some 20 MB. */
const maxIndexBytes = 2 ** 26;

/** The index's weight_map: tensor name -> file name. */
async function readIndex(path: string): Promise<ReadonlyMap<string, string>> {
  const remedy =
    'Expected { "metadata": ..., "weight_map": { tensor: "model-00001-of-0000N.safetensors" } }: fetch it again.';
  const index = await readJsonMap(path, {
    code: 'WEIGHTS_INDEX',
    maxBytes: maxIndexBytes,
    remedy,
  });
  const bad = (found: string) => new AttuneError('WEIGHTS_INDEX', `${path}: ${found}`, { remedy });
  const map = index.get('weight_map');
  if (!(map instanceof Map) || map.size === 0) throw bad('has no weight_map.');
  const files = new Map<string, string>();
  for (const [name, file] of map as ReadonlyMap<string, JsonValue>) {
    // A file beside the index and nothing else: a path that leaves the folder is refused.
    if (typeof file !== 'string' || !/^[^/\\\0]+\.safetensors$/.test(file))
      throw bad(`${briefly(name)} is said to be in ${briefly(file)}, not a file name.`);
    files.set(name, file);
  }
  return files;
}
