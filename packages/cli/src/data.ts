import { parseArgs } from 'node:util';
import { AttuneError, AutoTokenizer } from '@attune/core';
import { resolveFolder, TOKENIZER_FILES } from '@attune/core/io';
import { LiveLine, nearest } from '@attune/core/util';
import { inspectFile } from '@attune/data';
import { describeFile } from './describeFile.js';
import type { CliOutput } from './index.js';
import { runData, runDataHelp } from './runData.js';

export const dataHelp = `${runDataHelp}
       attune data inspect FILE [options]

Shows what is in a file of rows: JSON Lines, JSON, CSV, TSV, Parquet, Arrow or
text, compressed or not. Format, rows, places that are no row, columns, the
schema that rows have, lengths, rows with equal text, the first rows. Exits with
1 where a place is no row, or where there is none.

  --rows N          rows to show. Default 3
  --tokenizer DIR   count tokens, too: folder of a model or of its tokenizer, or
                    a Hub id
  --json            print all of it as JSON
`;

const options = {
  rows: { type: 'string' },
  tokenizer: { type: 'string' },
  json: { type: 'boolean' },
} as const;

/**
 * `attune data`.
 *
 * @returns 0, or 1 where a place of the file is no row
 * @throws CLI_ARGUMENTS, DATA_FILE, DATA_FORMAT, and what loading a tokenizer throws
 */
export async function dataCommand(args: readonly string[], output: CliOutput): Promise<number> {
  const [name, ...rest] = args;
  if (name === 'inspect') return inspectData(rest, output);
  if (args.some((arg) => /\.ya?ml$/i.test(arg))) return runData(args, output);
  const near = name === undefined ? undefined : nearest(name, ['inspect']);
  throw wrong(
    name === undefined
      ? 'data needs a command: inspect, or the YAML file of a pipeline.'
      : `there is no command "data ${name}", and it is no YAML file.${near ? ` Did you mean "data ${near}"?` : ''}`,
  );
}

async function inspectData(args: readonly string[], output: CliOutput): Promise<number> {
  const { values, positionals } = parse(args);
  const [file, ...others] = positionals;
  if (file === undefined) throw wrong('no FILE is given.');
  if (others.length > 0) throw wrong(`one file at a time; these are ${positionals.length}.`);
  const rows = Number(values.rows ?? 3);
  if (!Number.isInteger(rows) || rows < 0)
    throw wrong(`--rows is "${values.rows}", expected a whole number from 0 on.`);
  const tokenizer =
    values.tokenizer === undefined
      ? null
      : await AutoTokenizer.fromPretrained(
          await resolveFolder(values.tokenizer, TOKENIZER_FILES, {}),
        );
  const { progress } = output;
  const line = progress?.isTTY ? new LiveLine(progress, [process.stdout, process.stderr]) : null;
  try {
    const inspection = await inspectFile(file, {
      rows,
      ...(tokenizer && { countTokens: (text: string) => tokenizer.encode(text).length }),
      onProgress: (count) => line?.draw(`${count.toLocaleString('en-US')} rows`),
    });
    line?.clear();
    output.out(values.json ? toJson(inspection) : describeFile(inspection));
    return inspection.problems > 0 || inspection.rows === 0 ? 1 : 0;
  } finally {
    line?.clear();
  }
}

/** Integers beyond 2^53 as text: JSON readers would round them. */
const toJson = (value: unknown) =>
  JSON.stringify(value, (_key, item) => (typeof item === 'bigint' ? `${item}` : item), 2);

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (cause) {
    throw wrong((cause as Error).message);
  }
}

const wrong = (message: string): AttuneError =>
  new AttuneError('CLI_ARGUMENTS', message, { remedy: 'attune data --help explains it.' });
