/**
 * Cuts text into the pieces inside which merges happen. Like the pattern of GPT-2, but it also cuts
 * `loadInvoice` before the capital: the parts of an identifier then keep their tokens wherever they
 * stand, which a model of one million parameters needs in order to copy names that it never saw.
 */
export const PIECES =
  ' ?\\p{Lu}?\\p{Ll}+| ?\\p{Lu}+(?!\\p{Ll})| ?\\p{L}+| ?\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+';

/**
 * GPT-2's map from bytes to printable characters: a token is then a JSON string whatever its bytes.
 * Printable bytes stand for themselves, the other 68 follow from U+0100 on.
 */
export function byteAlphabet(): string[] {
  const printable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(printable(byte) ? byte : next++),
  );
}

interface Word {
  symbols: string[];
  readonly count: number;
}

/**
 * Learns byte-level BPE merges: again and again the most frequent neighbouring pair becomes one
 * symbol. Ties go to the pair that sorts first, so the result depends on the texts alone.
 *
 * @param texts the sample to learn from
 * @param numMerges how many merges to learn; fewer come back when no pair is left
 */
export function learnMerges(texts: Iterable<string>, numMerges: number): [string, string][] {
  const words = countWords(texts);
  const merges: [string, string][] = [];
  while (merges.length < numMerges) {
    const best = mostFrequentPair(words);
    if (best === undefined) break;
    merges.push(best);
    for (const word of words) applyMerge(word, best);
  }
  return merges;
}

function countWords(texts: Iterable<string>): Word[] {
  const alphabet = byteAlphabet();
  const pattern = new RegExp(PIECES, 'gu');
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const [piece] of text.matchAll(pattern)) counts.set(piece, (counts.get(piece) ?? 0) + 1);
  }
  const encoder = new TextEncoder();
  return [...counts].map(([piece, count]) => ({
    symbols: [...encoder.encode(piece)].map((byte) => alphabet[byte] as string),
    count,
  }));
}

function mostFrequentPair(words: readonly Word[]): [string, string] | undefined {
  const counts = new Map<string, number>();
  for (const { symbols, count } of words) {
    for (let at = 0; at + 1 < symbols.length; at++) {
      // Byte symbols never contain a space, so it can part the two.
      const pair = `${symbols[at]} ${symbols[at + 1]}`;
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  let best = '';
  let most = 0;
  for (const [pair, count] of counts) {
    if (count > most || (count === most && pair < best)) {
      best = pair;
      most = count;
    }
  }
  return most === 0 ? undefined : (best.split(' ') as [string, string]);
}

function applyMerge(word: Word, [left, right]: readonly [string, string]): void {
  const { symbols } = word;
  if (symbols.length < 2 || !symbols.includes(left)) return;
  const merged: string[] = [];
  for (let at = 0; at < symbols.length; at++) {
    if (symbols[at] === left && symbols[at + 1] === right) {
      merged.push(left + right);
      at++;
    } else {
      merged.push(symbols[at] as string);
    }
  }
  word.symbols = merged;
}
