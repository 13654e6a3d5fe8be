import { AttuneError } from '@attune/core';
import { Rng } from '@attune/core/util';
import type { DataRow } from '../contract/dataRow.js';
import type { StageContext } from '../contract/dataStage.js';
import { schemaOf } from '../schemas/detectSchema.js';
import { fromFiles } from '../sources/sources.js';
import { interleave, type SourcedRow } from './interleave.js';
import type { ParsedMix } from './mixOptions.js';
import { checkShares, defaultStrategy, inRange, rowsOfEach, type Share } from './shares.js';
import { sourceOrder } from './sourceOrder.js';
import { type DrawnRow, SourceRows } from './sourceRows.js';

/** Streams of one seed: the order of the sources, then each source's draws. */
const ORDER_STREAM = 0x6d69;

/** What the report of `mix` has beside its counts. */
export type MixReport = {
  /** Rows that each source gave, and their share of all. */
  readonly sources: readonly {
    readonly name: string;
    readonly rows: number;
    readonly share: number;
  }[];
};

interface Part extends Share {
  readonly rows: SourceRows;
  readonly size?: number | undefined;
}

/**
 * Rows that come from each source. `own` stands first, where rows came in. Where these were split,
 * what is mixed in is of train, so that no later stage meets rows of no part among the others.
 */
export async function* mixRows(
  own: AsyncIterable<DataRow> | null,
  options: ParsedMix,
  context: StageContext,
): AsyncGenerator<DataRow> {
  const parts: Part[] = [
    ...(own === null
      ? []
      : [{ ...options.own, rows: new SourceRows(options.own.name, own, context) }]),
    ...options.sources.map((source) => ({
      ...source,
      rows: new SourceRows(
        source.name,
        typeof source.rows === 'string' ? fromFiles(source.rows) : source.rows,
        context,
      ),
    })),
  ];
  const given = parts.map(() => 0);
  try {
    for await (const { source, item, repeated } of mixed(parts, own !== null, options, context)) {
      given[source]!++;
      const name = parts[source]!.name;
      const isSplit = own !== null && parts[0]!.rows.first?.split !== undefined;
      const split = isSplit && ({ split: 'train' } as const);
      const row = withSource({ ...split, ...item }, name, options.sourceColumn);
      if (own === null || source > 0) context.added(row, name);
      else if (repeated) context.added(row, 'repeated');
      yield row;
    }
  } finally {
    for (const { rows } of parts) await rows[Symbol.asyncDispose]();
  }
  const total = given.reduce((sum, rows) => sum + rows, 0);
  const sources: MixReport['sources'] = parts.map(({ name }, i) => ({
    name,
    rows: given[i]!,
    share: given[i]! / total,
  }));
  context.fact('sources', sources);
  warnOfFormats(parts, context);
}

/** A trainer takes rows of one format: those of another are an error there, or left out. */
function warnOfFormats(parts: readonly Part[], context: StageContext): void {
  const formats = parts.flatMap(({ name, rows }) => {
    const format = rows.first && schemaOf(rows.first.row);
    return format ? [{ name, format }] : [];
  });
  if (new Set(formats.map(({ format }) => format)).size < 2) return;
  const listed = formats.map(({ name, format }) => `"${name}" ${format}`).join(', ');
  context.warn(
    `the sources begin with rows of several formats: ${listed}. validate({ convertTo }) behind mix makes them one.`,
  );
}

async function* mixed(
  parts: readonly Part[],
  hasOwn: boolean,
  options: ParsedMix,
  context: StageContext,
): AsyncGenerator<SourcedRow> {
  const seed = options.seed ?? context.seed;
  const strategy = options.strategy ?? defaultStrategy(parts);
  checkShares(strategy, parts, options);
  checkIterators(parts);
  const drop = (item: DataRow) => context.drop(item, 'not drawn');
  const leave = (source: number) => (hasOwn && source === 0 ? drop : null);
  const rng = new Rng(seed, ORDER_STREAM);
  if (strategy === 'interleave') {
    yield* interleave(
      parts.map(({ rows }) => rows),
      {
        weights:
          parts[0]!.weight === undefined ? null : inRange(parts.map(({ weight }) => weight!)),
        stopping: options.stopping ?? 'first_exhausted',
        rng,
        empty: ({ name }) => noRows(name),
        leave,
      },
    );
    return;
  }
  const sized: (Part & { readonly size: number })[] = [];
  for (const part of parts) {
    await part.rows.makeRepeatable();
    const size = part.size ?? (await part.rows.count());
    if (size === 0) throw noRows(part.name);
    sized.push({ ...part, size });
  }
  const counts = rowsOfEach(strategy, sized, options).map((count, i) =>
    withinSize(count, sized[i]!, options.onShortage ?? 'repeat', context),
  );
  const take = options.take ?? (strategy === 'concatenate' ? 'first' : 'sample');
  const draws = sized.map(({ rows, size }, i) =>
    rows.draw(counts[i]!, size, take, new Rng(seed, ORDER_STREAM + 1 + i), leave(i)),
  );
  const order = options.order ?? (strategy === 'concatenate' ? 'concatenate' : 'spread');
  try {
    for (const source of sourceOrder(order, counts, rng))
      yield { source, ...(await drawnOf(draws[source]!)) };
    // What is left of the rows that came in is counted.
    for (const draw of draws) await draw.next();
  } finally {
    for (const draw of draws) await draw.return(undefined);
  }
}

async function drawnOf(draw: AsyncGenerator<DrawnRow>): Promise<DrawnRow> {
  const { done, value } = await draw.next();
  if (done === true) throw new Error('a source gave fewer rows than were planned');
  return value;
}

/** @throws DATA_MIX_SHARES for one iterator as the rows of two sources: it gives each row once */
function checkIterators(parts: readonly Part[]): void {
  for (const [i, { name, rows }] of parts.entries())
    for (const other of parts.slice(0, i))
      if (rows.isSameIterator(other.rows))
        throw new AttuneError(
          'DATA_MIX_SHARES',
          `"${other.name}" and "${name}" are the same iterator, which gives each row once.`,
          { remedy: 'Give each its own: an array, or what fromJsonl and its like give.' },
        );
}

/** @throws DATA_MIX_SHORT when a source has too few rows and shortages are errors */
function withinSize(
  count: number,
  { name, size }: { readonly name: string; readonly size: number },
  onShortage: NonNullable<ParsedMix['onShortage']>,
  context: StageContext,
): number {
  if (count <= size) return count;
  const what = `"${name}" has ${size} rows, and its share is ${count}`;
  if (onShortage === 'error')
    throw new AttuneError('DATA_MIX_SHORT', `${what}.`, {
      remedy: 'Give it more rows or a smaller share, or set onShortage to "repeat" or "fewer".',
    });
  if (onShortage === 'fewer') {
    context.warn(`${what}: it gives what it has, and its share is smaller.`);
    return size;
  }
  context.warn(`${what}: its rows come ${(count / size).toFixed(1)} times.`);
  return count;
}

const noRows = (name: string) =>
  new AttuneError('DATA_MIX_EMPTY', `"${name}" has no rows to mix.`, {
    remedy: 'Look at its files and at what earlier stages dropped, or leave the source out.',
  });

function withSource(item: DataRow, name: string, column: string | null): DataRow {
  if (column === null) return item;
  if (Object.hasOwn(item.row, column))
    throw new AttuneError(
      'DATA_COLUMN_TAKEN',
      `rows of "${name}" have a column "${column}" already.`,
      { remedy: 'Choose another sourceColumn.' },
    );
  return { ...item, row: { ...item.row, [column]: name } };
}
