import { fstatSync, openSync, readSync } from 'node:fs';

/** The bytes of a file, for who must not be given fewer than it asked for. */
export interface BytesOfFile {
  readonly byteLength: number;
  /** @throws where the file has none, or became shorter */
  slice(start: number, end?: number): ArrayBuffer;
}

/** Opens a file for as long as the process lives. */
export function bytesOfFile(path: string): BytesOfFile {
  const handle = openSync(path, 'r');
  const byteLength = fstatSync(handle).size;
  return {
    byteLength,
    slice(start, end = byteLength) {
      if (!(start >= 0 && end >= start && end <= byteLength))
        throw new Error(`bytes ${start} to ${end} of a file of ${byteLength}`);
      const bytes = new Uint8Array(end - start);
      for (let done = 0; done < bytes.length; ) {
        const read = readSync(handle, bytes, done, bytes.length - done, start + done);
        if (read === 0) throw new Error('the file became shorter');
        done += read;
      }
      return bytes.buffer;
    },
  };
}
