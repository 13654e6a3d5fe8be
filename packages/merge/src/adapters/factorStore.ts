import { type FileHandle, open } from 'node:fs/promises';
import type { algebra } from '@attune/core/tensor';

/** The factors of a layer: A [r, in] and B [out, r]. */
export interface StoredFactors {
  readonly path: string;
  readonly rank: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** Where A begins in the file; B^T follows. */
  readonly begin: number;
}

/**
 * Factors in a file, until the rank of every layer is known: the header of an adapter's file
 * stands before all of them.
 */
export class FactorStore implements AsyncDisposable {
  #end = 0;

  private constructor(private readonly file: FileHandle) {}

  static async create(path: string): Promise<FactorStore> {
    return new FactorStore(await open(path, 'wx+'));
  }

  async add(path: string, { a, b }: algebra.LowRank): Promise<StoredFactors> {
    const stored = {
      path,
      rank: a.rows,
      inFeatures: a.columns,
      outFeatures: b.rows,
      begin: this.#end,
    };
    await this.#write(Float32Array.from(a.data));
    const across = new Float32Array(b.data.length);
    for (let row = 0; row < b.rows; row++)
      for (let i = 0; i < a.rows; i++) across[i * b.rows + row] = b.data[row * a.rows + i]!;
    await this.#write(across);
    return stored;
  }

  async #write(values: Float32Array): Promise<void> {
    const bytes = new Uint8Array(values.buffer);
    for (let at = 0; at < bytes.length; )
      at += (await this.file.write(bytes, at, bytes.length - at, this.#end + at)).bytesWritten;
    this.#end += bytes.length;
  }

  /** A with zeros below, to so many rows. */
  readA({ rank, inFeatures, begin }: StoredFactors, rows: number): Promise<Float32Array> {
    return this.#read(begin, rank * inFeatures, rows * inFeatures);
  }

  /** B with zeros to its right, to so many columns. */
  async readB(
    { rank, inFeatures, outFeatures, begin }: StoredFactors,
    columns: number,
  ): Promise<Float32Array> {
    const across = await this.#read(
      begin + 4 * rank * inFeatures,
      rank * outFeatures,
      rank * outFeatures,
    );
    const out = new Float32Array(outFeatures * columns);
    for (let i = 0; i < rank; i++)
      for (let row = 0; row < outFeatures; row++)
        out[row * columns + i] = across[i * outFeatures + row]!;
    return out;
  }

  async #read(begin: number, count: number, room: number): Promise<Float32Array> {
    const values = new Float32Array(room);
    const bytes = new Uint8Array(values.buffer, 0, 4 * count);
    for (let at = 0; at < bytes.length; )
      at += (await this.file.read(bytes, at, bytes.length - at, begin + at)).bytesRead;
    return values;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file.close();
  }
}
