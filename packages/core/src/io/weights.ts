import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { formatShape, type Shape, sameShape } from '../tensor/shape.js';
import { AttuneError, nearest } from '../util/errors.js';
import { isPlainObject } from '../util/json.js';
import { type HostTensorData, SafetensorsFile } from './safetensors.js';
import type { TensorInfo } from './safetensorsHeader.js';

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
  ) {}

  /** @throws WEIGHTS_MISSING, WEIGHTS_INDEX, WEIGHTS_SHARD_MISSING, and the codes of SafetensorsFile */
  static async open(folder: string): Promise<WeightFolder> {
    if (await isFile(join(folder, singleFile))) {
      const file = await SafetensorsFile.open(join(folder, singleFile));
      return new WeightFolder(folder, new Map(file.names.map((name) => [name, file])), [file]);
    }
    if (!(await isFile(join(folder, indexFile)))) throw await noWeights(folder);
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
        if (!(await isFile(path))) throw missingShard(folder, shard, weightMap);
        shards.set(shard, await SafetensorsFile.open(path));
      }
      const fileOf = new Map<string, SafetensorsFile>();
      for (const [name, shard] of weightMap) {
        const file = shards.get(shard)!;
        if (!file.has(name))
          throw new AttuneError(
            'WEIGHTS_INDEX',
            `${join(folder, indexFile)} says that "${name}" is in ${shard}, which does not have it.`,
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
    return this.file(name).info(name);
  }

  /**
   * One tensor in its storage form.
   *
   * @param shape what config.json asks for; checked before anything is read
   * @param configKeys the keys of config.json that decide the shape, for the message
   * @throws WEIGHTS_TENSOR_UNKNOWN, WEIGHTS_SHAPE
   */
  async get(
    name: string,
    shape?: Shape,
    configKeys: readonly string[] = [],
  ): Promise<HostTensorData> {
    const file = this.file(name);
    const found = file.info(name).shape;
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
    return file.read(name);
  }

  async close(): Promise<void> {
    await Promise.all(this.files.map((file) => file.close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (s) => s.isFile(),
    () => false,
  );
}

async function noWeights(folder: string): Promise<AttuneError> {
  const pickled = await isFile(join(folder, 'pytorch_model.bin'));
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
    `${folder}: ${indexFile} names the shard ${shard}, which is not there; it holds ${inside.length} tensors (${inside[0]}, ...).`,
    { remedy: `Fetch ${shard} into the folder.` },
  );
}

/** The index's weight_map: tensor name -> file name. */
async function readIndex(path: string): Promise<ReadonlyMap<string, string>> {
  const bad = (found: string, cause?: unknown) =>
    new AttuneError('WEIGHTS_INDEX', `${path}: ${found}`, {
      remedy:
        'Expected { "metadata": ..., "weight_map": { tensor: "model-00001-of-0000N.safetensors" } }: fetch it again.',
      cause,
    });
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw bad(`is not JSON (${(cause as Error).message}).`, cause);
  }
  const map = isPlainObject(json) ? json.weight_map : undefined;
  if (!isPlainObject(map) || Object.keys(map).length === 0) throw bad('has no weight_map.');
  for (const [name, file] of Object.entries(map)) {
    // A file beside the index and nothing else: a path that leaves the folder is refused.
    if (typeof file !== 'string' || !/^[^/\\]+\.safetensors$/.test(file))
      throw bad(`"${name}" is said to be in ${JSON.stringify(file)}, not a file name.`);
  }
  return new Map(Object.entries(map) as [string, string][]);
}
