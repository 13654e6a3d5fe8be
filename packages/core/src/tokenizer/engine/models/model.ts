import type { Vocabulary } from './vocabulary.js';

/** Receives one token: its id, and [begin, end) of the word that it stands for, in UTF-16 units. */
export type Emit = (id: number, begin: number, end: number) => void;

/** Turns a word, which is not empty, into tokens. */
export interface Model {
  readonly vocabulary: Vocabulary;
  /**
   * @throws AttuneError TOKENIZER_UNKNOWN where a word is unknown and the model has no token for
   *   that
   */
  tokenize(word: string, emit: Emit): void;
}
