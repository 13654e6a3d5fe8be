import { open } from 'node:fs/promises';
import { AttuneError, type DatasetReader } from '@attune/core';

/** Tab-separated text: the first line names the columns, each other one is a row of texts. */
export const tsvReader: DatasetReader = {
  name: 'acme-tsv',
  extensions: ['.tsv'],
  async *read(file) {
    const handle = await open(file);
    try {
      let names: string[] | null = null;
      let line = 0;
      for await (const text of handle.readLines({ autoClose: false })) {
        line++;
        const cells = text.split('\t');
        names ??= cells;
        if (cells.length !== names.length)
          throw new AttuneError(
            'ACME_TSV',
            `${file}:${line} has ${cells.length} cells, and ${names.length} columns are named.`,
            { remedy: 'Put one tab between two cells; leave no line empty.' },
          );
        if (line === 1) continue;
        const row = Object.fromEntries(names.map((name, i) => [name, cells[i]!]));
        yield { row, place: `:${line}` };
      }
      if (line < 2)
        throw new AttuneError('DATASET_EMPTY', `${file} has no rows.`, {
          remedy: 'Name the columns in the first line, and give rows below.',
        });
    } finally {
      await handle.close();
    }
  },
};
