import type { Fields } from './fields.js';
import type { Pattern } from './regex.js';
import { bytesOfLetters } from './unicode.js';

/** Turns tokens back into text: what it returns is joined. */
export type Decoder = (tokens: readonly string[]) => readonly string[];

/** @throws TOKENIZER_INVALID */
export function readDecoder(fields: Fields): Decoder {
  switch (fields.string('type')) {
    case 'Sequence': {
      const steps = fields.objects('decoders').map(readDecoder);
      return (tokens) => steps.reduce((t, step) => step(t), tokens);
    }
    case 'ByteLevel':
      return byteLevel;
    case 'ByteFallback':
      return byteFallback;
    case 'Fuse':
      return (tokens) => [tokens.join('')];
    case 'Metaspace':
      return metaspace(fields);
    case 'Replace':
      return replace(fields.pattern('pattern'), fields.string('content'));
    case 'Strip':
      return strip(fields.char('content'), fields.count('start'), fields.count('stop'));
    case 'WordPiece':
      return wordPiece(fields.string('prefix'), fields.boolean('cleanup'));
    case 'BPEDecoder': {
      const suffix = fields.string('suffix');
      return (tokens) =>
        tokens.map((token, i) => token.replaceAll(suffix, i === tokens.length - 1 ? '' : ' '));
    }
    case 'CTC':
      return ctc(fields);
    default:
      throw fields.unknown();
  }
}

const utf8 = new TextEncoder();

/** A byte order mark at the beginning is text too. */
const lossy = (bytes: readonly number[]): string =>
  new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes));

/** A token with any other letter stands for its own bytes. */
const byteLevel: Decoder = (tokens) => {
  const bytes: number[] = [];
  for (const token of tokens)
    for (const byte of bytesOfLetters(token) ?? utf8.encode(token)) bytes.push(byte);
  return [lossy(bytes)];
};

/**
 * Runs of "<0x..>" become their text; a run that is no UTF-8 becomes a replacement character for
 * each byte.
 */
const byteFallback: Decoder = (tokens) => {
  const texts: string[] = [];
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length > 0) for (const text of textsOf(bytes)) texts.push(text);
    bytes = [];
  };
  for (const token of tokens) {
    const hex = /^<0x([0-9a-fA-F]{2})>$/.exec(token);
    if (hex) bytes.push(Number.parseInt(hex[1]!, 16));
    else {
      flush();
      texts.push(token);
    }
  }
  flush();
  return texts;
};

function textsOf(bytes: readonly number[]): string[] {
  try {
    const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    return [strict.decode(Uint8Array.from(bytes))];
  } catch {
    return bytes.map(() => '\ufffd');
  }
}

function metaspace(fields: Fields): Decoder {
  const mark = fields.char('replacement');
  const scheme = fields.oneOf('prepend_scheme', ['first', 'never', 'always'], 'always');
  const never =
    scheme === 'never' || (fields.has('add_prefix_space') && !fields.boolean('add_prefix_space'));
  return (tokens) => tokens.map((token, i) => token.replaceAll(mark, i === 0 && !never ? '' : ' '));
}

function replace(pattern: Pattern, content: string): Decoder {
  return (tokens) =>
    tokens.map((token) => {
      const matches = pattern.findAll(token);
      let text = '';
      let at = 0;
      for (let i = 0; i < matches.length; i += 2) {
        text += token.slice(at, matches[i]) + content;
        at = matches[i + 1]!;
      }
      return text + token.slice(at);
    });
}

const strip =
  (char: string, start: number, stop: number): Decoder =>
  (tokens) =>
    tokens.map((token) => {
      const chars = Array.from(token);
      let begin = 0;
      while (begin < start && chars[begin] === char) begin++;
      let end = chars.length;
      while (chars.length - end < stop && end > begin && chars[end - 1] === char) end--;
      return chars.slice(begin, end).join('');
    });

const wordPiece =
  (prefix: string, cleansUp: boolean): Decoder =>
  (tokens) =>
    tokens.map((token, i) => {
      const rest = token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`;
      const text = i === 0 ? token : rest;
      return cleansUp ? cleanUp(text) : text;
    });

function ctc(fields: Fields): Decoder {
  const pad = fields.string('pad_token');
  const delimiter = fields.string('word_delimiter_token');
  const cleansUp = fields.boolean('cleanup');
  return (tokens) =>
    tokens
      .filter((token, i) => i === 0 || token !== tokens[i - 1])
      .map((token) => token.replaceAll(pad, ''))
      .map((text) => (cleansUp ? cleanUp(text).replaceAll(delimiter, ' ') : text))
      .filter((text) => text !== '');
}

/** Spaces before punctuation and in contractions, as the Rust library takes them away. */
const cleanUp = (text: string): string =>
  text
    .replaceAll(' .', '.')
    .replaceAll(' ?', '?')
    .replaceAll(' !', '!')
    .replaceAll(' ,', ',')
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m")
    .replaceAll(' do not', " don't")
    .replaceAll(" 's", "'s")
    .replaceAll(" 've", "'ve")
    .replaceAll(" 're", "'re");
