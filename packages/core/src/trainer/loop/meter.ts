import type { Communicator } from '../../distributed/communicator.js';
import { gatherJson } from '../../distributed/exchange.js';
import { DeviceTable } from '../../tensor/deviceTable.js';
import type { Engine } from '../../tensor/engine.js';
import { guardFinite } from '../../tensor/ops/optimizer.js';
import { accumulate, fill } from '../../tensor/ops/update.js';
import type { Tensor } from '../../tensor/tensor.js';
import { deviceSums, metricSums } from '../../training/metricSums.js';
import type { LossOutput } from '../../training/objective.js';
import { checkNames, type HostMetrics, hostSums } from '../../training/updates.js';

/** Numbers of an update before its metrics: loss, gradient norm, clip coefficient, finite. */
const ROW_WIDTH = 4;

/** What one update was like. */
export interface StepRow {
  /** Loss per item over the whole accumulated batch. */
  readonly loss: number;
  /** Gradient norm before clipping. */
  readonly gradNorm: number;
  /** False: the device left the parameters as they were. */
  readonly finite: boolean;
  /** Sums and counts of the objective's metrics. */
  readonly metrics: Readonly<Record<string, { readonly sum: number; readonly count: number }>>;
}

/**
 * Follows the updates without waiting for them: sums of the micro-batches lie in one-element
 * tensors, each update leaves a row in a table on the device, and `take` reads the table.
 */
export class StepMeter {
  readonly #records: DeviceTable;
  readonly #sums = new Map<string, Tensor>();
  readonly #loss: Tensor;
  /** [1]: 1 once an update was not finite and nothing shall change after it. */
  readonly #halted: Tensor;
  #counts = new Map<string, number>();
  /** False: an update that did not end has left something in the sums. */
  #isZero = true;
  /** What the host knows of the update in progress. */
  #host: HostMetrics = {};
  /** How each row that is still on the device is laid out. */
  #layouts: Layout[] = [];
  #rows: StepRow[] = [];

  /**
   * @param guard whether an update that is not finite is the last one, and whether gradients carry
   *   a loss scale
   */
  constructor(
    private readonly engine: Engine,
    private readonly guardAttrs = { sticky: 0, scaled: 0 },
  ) {
    this.#halted = engine.keep(engine.zeros([1]));
    this.#records = new DeviceTable(engine);
    this.#loss = engine.keep(engine.zeros([1]));
  }

  beginStep(): void {
    if (!this.#isZero) this.#reset();
    this.#host = {};
    this.#counts = new Map([...this.#sums.keys()].map((name) => [name, 0]));
  }

  #reset(): void {
    fill(this.#loss, 0);
    for (const sum of this.#sums.values()) fill(sum, 0);
    this.#isZero = true;
  }

  /** One micro-batch. @param scale 1 / items of the update @param items of the micro-batch */
  add({ loss, metrics = {}, extraItems = 0 }: LossOutput, scale: number, items: number): void {
    this.#isZero = false;
    accumulate(this.#loss, loss, scale);
    for (const { name, sum, count } of deviceSums(metrics, items + extraItems)) {
      if (!this.#sums.has(name)) this.#sums.set(name, this.engine.keep(this.engine.zeros([1])));
      accumulate(this.#sums.get(name)!, sum);
      this.#counts.set(name, (this.#counts.get(name) ?? 0) + count);
    }
  }

  /** Numbers of the host, beside the metrics of the device. @throws OBJECTIVE_METRIC */
  addHost(metrics: HostMetrics): void {
    checkNames(metrics, this.#sums);
    this.#host = metrics;
  }

  /** The sums of all ranks in place of this one's. A NaN on one rank becomes a NaN on all. */
  async sumOver(communicator: Communicator): Promise<void> {
    const read = async (sum: Tensor) => (await sum.data())[0]!;
    const metrics = [];
    for (const [name, sum] of this.#sums) {
      const count = this.#counts.get(name)!;
      metrics.push([name, { sum: await read(sum), count }] as const);
    }
    const host = hostSums(this.#host);
    const all = await gatherJson(communicator, { loss: await read(this.#loss), metrics, host });
    this.#host = sumsByName(all.flatMap((rank) => rank.host));
    const totals = sumsByName(all.flatMap((rank) => rank.metrics));
    write(
      this.#loss,
      all.reduce((total, { loss }) => total + (loss ?? Number.NaN), 0),
    );
    for (const [name, { sum, count }] of Object.entries(totals)) {
      if (!this.#sums.has(name)) this.#sums.set(name, this.engine.keep(this.engine.zeros([1])));
      write(this.#sums.get(name)!, sum);
      this.#counts.set(name, count);
    }
  }

  /**
   * The update whose clip [norm, coefficient, finite] this is changes nothing if its loss is not
   * finite.
   */
  guard(clip: Tensor): void {
    guardFinite(this.#loss, clip, this.#halted, this.guardAttrs);
  }

  /**
   * Before `endStep`: waits for the device where the table is full, or metrics have come or gone.
   */
  async makeRoom(): Promise<void> {
    await this.#records.makeRoom(ROW_WIDTH + this.#sums.size);
  }

  /**
   * The sums begin anew here, not with the next update: that one then begins with the upload of its
   * batch, which needs no detour while nothing else is recorded.
   *
   * @param clip [norm, coefficient, finite]
   */
  endStep(clip: Tensor): void {
    this.#records.write([this.#loss, clip, ...this.#sums.values()]);
    this.#layouts.push({ counts: this.#counts, host: this.#host });
    this.#reset();
  }

  /** The rows since the last `take`: a wait for the device. */
  async take(): Promise<StepRow[]> {
    const fetched = await this.#records.take();
    const rows = [...this.#rows, ...fetched.map((values, i) => toRow(values, this.#layouts[i]!))];
    this.#rows = [];
    this.#layouts = [];
    return rows;
  }

  /**
   * Puts rows back in front, for the next `take`: a checkpoint has looked at them, or was loaded.
   */
  putBack(rows: readonly StepRow[]): void {
    this.#rows = [...rows, ...this.#rows];
  }

  dispose(): void {
    this.#records.dispose();
    this.#loss.dispose();
    this.#halted.dispose();
    for (const sum of this.#sums.values()) sum.dispose();
  }
}

/** JSON has no NaN: it comes as null. */
function sumsByName(
  parts: readonly (readonly [
    name: string,
    { readonly sum: number | null; readonly count: number },
  ])[],
): Record<string, { readonly sum: number; readonly count: number }> {
  const totals: Record<string, { readonly sum: number; readonly count: number }> = {};
  for (const [name, { sum, count }] of parts) {
    const held = totals[name] ?? { sum: 0, count: 0 };
    totals[name] = { sum: held.sum + (sum ?? Number.NaN), count: held.count + count };
  }
  return totals;
}

/** An upload: it takes its place among the dispatches. */
const write = ({ engine, storage, byteOffset }: Tensor, value: number): void =>
  engine.backend.write(storage.buffer, byteOffset, Float32Array.of(value));

/**
 * Which metrics stand in a row of the table, with their counts; and what the host knows beside
 * them.
 */
interface Layout {
  readonly counts: ReadonlyMap<string, number>;
  readonly host: HostMetrics;
}

function toRow(values: readonly number[], { counts, host }: Layout): StepRow {
  const [loss, gradNorm, , finite, ...sums] = values;
  return {
    loss: loss!,
    gradNorm: gradNorm!,
    finite: finite === 1 && Number.isFinite(loss),
    metrics: Object.fromEntries([
      ...metricSums([...counts].map(([name, count], i) => [name, { sum: sums[i]!, count }])),
      ...hostSums(host),
    ]),
  };
}

export interface WindowSummary {
  /** Updates with finite loss and gradient. */
  readonly steps: number;
  readonly skipped: number;
  /** Which of the updates those were: 0 for the first. */
  readonly skippedAt: readonly number[];
  /** Sum of their losses. */
  readonly lossSum: number;
  /** Mean loss, last gradient norm, and the mean per item of each metric. */
  readonly logs: Readonly<Record<string, number>> & {
    readonly loss: number;
    readonly gradNorm: number;
  };
}

/** Means over updates; the updates that were skipped are counted, not averaged in. */
export function summarize(rows: readonly StepRow[]): WindowSummary {
  const good = rows.filter((row) => row.finite);
  const lossSum = good.reduce((sum, row) => sum + row.loss, 0);
  const totals = new Map<string, { sum: number; count: number }>();
  for (const row of good)
    for (const [name, { sum, count }] of Object.entries(row.metrics)) {
      const held = totals.get(name) ?? { sum: 0, count: 0 };
      totals.set(name, { sum: held.sum + sum, count: held.count + count });
    }
  return {
    steps: good.length,
    skipped: rows.length - good.length,
    skippedAt: [...rows.keys()].filter((i) => !rows[i]!.finite),
    lossSum,
    logs: {
      ...Object.fromEntries(
        [...totals]
          .filter(([, { count }]) => count !== 0)
          .map(([name, { sum, count }]) => [name, sum / count]),
      ),
      loss: good.length > 0 ? lossSum / good.length : Number.NaN,
      gradNorm: rows.at(-1)?.gradNorm ?? Number.NaN,
    },
  };
}
