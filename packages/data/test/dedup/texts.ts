import { Rng } from '@attune/core/util';

/** So many words of a vocabulary of 5,000, the same for the same seed. */
export function words(count: number, seed: number): string {
  const rng = new Rng(seed, 1);
  return Array.from({ length: count }, () => word(rng.next() % 5000)).join(' ');
}

const SYLLABLES = ['ka', 'to', 'mi', 'ren', 'su', 'lo', 'vi', 'dar', 'ne', 'po'];

/** A word for a number. */
export const word = (number: number): string =>
  [...String(number)].map((digit) => SYLLABLES[Number(digit)]).join('');

/** A text with so many of its words replaced, at places spread over it by a seed. */
export function edited(text: string, edits: number, seed: number): string {
  const rng = new Rng(seed, 2);
  const parts = text.split(' ');
  for (let i = 0; i < edits; i++)
    parts[rng.next() % parts.length] = word(5000 + (rng.next() % 5000));
  return parts.join(' ');
}

/** The set of shingles of a text, as strings. */
export function shinglesOf(text: string, size: number, unit: 'word' | 'character'): Set<string> {
  const tokens = unit === 'word' ? text.split(/\s+/).filter(Boolean) : [...text];
  const count = Math.max(1, tokens.length - size + 1);
  return new Set(Array.from({ length: count }, (_, i) => tokens.slice(i, i + size).join('\0')));
}

/** Jaccard similarity of two sets. */
export function jaccard(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  let shared = 0;
  for (const shingle of a) if (b.has(shingle)) shared++;
  return shared / (a.size + b.size - shared);
}
