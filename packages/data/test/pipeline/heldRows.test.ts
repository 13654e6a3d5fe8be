import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { DataRow } from '../../src/contract/dataRow.js';
import { holdRows } from '../../src/pipeline/heldRows.js';

async function* rows(): AsyncGenerator<DataRow> {
  yield { row: { a: 1 }, origin: { file: 'a.jsonl', row: 0 } };
}

test('a place for held rows that cannot be written is named, and is not the output', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'attune-held-'));
  try {
    const file = join(folder, 'file');
    await writeFile(file, '');
    await expect(holdRows(rows(), file)).rejects.toThrow(
      /DATA_HELD_ROWS: rows cannot be held in .*file: EEXIST[\s\S]*TMPDIR/,
    );
    await using held = await holdRows(rows(), join(folder, 'new'));
    expect(held.length).toBe(1);
  } finally {
    await rm(folder, { recursive: true });
  }
});
