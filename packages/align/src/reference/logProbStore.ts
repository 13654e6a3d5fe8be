import { AttuneError } from '@attune/core';
import { filesIn, readText, writeFileAtomic } from '@attune/core/io';
import type { HostBatch } from '@attune/core/training';
import { isPlainObject } from '@attune/core/util';

const FORMAT = 'attune-reference-log-probs';
const remedy = 'Delete the file, or name another one: it is made again.';

const SUFFIX = '.jsonl';

/** Largest file that is read: some ten million rows. */
const MAX_BYTES = 2 ** 30;

/**
 * Log-probabilities of a reference in a file of JSON lines: the first says of which model they are,
 * each other one is `{"key", "logProb"}`. A key is of the content of a row, so the same row is
 * found again in another order, another batch, another run.
 */
export class LogProbStore {
  readonly #values = new Map<string, number>();
  #unsaved = 0;

  private constructor(
    readonly path: string,
    private readonly model: string,
  ) {}

  /**
   * @param place the file, which ends in .jsonl, or a folder with one for each model
   * @param model says whose log-probabilities they are
   * @throws REFERENCE_CACHE for another model's, and for what is no such file
   */
  static async open(place: string, model: string): Promise<LogProbStore> {
    const path = place.endsWith(SUFFIX)
      ? place
      : `${place}/reference-${(await hash(new TextEncoder().encode(model))).slice(0, 12)}${SUFFIX}`;
    const store = new LogProbStore(path, model);
    const text = await readText(path, {
      code: 'REFERENCE_CACHE_NONE',
      invalidCode: 'REFERENCE_CACHE',
      remedy,
      maxBytes: MAX_BYTES,
    }).catch((error: unknown) => {
      if (AttuneError.isInstance(error) && error.code === 'REFERENCE_CACHE_NONE') return null;
      throw error;
    });
    if (text !== null) store.#read(text);
    return store;
  }

  get size(): number {
    return this.#values.size;
  }

  get(key: string): number | undefined {
    return this.#values.get(key);
  }

  set(key: string, logProb: number): void {
    if (!this.#values.has(key)) this.#unsaved++;
    this.#values.set(key, logProb);
  }

  /** Writes what is new, where that is worth it: a file is written whole. */
  async save(): Promise<void> {
    if (this.#unsaved === 0 || this.#unsaved < this.#values.size / 100) return;
    const lines = [JSON.stringify({ format: FORMAT, version: 1, model: this.model })];
    for (const [key, logProb] of this.#values) lines.push(JSON.stringify({ key, logProb }));
    await writeFileAtomic(this.path, `${lines.join('\n')}\n`);
    this.#unsaved = 0;
  }

  #read(text: string): void {
    const invalid = (what: string) =>
      new AttuneError('REFERENCE_CACHE', `${this.path} ${what}.`, { remedy });
    const [first, ...rest] = text.split('\n').filter((line) => line !== '');
    const header = first === undefined ? null : parsed(first);
    if (!isPlainObject(header) || header.format !== FORMAT)
      throw invalid('holds no log-probabilities of a reference');
    if (header.model !== this.model)
      throw invalid(
        `holds log-probabilities of ${JSON.stringify(header.model)}, and the reference is ${JSON.stringify(this.model)}`,
      );
    for (const [i, line] of rest.entries()) {
      const row = parsed(line);
      const isRow = isPlainObject(row) && typeof row.key === 'string';
      if (!isRow || typeof row.logProb !== 'number') throw invalid(`has no entry in line ${i + 2}`);
      this.#values.set(row.key as string, row.logProb);
    }
  }
}

/** A file of log-probabilities of a reference. */
export interface StoredReference {
  readonly path: string;
  /** Whose they are: where the model was loaded from, and what of it is the reference. */
  readonly model: string;
  /** Rows that it has. */
  readonly rows: number;
}

/**
 * The log-probabilities that runs with `reference: { precomputed: folder }` have kept in a folder.
 * Other files are left out. Each may be deleted: it is made again.
 *
 * @example for (const { path, model, rows } of await storedReferences('cache')) console.log(path, model, rows);
 */
export async function storedReferences(folder: string): Promise<StoredReference[]> {
  const found: StoredReference[] = [];
  for (const name of await filesIn(folder)) {
    if (!name.endsWith(SUFFIX)) continue;
    const path = `${folder}/${name}`;
    const text = await readText(path, { code: 'REFERENCE_CACHE', remedy, maxBytes: MAX_BYTES });
    const [first, ...rest] = text.split('\n').filter((line) => line !== '');
    const header = first === undefined ? null : parsed(first);
    if (isPlainObject(header) && header.format === FORMAT)
      found.push({ path, model: String(header.model), rows: rest.length });
  }
  return found;
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

/**
 * The key of each row of a batch: of its ids, of which of them are scored, and of their weights.
 * Padding is no part of it.
 *
 * @param prefix of the names of the arrays: "kl:" for mismatched texts
 */
export async function rowKeys(batch: HostBatch, prefix = ''): Promise<string[]> {
  const inputIds = batch[`${prefix}inputIds`]!;
  const labels = batch[`${prefix}labels`]!;
  const segments = batch[`${prefix}segments`];
  const weights = prefix === '' ? batch.tokenWeights : undefined;
  const [rows, width] = inputIds.shape as [number, number];
  return Promise.all(
    Array.from({ length: rows }, (_, row) => {
      const start = row * width;
      let length = width;
      while (length > 0 && segments && segments.data[start + length - 1] === -1) length--;
      const parts = [inputIds, labels, ...(weights ? [weights] : [])].map(({ data }) =>
        data.subarray(start, start + length),
      );
      const bytes = new Uint8Array(4 * length * parts.length);
      parts.forEach(({ buffer, byteOffset, byteLength }, i) => {
        bytes.set(new Uint8Array(buffer, byteOffset, byteLength), 4 * length * i);
      });
      return hash(bytes);
    }),
  );
}

/** 128 bits of SHA-256, in hexadecimal digits. */
async function hash(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
