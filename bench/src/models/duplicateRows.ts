import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Rng } from '@attune/core/util';

/** Texts of random words, the frequent ones more often, as in prose. */
export class RandomTexts {
  readonly rng = new Rng(7);
  readonly #vocabulary: readonly string[];

  constructor() {
    const syllables = 'ka to mi ren su lo vi dar ne po shi an or bel'.split(' ');
    this.#vocabulary = Array.from({ length: 20_000 }, () =>
      Array.from({ length: 1 + this.rng.below(4) }, () => syllables[this.rng.below(14)]).join(''),
    );
  }

  word(): string {
    return this.#vocabulary[Math.floor(20_000 * this.rng.uniform() ** 2.5)]!;
  }

  words(count: number): string[] {
    return Array.from({ length: count }, () => this.word());
  }

  /** The same words, some of them others. */
  edited(words: readonly string[], edits: number): string[] {
    const copy = [...words];
    for (let i = 0; i < edits; i++) copy[this.rng.below(copy.length)] = this.word();
    return copy;
  }
}

/** Words below which rows are compared by characters. */
const FEW_WORDS = 30;

/** Shingles of a row as `dedupe` cuts it: 5 words; 5 characters where `byCharacters`. */
function shinglesOf(text: string, byCharacters: boolean): Set<string> {
  const tokens = byCharacters ? [...text] : text.split(' ');
  const count = Math.max(1, tokens.length - 4);
  return new Set(Array.from({ length: count }, (_, i) => tokens.slice(i, i + 5).join(' ')));
}

/** Jaccard similarity of two rows, with sets of strings. */
export function similarity(a: string, b: string): number {
  const isShort = (text: string) => text.split(' ').length < FEW_WORDS;
  const byCharacters = isShort(a) || isShort(b);
  const [left, right] = [shinglesOf(a, byCharacters), shinglesOf(b, byCharacters)];
  let shared = 0;
  for (const shingle of left) if (right.has(shingle)) shared++;
  return shared / (left.size + right.size - shared);
}

/** Rows with pairs that are known. */
export interface PlantedRows {
  readonly texts: readonly string[];
  /** Each with the places of an original and of its copy. */
  readonly pairs: readonly (readonly [number, number])[];
}

/** Rows of 10 to 200 words, 6 of 20 a copy of another with 0 to 8 % of its words changed. */
export function plantedRows(count: number): PlantedRows {
  const random = new RandomTexts();
  const { rng } = random;
  const copies = Math.floor(0.3 * count);
  const originals = Array.from({ length: count - copies }, () =>
    random.words(rng.below(2) === 0 ? 10 + rng.below(20) : 30 + rng.below(170)),
  );
  const all = [
    ...originals,
    ...originals
      .slice(0, copies)
      .map((words) => random.edited(words, Math.round(0.08 * rng.uniform() * words.length))),
  ];
  const order = rng.permutation(count);
  const texts: string[] = [];
  const placeOf = new Map<number, number>();
  for (const [place, from] of order.entries()) {
    texts.push(all[from]!.join(' '));
    placeOf.set(from, place);
  }
  const pairs = Array.from(
    { length: copies },
    (_, i) => [placeOf.get(i)!, placeOf.get(originals.length + i)!] as const,
  );
  return { texts, pairs };
}

/** Rows of 10 to 25 words: 5 % equal to one before, 10 % with one or two other words. */
export function* shortRows(count: number): Generator<string> {
  const random = new RandomTexts();
  const { rng } = random;
  const recent: string[][] = [];
  for (let i = 0; i < count; i++) {
    const kind = recent.length > 0 ? rng.uniform() : 1;
    const before = recent[rng.below(Math.max(1, recent.length))];
    const words =
      kind < 0.05
        ? before!
        : kind < 0.15
          ? random.edited(before!, 1 + rng.below(2))
          : random.words(10 + rng.below(16));
    recent[recent.length < 5000 ? recent.length : rng.below(5000)] = words;
    yield words.join(' ');
  }
}

/** A file in a temporary folder. */
export interface RowsFile extends AsyncDisposable {
  readonly path: string;
  readonly folder: string;
}

/** Writes rows as JSON Lines with a column "text". */
export async function rowsFile(texts: Iterable<string>): Promise<RowsFile> {
  const folder = await mkdtemp(join(tmpdir(), 'attune-bench-'));
  const path = join(folder, 'rows.jsonl');
  const file = createWriteStream(path);
  for (const text of texts)
    if (!file.write(`${JSON.stringify({ text })}\n`))
      await new Promise<void>((resolve) => file.once('drain', () => resolve()));
  await new Promise<void>((resolve) => file.end(() => resolve()));
  return {
    path,
    folder,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
