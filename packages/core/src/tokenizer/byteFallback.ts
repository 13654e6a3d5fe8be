import type { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';

/**
 * Gives a Unigram model with `byte_fallback` the bytes of what its vocabulary lacks, as Rust tokenizers
 * does; @huggingface/tokenizers does so for BPE alone and would say unk.
 *
 * @param files tokenizer.json
 */
export function addByteFallback(
  tokenizer: HfTokenizer,
  files: Readonly<Record<string, unknown>>,
): void {
  const { model } = tokenizer;
  const read = files.model as Readonly<Record<string, unknown>> | undefined;
  if (!model || read?.type !== 'Unigram' || read.byte_fallback !== true) return;
  const known = model.tokens_to_ids;
  const encode = model.encode.bind(model);
  const utf8 = new TextEncoder();
  model.encode = (texts) =>
    // The model's answer leaves unknown characters single; Rust takes a run of them at once, with the same bytes.
    encode(texts).flatMap((piece) => {
      if (known.has(piece)) return [piece];
      const bytes = Array.from(utf8.encode(piece), byteToken);
      return bytes.every((token) => known.has(token)) ? bytes : [piece];
    });
}

const byteToken = (byte: number): string =>
  `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

/**
 * Lets a decoder of bytes keep a byte order mark (U+FEFF), as Rust tokenizers does: @huggingface/tokenizers
 * does so for byte-level BPE alone.
 */
export function keepByteOrderMarks(decoder: unknown): void {
  const part = decoder as { text_decoder?: object; decoders?: unknown[] } | null;
  if (part?.text_decoder) part.text_decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  for (const inner of part?.decoders ?? []) keepByteOrderMarks(inner);
}
