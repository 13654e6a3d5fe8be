import type { DataRow, RowOrigin } from '../contract/dataRow.js';
import { IntList, roomFor } from '../dedup/growing.js';
import { SeenRows } from '../dedup/seenRows.js';
import { mix, ShingleSet } from '../dedup/shingleSet.js';
import { Tokens } from '../dedup/tokens.js';
import { MostAlike } from './mostAlike.js';
import { NgramTable, Postings } from './ngramTable.js';
import { WordReader } from './wordReader.js';

/** A row of the evaluation set that a training row has, or much of it. */
export interface Leak {
  /** Its place in the evaluation set, from 0 on. */
  readonly evalIndex: number;
  /** The place of the training row. */
  readonly trainIndex: number;
  /** Share of the n-grams of the evaluation row that the training row has; 1: all. */
  readonly overlap: number;
  /** Training rows that have so much of the evaluation row; more than 1000 are not all named. */
  readonly trainRows: number;
  readonly evalOrigin: RowOrigin;
  readonly trainOrigin: RowOrigin;
}

/** A passage that many rows of both sets have: a prompt of the system, a template. */
export interface Boilerplate {
  /** Its words. */
  readonly text: string;
  readonly evalRows: number;
  readonly trainRows: number;
}

/** All that was found. */
export interface LeakReport {
  /** By evaluation row; the training rows with the most of each first. */
  readonly leaks: readonly Leak[];
  /** The passages that most rows have. */
  readonly boilerplate: readonly Boilerplate[];
  /** Evaluation rows that are made of such passages alone: they are compared whole. */
  readonly onlyBoilerplate: readonly number[];
  readonly evalRows: number;
  readonly trainRows: number;
}

export interface LeakRules {
  /** Words of an n-gram. */
  readonly n: number;
  /** Least overlap of a leak. */
  readonly minOverlap: number;
}

/** Rows of both sets, and the share of them, from which on an n-gram is boilerplate. */
const COMMON_ROWS = 3;
const COMMON_SHARE = 0.01;
/** The same for training rows alone, so that a single evaluation row is judged right. */
const VERY_COMMON_ROWS = 10;
const VERY_COMMON_SHARE = 0.1;
/** Training rows after which no more of an n-gram are noted that many evaluation rows have. */
const MOST_NOTED = 10_000;
/** Passages that a report names. */
const PASSAGES = 20;

/** Finds evaluation rows in training rows: first all of the ones, then the others, one by one. */
export class LeakFinder {
  readonly #reader = new WordReader();
  readonly #tokens = new Tokens();
  readonly #set: ShingleSet;
  readonly #table = new NgramTable();
  /** Evaluation rows by n-gram. */
  readonly #evalRowsOf = new Postings();
  /** Evaluation rows by the hash of their whole text. */
  readonly #wholeTable = new NgramTable();
  readonly #wholeRowsOf = new Postings();
  readonly #evalRows = new SeenRows();
  readonly #evalTexts: string[] = [];
  /** N-grams of an evaluation row that differ. */
  readonly #evalSizes = new IntList();
  /** Training rows by n-gram. */
  #trainCounts = new Int32Array(0);
  #numTrain = 0;

  // Training rows that have something in common with an evaluation row.
  readonly #hitRows = new SeenRows();
  readonly #hitIndex = new IntList();
  /** 1 + the whole text that it is; 0: none. */
  readonly #hitWhole = new IntList();
  readonly #hitEnd = new IntList();
  readonly #hits = new IntList();

  constructor(private readonly rules: LeakRules) {
    this.#set = new ShingleSet(rules.n);
  }

  addEval(item: DataRow, text: string): void {
    const row = this.#evalRows.add(item);
    this.#evalTexts.push(text);
    this.#read(text);
    const { hashes, seconds, size } = this.#set;
    this.#evalSizes.push(size);
    for (let i = 0; i < size; i++)
      this.#evalRowsOf.add(this.#table.add(hashes[i]!, seconds[i]!), row);
    if (size === 0) return;
    const [first, second] = this.#whole();
    this.#wholeRowsOf.add(this.#wholeTable.add(first, second), row);
  }

  addTrain(item: DataRow, text: string): void {
    const index = this.#numTrain++;
    this.#trainCounts = roomFor(this.#trainCounts, this.#table.length);
    this.#read(text);
    const { hashes, seconds, size } = this.#set;
    const before = this.#hits.length;
    for (let i = 0; i < size; i++) {
      const ngram = this.#table.find(hashes[i]!, seconds[i]!);
      if (ngram < 0) continue;
      const count = ++this.#trainCounts[ngram]!;
      if (count > MOST_NOTED && this.#evalRowsOf.countOf(ngram) >= COMMON_ROWS) continue;
      this.#hits.push(ngram);
    }
    const [first, second] = this.#whole();
    const whole = size === 0 ? -1 : this.#wholeTable.find(first, second);
    if (this.#hits.length === before && whole < 0) return;
    this.#hitRows.add(item);
    this.#hitIndex.push(index);
    this.#hitWhole.push(whole + 1);
    this.#hitEnd.push(this.#hits.length);
  }

  report(): LeakReport {
    const isBoilerplate = this.#boilerplate();
    const sizes = this.#sizesWithout(isBoilerplate);
    const found = new Map<number, MostAlike>();
    const shared = new Int32Array(this.#evalRows.length);
    let begin = 0;
    for (let hit = 0; hit < this.#hitIndex.length; hit++) {
      const touched = new Set<number>();
      for (; begin < this.#hitEnd.values[hit]!; begin++) {
        const ngram = this.#hits.values[begin]!;
        if (isBoilerplate[ngram] === 1) continue;
        this.#evalRowsOf.each(ngram, (row) => {
          if (shared[row]!++ === 0) touched.add(row);
        });
      }
      const whole = new Set<number>();
      if (this.#hitWhole.values[hit] !== 0)
        this.#wholeRowsOf.each(this.#hitWhole.values[hit]! - 1, (row) => void whole.add(row));
      for (const row of new Set([...touched, ...whole])) {
        const overlap = whole.has(row) ? 1 : shared[row]! / sizes[row]!;
        shared[row] = 0;
        if (overlap < this.rules.minOverlap) continue;
        const most = found.get(row) ?? new MostAlike();
        found.set(row, most);
        most.add(hit, overlap);
      }
    }
    return {
      leaks: [...found].sort(([a], [b]) => a - b).flatMap(([row, most]) => this.#named(row, most)),
      boilerplate: this.#passages(isBoilerplate),
      onlyBoilerplate: Array.from(sizes.keys()).filter(
        (row) => sizes[row] === 0 && this.#evalSizes.values[row]! > 0,
      ),
      evalRows: this.#evalRows.length,
      trainRows: this.#numTrain,
    };
  }

  #named(row: number, most: MostAlike): Leak[] {
    return most.first().map(({ hit, overlap }) => ({
      evalIndex: row,
      trainIndex: this.#hitIndex.values[hit]!,
      overlap,
      trainRows: most.count,
      evalOrigin: this.#evalRows.originOf(row),
      trainOrigin: this.#hitRows.originOf(hit),
    }));
  }

  #read(text: string): void {
    this.#reader.read(text, this.#tokens);
    this.#set.fill(this.#tokens);
  }

  /** 64 bits of all words in their order. */
  #whole(): readonly [number, number] {
    const { first, second, length } = this.#tokens;
    let a = length;
    let b = ~length;
    for (let i = 0; i < length; i++) {
      a = mix(a ^ first[i]!) + i;
      b = mix(b ^ second[i]!) - i;
    }
    return [mix(a), mix(b)];
  }

  #boilerplate(): Uint8Array {
    const most = (rows: number, share: number, of: number) => Math.max(rows, share * of);
    const evalLimit = most(COMMON_ROWS, COMMON_SHARE, this.#evalRows.length);
    // More than MOST_NOTED are not noted, so that many are boilerplate however large the set.
    const trainLimit = Math.min(most(COMMON_ROWS, COMMON_SHARE, this.#numTrain), MOST_NOTED);
    const anywhere = most(VERY_COMMON_ROWS, VERY_COMMON_SHARE, this.#numTrain);
    return Uint8Array.from({ length: this.#table.length }, (_, ngram) => {
      const inTrain = this.#trainCounts[ngram] ?? 0;
      const isCommon = this.#evalRowsOf.countOf(ngram) >= evalLimit && inTrain >= trainLimit;
      return isCommon || inTrain >= anywhere ? 1 : 0;
    });
  }

  /** N-grams of each evaluation row that are no boilerplate. */
  #sizesWithout(isBoilerplate: Uint8Array): Int32Array {
    const sizes = this.#evalSizes.values.slice(0, this.#evalRows.length);
    for (const [ngram, is] of isBoilerplate.entries())
      if (is === 1)
        this.#evalRowsOf.each(ngram, (row) => {
          sizes[row]!--;
        });
    return sizes;
  }

  /** N-grams of boilerplate that overlap are one passage. */
  #passages(isBoilerplate: Uint8Array): Boilerplate[] {
    if (!isBoilerplate.includes(1)) return [];
    const found = new Map<string, { text: string; evalRows: number; trainRows: number }>();
    for (const text of this.#evalTexts)
      for (const passage of this.#passagesOf(text, isBoilerplate)) {
        const known = found.get(passage.text);
        if (known) known.evalRows++;
        else found.set(passage.text, passage);
      }
    return [...found.values()].sort((a, b) => b.evalRows - a.evalRows).slice(0, PASSAGES);
  }

  #passagesOf(text: string, isBoilerplate: Uint8Array) {
    const words = this.#reader.wordsOf(text);
    const { n } = this.rules;
    const found = new Map<string, { text: string; evalRows: number; trainRows: number }>();
    let start = -1;
    let trainRows = 0;
    const windows = Math.max(1, words.length - n + 1);
    for (let i = 0; i <= windows; i++) {
      const ngram = i < windows ? this.#ngramOf(words.slice(i, i + n)) : -1;
      if (ngram >= 0 && isBoilerplate[ngram] === 1) {
        if (start < 0) start = i;
        trainRows = Math.max(trainRows, this.#trainCounts[ngram]!);
      } else if (start >= 0) {
        const passage = words.slice(start, i + n - 1).join(' ');
        found.set(passage, { text: passage, evalRows: 1, trainRows });
        start = -1;
        trainRows = 0;
      }
    }
    return found.values();
  }

  #ngramOf(words: readonly string[]): number {
    this.#read(words.join(' '));
    return this.#table.find(this.#set.hashes[0]!, this.#set.seconds[0]!);
  }
}
