/**
 * Writes everything the demo ships except the weights: data sets, tokenizer and model config.
 *
 *   npx tsx examples/demo/generate.ts                  writes data/ and base/
 *   npx tsx examples/demo/generate.ts --corpus FILE N  writes N pretraining documents as JSON lines
 *
 * The same seeds give the same bytes; README.md says what the data is and is not.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BASE_CONFIG, GENERATION_CONFIG, MAX_LENGTH, VOCAB_SIZE } from './baseConfig.js';
import { corpus } from './corpus.js';
import { preferenceRows, reviewRows } from './datasets.js';
import { assertDisjoint } from './disjoint.js';
import { buildTokenizer, tokenizerConfig } from './tokenizer.js';

export const CORPUS_SEED = 20240601;
const SEEDS = { sftTrain: 1, sftEval: 2, preferencesTrain: 3, preferencesEval: 4 };
const TOKENIZER_DOCUMENTS = 12_000;

/** The first `count` documents of the pretraining corpus. */
export function corpusDocuments(count: number): string[] {
  const stream = corpus(CORPUS_SEED);
  return Array.from({ length: count }, () => stream.next().value as string);
}

function writeLines(file: URL | string, rows: readonly object[]): void {
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
}

function writeJson(file: URL, value: object): void {
  writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);
}

function writeAll(): void {
  const data = new URL('./data/', import.meta.url);
  const base = new URL('./base/', import.meta.url);
  mkdirSync(data, { recursive: true });
  mkdirSync(base, { recursive: true });

  const sft = {
    train: reviewRows(SEEDS.sftTrain, 'train', 2000),
    eval: reviewRows(SEEDS.sftEval, 'eval', 400),
  };
  const preferences = {
    train: preferenceRows(SEEDS.preferencesTrain, 'train', 500),
    eval: preferenceRows(SEEDS.preferencesEval, 'eval', 100),
  };
  const documents = corpusDocuments(TOKENIZER_DOCUMENTS);
  assertDisjoint(
    documents,
    [...sft.train, ...preferences.train],
    [...sft.eval, ...preferences.eval],
  );

  writeLines(new URL('sft.train.jsonl', data), sft.train);
  writeLines(new URL('sft.eval.jsonl', data), sft.eval);
  writeLines(new URL('preferences.train.jsonl', data), preferences.train);
  writeLines(new URL('preferences.eval.jsonl', data), preferences.eval);

  const reviews = sft.train.map((row) => row.prompt + row.completion);
  writeJson(
    new URL('tokenizer.json', base),
    buildTokenizer([...documents, ...reviews], VOCAB_SIZE),
  );
  writeJson(new URL('tokenizer_config.json', base), tokenizerConfig(MAX_LENGTH));
  writeJson(new URL('config.json', base), BASE_CONFIG);
  writeJson(new URL('generation_config.json', base), GENERATION_CONFIG);
}

function main(args: readonly string[]): void {
  const [flag, file, count] = args;
  if (flag === undefined) {
    writeAll();
    return;
  }
  const numDocuments = Number(count);
  if (flag !== '--corpus' || file === undefined || !(numDocuments > 0)) {
    throw new Error(
      `generate: cannot read "${args.join(' ')}"; use: generate.ts [--corpus FILE N]`,
    );
  }
  writeLines(
    file,
    corpusDocuments(numDocuments).map((text) => ({ text })),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main(process.argv.slice(2));
