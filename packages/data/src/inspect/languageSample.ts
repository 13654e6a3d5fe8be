import { detectLanguage } from '../quality/language/detectLanguage.js';

/** Texts whose language is found out at most, about. */
const MOST = 4096;

/**
 * The languages of texts at equal distances: each at first, each second one when there are many,
 * and so on, so that a long file does not take long.
 */
export class LanguageSample {
  #texts = 0;
  #step = 1;
  #found: string[] = [];

  add(text: string): void {
    if (this.#texts++ % this.#step !== 0) return;
    this.#found.push(detectLanguage(text).language);
    if (this.#found.length < MOST) return;
    this.#found = this.#found.filter((_, i) => i % 2 === 0);
    this.#step *= 2;
  }

  /** Texts of each language, most first; "und": it is not known. */
  summary(): Record<string, number> {
    const counts = new Map<string, number>();
    for (const language of this.#found) counts.set(language, (counts.get(language) ?? 0) + 1);
    return Object.fromEntries([...counts].sort((a, b) => b[1] - a[1]));
  }
}
