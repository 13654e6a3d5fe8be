import { readFile } from 'node:fs/promises';
import type { StoredTensor, TensorSource } from '../../src/contract/tensorTask.js';

/** Float32 numbers of a tensor. */
async function readTensor({ path, begin, shape, dtype }: StoredTensor): Promise<Float32Array> {
  if (dtype !== 'F32') throw new Error(dtype);
  const length = shape.reduce((a, b) => a * b, 1);
  const bytes = await readFile(path);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset + begin).slice(0, length * 4));
}

/** What `rows` and `file` mean, row by row and without any haste. */
export async function readSource(source: TensorSource): Promise<Float32Array> {
  const own = await readTensor(source.tensor);
  if (source.kind === 'file') return own;
  if (source.kind === 'adapted') throw new Error('no rows');
  const { tensor, rows, fills, padding = 0 } = source;
  const columns = tensor.shape.slice(1).reduce((a, b) => a * b, 1);
  const out = new Float32Array((rows.length + padding) * columns);
  for (const [id, row] of rows.entries()) {
    if (row >= 0) {
      out.set(own.subarray(row * columns, (row + 1) * columns), id * columns);
      continue;
    }
    const { from } = fills[-1 - row]!;
    for (const { source: other, row: theirs } of from) {
      const values = await readTensor(other);
      for (let j = 0; j < columns; j++)
        out[id * columns + j] = out[id * columns + j]! + values[theirs * columns + j]!;
    }
    for (let j = 0; j < columns; j++)
      out[id * columns + j] = out[id * columns + j]! / Math.max(1, from.length);
  }
  for (let j = 0; j < columns; j++) {
    let sum = 0;
    for (let id = 0; id < rows.length; id++) sum += out[id * columns + j]!;
    for (let id = rows.length; id < rows.length + padding; id++)
      out[id * columns + j] = sum / rows.length;
  }
  return out;
}
