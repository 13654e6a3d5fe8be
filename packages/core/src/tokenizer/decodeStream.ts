/** What an incremental decoder needs of a tokenizer. */
export interface Decodes {
  decode(ids: readonly number[], options: { readonly skipSpecialTokens: boolean }): string;
}

/** The replacement character: what the bytes of an unfinished character decode to. */
const unfinished = '\ufffd';

/**
 * Text of tokens as they come. A character whose bytes are spread over several tokens appears with
 * the last of them; the pieces joined are `decode` of all tokens.
 *
 * A token's text depends on its neighbours (spaces, bytes), so each push decodes a window that
 * begins with the tokens of the last piece and returns what is new, as Rust tokenizers'
 * DecodeStream.
 */
export class DecodeStream {
  #window: number[] = [];
  /** Tokens of the window whose text is out. */
  #read = 0;

  constructor(
    private readonly tokenizer: Decodes,
    private readonly options: { readonly skipSpecialTokens: boolean },
  ) {}

  /**
   * The text that this token completes; often '' for bytes of a character and for special tokens.
   */
  push(token: number): string {
    this.#window.push(token);
    const text = this.#decode(this.#window);
    if (text.endsWith(unfinished)) return '';
    return this.#advance(text);
  }

  /** The rest: replacement characters for bytes that never became a character. Then starts anew. */
  end(): string {
    const rest = this.#window.length > this.#read ? this.#advance(this.#decode(this.#window)) : '';
    this.#window = [];
    this.#read = 0;
    return rest;
  }

  #advance(text: string): string {
    const before = this.#decode(this.#window.slice(0, this.#read));
    if (text.length <= before.length) return '';
    this.#window = this.#window.slice(this.#read);
    this.#read = this.#window.length;
    return text.slice(before.length);
  }

  #decode(ids: readonly number[]): string {
    return ids.length === 0 ? '' : this.tokenizer.decode(ids, this.options);
  }
}
