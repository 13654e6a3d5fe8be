import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoTokenizer, type LanguageModel, type Tokenizer } from '@attune/core';
import type { TextTokenizer } from '@attune/core/text';
import type { EncodedRow, RowRules } from '@attune/core/training';

export const fixtures = join(import.meta.dirname, '../../../parity/fixtures');

export const template = (name: string): string =>
  readFileSync(join(fixtures, `../chat_templates/${name}.jinja`), 'utf8');

export const loadTokenizer = (name: string): Promise<Tokenizer> =>
  AutoTokenizer.fromPretrained(join(fixtures, 'tokenizers', name));

/** Tokens of two characters begin here, behind Unicode. */
const MERGED = 0x110000;

/**
 * One token for each character, 1 (BOS) in front; "$" is the EOS; chats are <role>content$ per
 * turn; ~ and the character after it are one token.
 */
export const letters: TextTokenizer = {
  eosToken: '$',
  eosTokenId: 36,
  bosTokenId: 1,
  encode: (text, { addSpecialTokens = true } = {}) => [
    ...(addSpecialTokens ? [1] : []),
    ...(text.match(/~.|./gsu) ?? []).map((piece) =>
      piece.length === 2 && piece[0] === '~' ? MERGED + piece.charCodeAt(1) : piece.codePointAt(0)!,
    ),
  ],
  decode: (ids) =>
    Array.from(ids, (id) =>
      id === 1
        ? '^'
        : id > MERGED
          ? `~${String.fromCharCode(id - MERGED)}`
          : String.fromCodePoint(id),
    ).join(''),
  applyChatTemplate: (messages, { addGenerationPrompt }) =>
    messages.map((m) => `<${m.role[0]}>${m.content}$`).join('') +
    (addGenerationPrompt ? '<a>' : ''),
};

/** A model as rows ask for one: the size of its embedding. */
export const embeddingOf = (vocabSize: number): LanguageModel =>
  ({ config: { vocabSize, eosTokenId: [36] } }) as unknown as LanguageModel;

/** A row by its rules. */
export const encode = <Example>(
  rules: RowRules<Example>,
  row: unknown,
  tokenizer: TextTokenizer | null = letters,
  vocabSize = 0x120000,
): EncodedRow<Example> =>
  rules.encode!(row, { model: embeddingOf(vocabSize), tokenizer, origin: 'f.jsonl:3' });

/** A sequence as text: labelled characters as they are, the others as dots. */
export const shown = ({
  inputIds,
  labels,
}: {
  readonly inputIds: ArrayLike<number>;
  readonly labels: ArrayLike<number>;
}): string =>
  Array.from(inputIds, (id, i) => (labels[i] === -100 ? '.' : letters.decode!([id]))).join('');
