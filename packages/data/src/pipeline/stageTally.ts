import { AttuneError } from '@attune/core';
import type { PlainJson } from '@attune/core/util';
import { type DataRow, formatOrigin, isProblem, type RowProblem } from '../contract/dataRow.js';

/** A row that is not among those that go on, and why. */
export interface LostRow {
  readonly stage: string;
  readonly reason: string;
  readonly detail?: string;
  /** As the file has it, or what stood in its place. */
  readonly row: DataRow | RowProblem;
}

/** What stages find beside their counts, by name. */
export type StageFacts = Readonly<Record<string, PlainJson>>;

/** What a stage did, for the report. */
export interface StageReport<Facts = StageFacts> {
  /** Its name; from the second of that name on "dedupe-2". */
  readonly name: string;
  readonly rowsIn: number;
  readonly rowsOut: number;
  readonly added: Readonly<Record<string, number>>;
  /** Rows that were left out, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
  /** Rows that were put aside, by reason. */
  readonly quarantined: Readonly<Record<string, number>>;
  /** Places without a row among those: of rows that the stage read itself, as mixing does. */
  readonly problems: number;
  /** The first rows of each reason. */
  readonly samples: readonly LostRow[];
  /** What it found beside: see the stage. */
  readonly facts: Facts;
  readonly warnings: readonly string[];
  /** Time of its own work, without that of the stages before it. */
  readonly seconds: number;
}

/** Rows of one reason that a report shows. */
const SAMPLES = 5;

/** Counts what becomes of the rows of one stage. */
export class StageTally {
  rowsIn = 0;
  rowsOut = 0;
  /** Whether the stage was given all rows that there are. */
  isRead = false;
  /** What it was given last. */
  lastIn: unknown = null;
  /** Time of its own work, without that of the stages before and behind it. */
  workMs = 0;
  readonly #added = new Map<string, number>();
  readonly #dropped = new Map<string, number>();
  readonly #quarantined = new Map<string, number>();
  readonly #samples: LostRow[] = [];
  readonly #facts = new Map<string, PlainJson>();
  readonly #warnings = new Set<string>();
  #problems = 0;

  constructor(readonly name: string) {}

  added(reason: string): void {
    count(this.#added, reason);
  }

  dropped(lost: LostRow): void {
    this.#sample(lost, count(this.#dropped, lost.reason));
  }

  quarantined(lost: LostRow): void {
    // A place that gave no row did not come in either.
    if (isProblem(lost.row)) this.#problems++;
    this.#sample(lost, count(this.#quarantined, lost.reason));
  }

  #sample(lost: LostRow, nth: number): void {
    if (nth <= SAMPLES) this.#samples.push(lost);
  }

  fact(name: string, value: PlainJson): void {
    this.#facts.set(name, value);
  }

  warn(message: string): void {
    this.#warnings.add(message);
  }

  /**
   * @throws DATA_ROWS_LOST when rows that came in are neither given, dropped nor quarantined, or
   *   rows are given that did not come in
   */
  check(): void {
    const gone = total(this.#dropped) + total(this.#quarantined) - this.#problems;
    const added = total(this.#added);
    const difference = this.rowsIn + added - this.rowsOut - gone;
    if (difference === 0) return;
    const counts = `the stage "${this.name}" was given ${this.rowsIn} rows${added > 0 ? ` and ${added} that are new,` : ''} and gave ${this.rowsOut}`;
    throw new AttuneError(
      'DATA_ROWS_LOST',
      difference > 0
        ? `${counts}; ${difference} are neither among them nor dropped nor quarantined.`
        : `${counts}, and dropped or quarantined ${gone}: ${-difference} too many.`,
      {
        remedy:
          difference > 0
            ? 'A stage yields each row, or calls context.drop(row, reason) or context.quarantine(row, reason).'
            : 'A stage that makes rows calls context.added(row, reason) for each, and does only one thing with a row: it is yielded, dropped or quarantined.',
      },
    );
  }

  /** For a stage that ends before it was given all rows. */
  endedEarly(): AttuneError {
    return new AttuneError(
      'DATA_ROWS_LOST',
      `the stage "${this.name}" ended before it had read all rows; it was given ${this.rowsIn}.`,
      {
        remedy:
          'A stage reads all rows. One that wants the first ones drops the others: context.drop(item, "beyond the limit").',
      },
    );
  }

  report(): StageReport {
    return {
      name: this.name,
      rowsIn: this.rowsIn,
      rowsOut: this.rowsOut,
      added: Object.fromEntries(this.#added),
      dropped: Object.fromEntries(this.#dropped),
      quarantined: Object.fromEntries(this.#quarantined),
      problems: this.#problems,
      samples: this.#samples,
      facts: Object.fromEntries(this.#facts),
      warnings: [...this.#warnings],
      seconds: this.workMs / 1000,
    };
  }
}

function count(counts: Map<string, number>, reason: string): number {
  const next = (counts.get(reason) ?? 0) + 1;
  counts.set(reason, next);
  return next;
}

export const total = (counts: ReadonlyMap<string, number>): number =>
  [...counts.values()].reduce((sum, n) => sum + n, 0);

/** A line about a lost row: "train.jsonl:12: near-duplicate (of train.jsonl:3)". */
export const describeLost = ({ row, reason, detail }: LostRow): string =>
  `${formatOrigin(row.origin)}: ${reason}${detail === undefined ? '' : ` (${detail})`}`;
