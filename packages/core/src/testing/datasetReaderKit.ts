import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { Row } from '../dataset/dataset.js';
import type { DatasetReader, PlacedRow } from '../dataset/datasetReader.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { type KitCheck, kitOf } from './kit.js';

const kitShape = {
  /** A file of the format with three rows or more. */
  content: z.union([z.string(), z.instanceof(Uint8Array)], 'expected text or bytes'),
  /** Its rows, in their order. */
  rows: z.custom<readonly Row[]>(Array.isArray, 'expected an array of rows'),
};
const kitOptions = z.strictObject(kitShape);

/** Options of the kit for dataset readers. */
export type DatasetReaderKitOptions = OptionsInput<typeof kitShape>;

/**
 * What every dataset reader must do, as checks for any test framework:
 *
 *     for (const { name, run } of datasetReaderKit(reader, { content, rows })) test(name, run);
 *
 * It gives the rows in their order, each with a place of its own; again from the beginning for each
 * pass; it may be left before the end. A file that is missing, empty or torn is an error that names
 * it, never a row that is none.
 */
export function datasetReaderKit(
  reader: DatasetReader,
  options: DatasetReaderKitOptions,
): KitCheck[] {
  const { content, rows } = parseOptions(kitOptions, options, { where: 'datasetReaderKit' });
  const subject = `dataset reader "${reader.name}"`;
  const { check: plainCheck, fail, rejected } = kitOf(subject);
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  const end = reader.extensions?.[0] ?? '';
  const check = (name: string, body: (file: string) => Promise<void>) =>
    plainCheck(name, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'attune-kit-'));
      try {
        await body(join(folder, `rows${end}`));
      } finally {
        await rm(folder, { recursive: true });
      }
    });
  const read = async (file: string): Promise<PlacedRow[]> => {
    const found: PlacedRow[] = [];
    for await (const placed of reader.read(file)) found.push(placed);
    return found;
  };
  const same = (found: readonly PlacedRow[], what: string) => {
    const at = rows.findIndex((row, i) => !isDeepStrictEqual(found[i]?.row, row));
    if (at !== -1 || found.length !== rows.length)
      fail(
        `${what}, ${found.length} rows are read of ${rows.length}${at === -1 ? '' : `; row ${at} is ${JSON.stringify(found[at]?.row)}, expected ${JSON.stringify(rows[at])}`}`,
        'Give each row once, as a plain object, in the order of the file.',
      );
  };
  const namesFile = (error: unknown, file: string, what: string) => {
    if (!String((error as Error)?.message).includes(file))
      fail(
        `the error of ${what} does not name the file: ${String((error as Error)?.message)}`,
        'Put the path into the message.',
      );
  };

  return [
    check('gives the rows in their order, each with a place', async (file) => {
      await writeFile(file, bytes);
      const found = await read(file);
      same(found, 'of a whole file');
      if (new Set(found.map(({ place }) => place)).size !== rows.length)
        fail(
          'two rows have one place',
          'Give each row a place of its own: ":12" for a line, "[3]" for an item.',
        );
    }),
    check('begins again for each pass, and may be left before the end', async (file) => {
      await writeFile(file, bytes);
      for await (const { row } of reader.read(file)) {
        if (!isDeepStrictEqual(row, rows[0]))
          fail('the first row is another one', 'Give the rows in the order of the file.');
        break;
      }
      const passes = await Promise.all([read(file), read(file)]);
      for (const pass of passes) same(pass, 'in two passes at once');
      same(await read(file), 'in a later pass');
    }),
    check('a missing file is an error that names it', async (file) => {
      const what = 'a missing file';
      namesFile(
        await rejected(what, () => read(file), 'Let the error of the open pass.'),
        file,
        what,
      );
    }),
    check('an empty file is an error that names it', async (file) => {
      await writeFile(file, '');
      const remedy = 'Throw DATASET_EMPTY where a file has no rows.';
      namesFile(await rejected('an empty file', () => read(file), remedy), file, 'an empty file');
    }),
    check('of a torn file come whole rows, or an error that names it', async (file) => {
      const step = Math.max(1, Math.floor(bytes.length / 50));
      for (let cut = 1; cut < bytes.length; cut += step) {
        await writeFile(file, bytes.subarray(0, cut));
        const found: Row[] = [];
        try {
          for await (const { row } of reader.read(file)) found.push(row);
        } catch (error) {
          namesFile(error, file, `a file cut after ${cut} bytes`);
        }
        // The last row of a format without an end mark may be cut where it is still one.
        const whole = found.slice(0, -1);
        const at = whole.findIndex((row, i) => !isDeepStrictEqual(row, rows[i]));
        if (at !== -1)
          fail(
            `of a file cut after ${cut} bytes, row ${at} is ${JSON.stringify(whole[at])}, which stands nowhere`,
            'Throw where a row is not whole.',
          );
      }
    }),
  ];
}
