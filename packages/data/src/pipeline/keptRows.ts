import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFolderAtomic } from '@attune/core/io';
import type { PlainJson } from '@attune/core/util';
import { type DataRow, isProblem, type RowProblem } from '../contract/dataRow.js';
import type { HeldRows } from '../contract/dataStage.js';
import { holdRows } from './heldRows.js';
import { LineFile } from './lineFile.js';
import { RowLines } from './rowLines.js';
import type { RowKeeper, RunParts, StageRunning } from './runStages.js';
import { stageKey } from './stageKey.js';
import type { LostRow } from './stageTally.js';

/** What is kept of a stage beside its rows. */
interface KeptStage {
  /** Files that rows come from, by their numbers. */
  readonly files: readonly string[];
  readonly added: Readonly<Record<string, number>>;
  readonly facts: Readonly<Record<string, PlainJson>>;
  readonly warnings: readonly string[];
}

/** A lost row on its line. */
type LostLine = [
  kind: 'dropped' | 'quarantined',
  reason: string,
  detail: string | null,
  row: string | RowProblem,
];

/**
 * Rows of costly stages, in a folder for each: `rows.jsonl`, `lost.jsonl`, `stage.json`. Which one
 * it is, the rows decide that the stage was given: they are read, and hashed, before it runs.
 */
export class KeptRows implements RowKeeper {
  /** Folders of this run. */
  readonly #used = new Set<string>();

  constructor(private readonly folder: string) {}

  async *rowsOf(running: StageRunning, parts: RunParts): AsyncGenerator<DataRow> {
    const lines = new RowLines();
    const hash = createHash('sha256');
    await using held = await holdRows(running.rows, parts.workFolder, lines, (bytes) =>
      hash.update(bytes),
    );
    hash.update(JSON.stringify(lines.files));
    const key = await stageKey(running, hash.digest('hex'), parts.seed);
    const kept = join(this.folder, key);
    this.#used.add(key);
    const before = await readStage(kept);
    if (before === null)
      await writeFolderAtomic(kept, (folder) => keep(running, held, folder, parts));
    else await restore(before, kept, running, parts);
    const { files } = before ?? (await readStage(kept))!;
    const known = new RowLines(files);
    for await (const line of linesOf(join(kept, 'rows.jsonl'))) yield known.fromLine(line);
  }

  /** Removes what this run had no use for. */
  async clean(): Promise<void> {
    const there = await readdir(this.folder).catch(() => []);
    for (const name of there)
      if (!this.#used.has(name))
        await rm(join(this.folder, name), { recursive: true, force: true });
  }
}

async function readStage(folder: string): Promise<KeptStage | null> {
  const text = await readFile(join(folder, 'stage.json'), 'utf8').catch(() => null);
  return text === null ? null : (JSON.parse(text) as KeptStage);
}

/** Runs a stage, and writes all that comes of it. */
async function keep(
  { run, tally }: StageRunning,
  held: HeldRows,
  folder: string,
  { onLost }: RunParts,
): Promise<void> {
  const lines = new RowLines();
  const out = new LineFile(join(folder, 'rows.jsonl'));
  const lost = new LineFile(join(folder, 'lost.jsonl'));
  try {
    const rows = run(held, (one, kind) => {
      const row = isProblem(one.row) ? one.row : lines.toLine(one.row);
      lost.write(JSON.stringify([kind, one.reason, one.detail ?? null, row] satisfies LostLine));
      onLost?.(one, kind);
    });
    for await (const row of rows) out.write(lines.toLine(row));
  } finally {
    out.close();
    lost.close();
  }
  const { added, facts, warnings } = tally.report();
  const stage: KeptStage = { files: lines.files, added, facts, warnings };
  const file = new LineFile(join(folder, 'stage.json'));
  file.write(JSON.stringify(stage));
  file.close();
}

/** Tells of a stage that ran before what it would tell itself. */
async function restore(
  { files, added, facts, warnings }: KeptStage,
  folder: string,
  { tally }: StageRunning,
  { onLost }: RunParts,
): Promise<void> {
  const known = new RowLines(files);
  for await (const line of linesOf(join(folder, 'lost.jsonl'))) {
    const [kind, reason, detail, row] = JSON.parse(line) as LostLine;
    const lost: LostRow = {
      stage: tally.name,
      reason,
      ...(detail !== null && { detail }),
      row: typeof row === 'string' ? known.fromLine(row) : row,
    };
    tally[kind](lost);
    onLost?.(lost, kind);
  }
  for (const [reason, count] of Object.entries(added))
    for (let i = 0; i < count; i++) tally.added(reason);
  for (const [name, value] of Object.entries(facts)) tally.fact(name, value);
  for (const warning of warnings) tally.warn(warning);
}

/** Lines of a file; JSON has no line break within. */
async function* linesOf(path: string): AsyncGenerator<string> {
  // The beginning of a line, in pieces: it may be as long as a row is.
  let begun: string[] = [];
  for await (const chunk of createReadStream(path, { encoding: 'utf8', highWaterMark: 2 ** 20 })) {
    const [first, ...others] = (chunk as string).split('\n') as [string, ...string[]];
    begun.push(first);
    if (others.length === 0) continue;
    yield begun.join('');
    begun = [others.pop()!];
    yield* others;
  }
  const rest = begun.join('');
  if (rest !== '') yield rest;
}
