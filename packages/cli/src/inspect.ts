import { parseArgs } from 'node:util';
import { AttuneError, AutoTokenizer, loadDataset } from '@attune/core';
import {
  type RawConfig,
  readJsonObject,
  readText,
  resolveFolder,
  TOKENIZER_FILES,
} from '@attune/core/io';
import { inspectRows, PREFLIGHT_MAX_ROWS } from '@attune/core/text';
import { isPlainObject } from '@attune/core/util';
import type { CliOutput } from './index.js';

export const inspectHelp = `Usage: attune inspect --model DIR --data FILE [options]

Shows what supervised fine-tuning would train on, without a GPU: decoded rows with the trained tokens in
colour (or within ⟦ ⟧), the share of trained tokens, end tokens, what is cut off or left out. Exits with 1
where train() would refuse the rows.

  --model DIR               folder of the model or of its tokenizer, or a Hub id
  --data FILE               JSON Lines or a JSON array; .txt: a text on each line. May be given again
  --split SPLIT             a part of the rows, e.g. "train[:100]"
  --rows N                  rows to show, at most ${PREFLIGHT_MAX_ROWS}. Default 3
  --max-length N            tokens beyond which rows are cut off. Default 1024, at most what the model allows
  --assistant-only-loss     of conversations, train only what the assistant says
  --completion-only-loss    train completions only; default where a row has one
  --no-completion-only-loss train prompts too
  --chat-template FILE      a Jinja template in place of the model's
  --json                    print the report as JSON
`;

const options = {
  model: { type: 'string' },
  data: { type: 'string', multiple: true },
  split: { type: 'string' },
  rows: { type: 'string' },
  'max-length': { type: 'string' },
  'assistant-only-loss': { type: 'boolean' },
  'completion-only-loss': { type: 'boolean' },
  'chat-template': { type: 'string' },
  json: { type: 'boolean' },
} as const;

/** SFTTrainer's default. */
const MAX_LENGTH = 1024;

/**
 * `attune inspect`.
 *
 * @returns 0, or 1 where `train()` would refuse the rows
 * @throws CLI_ARGUMENTS, and what loading the tokenizer, the rows and tokenising them throw
 */
export async function inspect(args: readonly string[], output: CliOutput): Promise<number> {
  const values = parse(args);
  const { model, data } = values;
  if (model === undefined || data === undefined)
    throw wrong(`--${model === undefined ? 'model' : 'data'} is missing.`);
  const rows = whole('rows', values.rows, 0, PREFLIGHT_MAX_ROWS) ?? 3;
  const asked = whole('max-length', values['max-length'], 2);
  const folder = await resolveFolder(model, TOKENIZER_FILES, {});
  const optional = async (file: string): Promise<RawConfig> =>
    (await readJsonObject(`${folder}/${file}`, { optional: true })) ?? {};
  const [config, generation] = [
    await optional('config.json'),
    await optional('generation_config.json'),
  ];
  // Sizes of a model with other towers beside the text.
  const sizes = isPlainObject(config.text_config) ? { ...config.text_config, ...config } : config;
  const tokenizer = await AutoTokenizer.fromPretrained(folder);
  const templateFile = values['chat-template'];
  if (templateFile !== undefined) tokenizer.chatTemplate = await readTemplate(templateFile);
  const allowed = numbersOf(sizes.max_position_embeddings)[0] ?? Number.POSITIVE_INFINITY;
  if (asked !== undefined && asked > allowed)
    throw wrong(`--max-length is ${asked}, but the model has positions for ${allowed} tokens.`);
  const dataset = await loadDataset(data.every((file) => file.endsWith('.txt')) ? 'text' : 'json', {
    dataFiles: data,
    ...(values.split === undefined ? {} : { split: values.split }),
  });
  const report = inspectRows(dataset, {
    tokenizer,
    rows,
    maxLength: asked ?? Math.min(MAX_LENGTH, allowed),
    vocabSize: numbersOf(sizes.vocab_size)[0] ?? tokenizer.vocabSize,
    eosTokenIds: numbersOf(generation.eos_token_id ?? sizes.eos_token_id),
    completionOnlyLoss: values['completion-only-loss'] ?? null,
    assistantOnlyLoss: values['assistant-only-loss'] ?? false,
  });
  output.out(values.json ? JSON.stringify(report, null, 2) : String(report));
  return report.refusal() ? 1 : 0;
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options, allowNegative: true, strict: true }).values;
  } catch (cause) {
    throw wrong((cause as Error).message);
  }
}

const wrong = (message: string): AttuneError =>
  new AttuneError('CLI_ARGUMENTS', message, { remedy: 'attune inspect --help lists the options.' });

function whole(
  name: string,
  text: string | undefined,
  min: number,
  max = Number.MAX_SAFE_INTEGER,
): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw wrong(
    `--${name} is "${text}", expected a whole number of at least ${min}${max < Number.MAX_SAFE_INTEGER ? ` and at most ${max}` : ''}.`,
  );
}

const numbersOf = (value: unknown): number[] =>
  [value].flat().filter((v): v is number => typeof v === 'number');

const readTemplate = (file: string): Promise<string> =>
  readText(file, {
    code: 'CLI_ARGUMENTS',
    label: '--chat-template: ',
    remedy: 'Give a file with a Jinja template.',
  });
