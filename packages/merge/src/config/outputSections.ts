import { briefly, isPlainObject, nearest } from '@attune/core/util';
import type { ConfigPath } from '../problems.js';
import type { MergeConfig, ModelReference, TokenizerConfig, TokenSource } from './mergeConfig.js';
import {
  asInteger,
  found,
  readSection,
  readText,
  type Section,
  type SectionReader,
  type SectionShape,
} from './section.js';

/** What reads sections, and models in them. */
export interface OutputReader extends SectionReader {
  reference(section: Section, name: string): ModelReference | null;
}

const DTYPES = ['float32', 'bfloat16', 'float16'] as const;
const SHORT: Readonly<Record<string, string>> = {
  bf16: 'bfloat16',
  fp16: 'float16',
  half: 'float16',
  f16: 'float16',
  fp32: 'float32',
  f32: 'float32',
  float: 'float32',
};

/** `dtype` or `out_dtype`, also as torch writes it: torch.bfloat16. */
export function readDtype(
  section: Section,
  name: 'dtype' | 'outDtype',
  reader: SectionReader,
): MergeConfig['dtype'] {
  const text = readText(section, name, reader);
  if (text === null) return null;
  const plain = text.replace(/^torch\./, '');
  const dtype = DTYPES.find((candidate) => candidate === plain);
  if (dtype !== undefined) return dtype;
  const short = plain.toLowerCase();
  const near = Object.hasOwn(SHORT, short) ? SHORT[short] : nearest(plain, DTYPES);
  const isKnown = plain === 'int64' || plain === 'float64';
  reader.problems.add({
    path: section.at(name),
    message: `${reader.spell(name)} is ${briefly(text)}, expected ${DTYPES.join(', ')}.${near === undefined || isKnown ? '' : ` Did you mean "${near}"?`}`,
    remedy: `Give one of ${DTYPES.join(', ')}.`,
  });
  return null;
}

const TOKENIZER: SectionShape = {
  what: 'the tokenizer',
  keys: ['source', 'tokens', 'padToMultipleOf'],
  synonyms: { tokenizersource: 'source' },
};
const TOKEN: SectionShape = { what: 'a token', keys: ['source', 'force'] };
const TOKEN_SOURCE: SectionShape = {
  what: 'the source of a token',
  keys: ['kind', 'model', 'tokenId', 'token'],
};

/** `tokenizer` or `tokenizer_source`; null: neither, or it is wrong. */
export function readTokenizer(config: Section, reader: OutputReader): TokenizerConfig | null {
  const { problems, spell } = reader;
  if (config.has('tokenizer') && config.has('tokenizerSource')) {
    problems.add({
      path: config.at('tokenizerSource'),
      message: `the config has tokenizer and ${spell('tokenizerSource')}, expected one of them.`,
      remedy: 'Write the source into tokenizer: { source: ... }.',
    });
    return null;
  }
  if (config.has('tokenizerSource')) {
    const source = readSource(config, 'tokenizerSource', reader);
    return source && { source, tokens: new Map(), padToMultipleOf: null };
  }
  if (!config.has('tokenizer')) return null;
  const section = readSection(config.get('tokenizer'), config.at('tokenizer'), TOKENIZER, reader);
  if (!section) return null;
  const source = section.has('source') ? readSource(section, 'source', reader) : 'union';
  const padToMultipleOf = readMultiple(section, reader);
  const tokens = readTokens(section, reader);
  return source && { source, tokens, padToMultipleOf };
}

function readSource(section: Section, name: string, reader: OutputReader) {
  const value = section.get(name);
  return value === 'union' || value === 'base' ? value : reader.reference(section, name);
}

function readMultiple(section: Section, { problems, spell }: OutputReader): number | null {
  if (!section.has('padToMultipleOf')) return null;
  const multiple = asInteger(section.get('padToMultipleOf'));
  if (multiple !== null && multiple >= 1) return multiple;
  problems.add({
    path: section.at('padToMultipleOf'),
    message: `${spell('padToMultipleOf')} is ${found(section.get('padToMultipleOf'))}, expected a whole number of at least 1.`,
    remedy: 'Give 64, or leave it out.',
  });
  return null;
}

function readTokens(section: Section, reader: OutputReader): TokenizerConfig['tokens'] {
  const tokens = section.get('tokens') ?? {};
  const path = section.at('tokens');
  if (!isPlainObject(tokens)) {
    reader.problems.add({
      path,
      message: `tokens is ${found(tokens)}, expected a mapping from tokens to sources.`,
      remedy: 'Write tokens: { "<pad>": { source: MODEL } }.',
    });
    return new Map();
  }
  return new Map(
    Object.entries(tokens).flatMap(([token, value]) => {
      const read = readToken(value, [...path, token], reader);
      return read ? [[token, read] as const] : [];
    }),
  );
}

function readToken(value: unknown, path: ConfigPath, reader: OutputReader): TokenSource | null {
  const section = readSection(value, path, TOKEN, reader);
  if (!section) return null;
  const force = section.get('force') ?? false;
  if (typeof force !== 'boolean') {
    reader.problems.add({
      path: section.at('force'),
      message: `force is ${found(force)}, expected true or false.`,
      remedy: 'Write true or false.',
    });
    return null;
  }
  if (!section.has('source')) return { source: null, force };
  const source = readTokenSource(section, reader);
  return source && { source, force };
}

function readTokenSource(section: Section, reader: OutputReader): TokenSource['source'] {
  const value = section.get('source');
  if (!isPlainObject(value) || !('kind' in value)) {
    const model = reader.reference(section, 'source');
    return model && { kind: 'model', model };
  }
  const parts = readSection(value, section.at('source'), TOKEN_SOURCE, reader);
  if (!parts) return null;
  const wrong = (path: ConfigPath, message: string, remedy: string): null => {
    reader.problems.add({ path, message: `${message}.`, remedy });
    return null;
  };
  const kind = parts.get('kind');
  const [id, token] = [parts.get('tokenId') ?? null, readText(parts, 'token', reader)];
  const tokenId = asInteger(id);
  if (kind === 'zero') {
    if (!parts.has('model') && id === null && token === null) return { kind };
    return wrong(parts.path, 'a source of kind zero has a model or a token', 'Leave kind alone.');
  }
  if (kind !== 'model_token' && kind !== 'modelToken')
    return wrong(
      parts.at('kind'),
      `kind is ${found(kind)}, expected "model_token" or "zero"`,
      'Give one of the two, or the name of a model as source.',
    );
  const model = reader.reference(parts, 'model');
  if ((id === null) === (token === null))
    return wrong(
      parts.path,
      `a source of kind ${kind} has ${id === null ? 'neither' : 'both'} ${reader.spell('tokenId')} ${id === null ? 'nor' : 'and'} token`,
      'Give one of the two.',
    );
  if (id !== null && (tokenId === null || tokenId < 0))
    return wrong(
      parts.at('tokenId'),
      `${reader.spell('tokenId')} is ${found(id)}, expected a whole number of at least 0`,
      'Give the id of a token of that model.',
    );
  return model && { kind: 'modelToken', model, tokenId, token };
}
