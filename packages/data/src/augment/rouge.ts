/** How texts are cut into words. */
export type RougeTokenizer = 'unicode' | 'rouge_score';

/**
 * Words of a text in lower case. "rouge_score", as the Python package of that name without its
 * stemmer: runs of a to z and 0 to 9, which leaves nothing of most scripts. "unicode": runs of
 * letters, marks and digits of any script; of scripts without spaces, each character. Both give the
 * same for ASCII.
 */
export function rougeTokens(text: string, tokenizer: RougeTokenizer = 'unicode'): string[] {
  const lower = text.toLowerCase();
  return tokenizer === 'rouge_score'
    ? (lower.match(/[a-z0-9]+/g) ?? [])
    : (lower.match(UNICODE_WORD) ?? []);
}

const UNICODE_WORD =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|(?:(?![\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}])[\p{L}\p{M}\p{N}])+/gu;

/** Precision, recall and their harmonic mean. */
export interface RougeScore {
  readonly precision: number;
  readonly recall: number;
  readonly fmeasure: number;
}

/**
 * ROUGE-L: precision LCS/m, recall LCS/n, F = 2 P R / (P + R), for the longest common subsequence
 * of the words of the candidate (m) and the target (n). 0 where one has no words.
 *
 * @see Lin, "ROUGE: a package for automatic evaluation of summaries", 2004
 */
export function rougeL(
  target: string,
  candidate: string,
  tokenizer: RougeTokenizer = 'unicode',
): RougeScore {
  const ids = new Map<string, number>();
  const [one, other] = [target, candidate].map((text) => idsOf(rougeTokens(text, tokenizer), ids));
  return scoreOf(lcs(one!, other!), one!.length, other!.length);
}

function scoreOf(common: number, target: number, candidate: number): RougeScore {
  if (common === 0) return { precision: 0, recall: 0, fmeasure: 0 };
  const precision = common / candidate;
  const recall = common / target;
  return { precision, recall, fmeasure: (2 * precision * recall) / (precision + recall) };
}

function idsOf(words: readonly string[], ids: Map<string, number>): Int32Array {
  return Int32Array.from(words, (word) => {
    const known = ids.get(word);
    if (known !== undefined) return known;
    ids.set(word, ids.size);
    return ids.size - 1;
  });
}

/** Length of the longest common subsequence. */
function lcs(a: Int32Array, b: Int32Array): number {
  if (a.length < b.length) return lcs(b, a);
  const row = new Uint32Array(b.length + 1);
  for (const word of a) {
    let diagonal = 0;
    for (let j = 1; j <= b.length; j++) {
      const above = row[j]!;
      row[j] = word === b[j - 1] ? diagonal + 1 : Math.max(above, row[j - 1]!);
      diagonal = above;
    }
  }
  return row[b.length]!;
}

/** Texts that a new one must not be like. Memory: 4 bytes a word. */
export class RougePool {
  readonly #ids = new Map<string, number>();
  readonly #texts: Int32Array[] = [];
  /** How often the text that is compared has each word. */
  #counts = new Int32Array(1024);
  /** Comparisons that needed the common subsequence. */
  compared = 0;

  constructor(private readonly tokenizer: RougeTokenizer = 'unicode') {}

  get length(): number {
    return this.#texts.length;
  }

  add(text: string): void {
    this.#texts.push(idsOf(rougeTokens(text, this.tokenizer), this.#ids));
  }

  /**
   * The first text whose F with this one is above the threshold; null: there is none. F is at most
   * 2 min(m, n) / (m + n), and at most that of the words that both have in any order: most texts
   * are told apart by these, exactly.
   */
  findLike(text: string, threshold: number): { readonly index: number; readonly f: number } | null {
    const words = idsOf(rougeTokens(text, this.tokenizer), this.#ids);
    if (words.length === 0) return null;
    if (this.#counts.length < this.#ids.size) this.#counts = new Int32Array(2 * this.#ids.size);
    const counts = this.#counts;
    counts.fill(0);
    for (const word of words) counts[word]!++;
    // F of precision and recall is rounded otherwise than the bounds are.
    const least = threshold - 1e-9;
    for (const [index, other] of this.#texts.entries()) {
      const both = words.length + other.length;
      if ((2 * Math.min(words.length, other.length)) / both < least) continue;
      if ((2 * overlap(other, counts)) / both < least) continue;
      this.compared++;
      const f = scoreOf(lcs(words, other), other.length, words.length).fmeasure;
      if (f > threshold) return { index, f };
    }
    return null;
  }
}

/** Words that both have, as often as both have them. Leaves the counts as they were. */
function overlap(words: Int32Array, counts: Int32Array): number {
  let common = 0;
  for (const word of words) if (counts[word]!-- > 0) common++;
  for (const word of words) counts[word]!++;
  return common;
}
