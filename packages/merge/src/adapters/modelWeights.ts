import { decode } from '@attune/core/backend';
import { WeightFolder } from '@attune/core/io';
import { type AdapterDeltas, adaptersOf } from '@attune/core/models';
import type { OpenedModel, OpenOptions } from '../inputs/openModel.js';

/** The weights of a model as float32, one tensor at a time; what an adapter adds among them. */
export class ModelWeights implements AsyncDisposable {
  private constructor(
    private readonly model: OpenedModel,
    private readonly folder: WeightFolder,
    private readonly deltas: AdapterDeltas | null,
  ) {}

  static async open(model: OpenedModel, { attune, hub }: OpenOptions): Promise<ModelWeights> {
    const folder = await WeightFolder.open(model.files.folder);
    const { adapter } = model.reference;
    if (!adapter) return new ModelWeights(model, folder, null);
    try {
      const service = adaptersOf(attune!, `${model.reference.key} names an adapter`);
      const { path, revision } = adapter;
      const deltas = await service.openDeltas(path, {
        ...hub,
        ...(revision !== null && { revision }),
      });
      return new ModelWeights(model, folder, deltas);
    } catch (error) {
      await folder.close();
      throw error;
    }
  }

  /** A tensor by its name in the file. Integers come as they are. */
  async read(name: string): Promise<Float32Array | Int32Array | Uint32Array> {
    const { dtype, data } = await this.folder.get(name);
    const values = decode(data.buffer as ArrayBuffer, dtype, data.length);
    const added = this.model.adapter?.names.get(name);
    if (added === undefined) return values;
    const { data: delta } = await this.deltas!.read(added);
    for (let i = 0; i < values.length; i++) values[i] = values[i]! + delta[i]!;
    return values;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.folder.close();
    await this.deltas?.close();
  }
}
