import type { OpCall, OpTiming, TuningOptions, TuningReport } from '@attune/core/backend';
import type { DeviceFacts, Kernel } from '../kernels/kernel.js';
import type { TuningFile } from './tuningFile.js';

/** A call of the workload that has variants to choose from; null for the others. */
type Slot = { readonly key: string; readonly variant: string } | null;

/** One run of the workload with the `index`-th variant of every kernel that has so many. */
interface Trial {
  readonly index: number;
  readonly slots: Slot[];
  /** Variants of the kernel that has the most. */
  most: number;
}

/**
 * A variant replaces the default only if it is at least this much faster: below that it is noise.
 */
const MARGIN = 0.97;

/**
 * Runs the workload with a clock on every kernel: one timing for each dispatched call, in order.
 */
type Profile = (work: () => Promise<void>) => Promise<readonly OpTiming[]>;

/**
 * Chooses among the variants of kernels: what an earlier tuning of this adapter chose, else the
 * first.
 *
 * Tuning runs the whole workload once for each variant and compares kernel by kernel: in their
 * place, with the caches and the memory traffic that the real work has, not alone.
 */
export class Tuner {
  readonly #choices: Map<string, string>;
  #trial: Trial | null = null;

  /** @param adapter names the device and its driver @param file null: choices are not kept */
  constructor(
    private readonly facts: DeviceFacts,
    private readonly adapter: string,
    private readonly file: TuningFile | null,
  ) {
    this.#choices = new Map(Object.entries(file?.read(adapter) ?? {}));
  }

  /** Whether variants take their turns: a call like the one before may get another. */
  get isTrying(): boolean {
    return this.#trial !== null;
  }

  /** The variant for a call; undefined when the kernel has none, or nothing was ever tuned. */
  variant(kernel: Kernel, call: OpCall): string | undefined {
    if (!this.#trial && this.#choices.size === 0) return undefined;
    const tuning = kernel.variants?.(call, this.facts);
    if (!tuning || tuning.names.length < 2) {
      this.#trial?.slots.push(null);
      return tuning?.names[0];
    }
    const { names } = tuning;
    const key = `${call.op}:${tuning.key}`;
    if (!this.#trial) return this.#chosen(key, names);
    const { index, slots, most } = this.#trial;
    const variant = names[Math.min(index, names.length - 1)]!;
    slots.push({ key, variant });
    this.#trial.most = Math.max(most, names.length);
    return variant;
  }

  /** A choice of the file counts only while the kernel still has that variant. */
  #chosen(key: string, names: readonly string[]): string {
    const chosen = this.#choices.get(key);
    return chosen !== undefined && names.includes(chosen) ? chosen : names[0]!;
  }

  /**
   * @param work the workload; runs twice for each variant, first to compile
   * @throws TUNING_FILE, and what `profile` throws
   */
  async tune(
    profile: Profile,
    work: () => Promise<void>,
    { maxSeconds = 60 }: TuningOptions,
  ): Promise<TuningReport> {
    const start = performance.now();
    const seconds = () => (performance.now() - start) / 1000;
    const measured = new Map<string, Map<string, number>>();
    let trials = 1;
    let index = 0;
    try {
      for (; index < trials && (index === 0 || seconds() < maxSeconds); index++) {
        this.#trial = { index, slots: [], most: 1 };
        await work();
        const trial: Trial = { index, slots: [], most: 1 };
        this.#trial = trial;
        collect(measured, trial.slots, await profile(work));
        trials = trial.most;
      }
    } finally {
      this.#trial = null;
    }
    const choices = Object.fromEntries([...measured].map(([key, times]) => [key, fastest(times)]));
    for (const [key, variant] of Object.entries(choices)) this.#choices.set(key, variant);
    await this.file?.write(this.adapter, choices);
    return {
      complete: index === trials,
      seconds: seconds(),
      choices,
      file: this.file?.path ?? null,
    };
  }
}

/**
 * Adds up the time of each key in this trial; of several trials of one variant the least counts.
 */
function collect(
  measured: Map<string, Map<string, number>>,
  slots: readonly Slot[],
  timings: readonly OpTiming[],
): void {
  const totals = new Map<string, { variant: string; us: number }>();
  timings.forEach(({ kernels }, i) => {
    const slot = slots[i];
    if (!slot) return;
    const total = totals.get(slot.key) ?? { variant: slot.variant, us: 0 };
    for (const { durationUs } of kernels) total.us += durationUs;
    totals.set(slot.key, total);
  });
  for (const [key, { variant, us }] of totals) {
    const times = measured.get(key) ?? new Map<string, number>();
    times.set(variant, Math.min(us, times.get(variant) ?? Number.POSITIVE_INFINITY));
    measured.set(key, times);
  }
}

/** The variants are in their order, the default first. */
function fastest(times: ReadonlyMap<string, number>): string {
  const [[name, us], ...others] = [...times] as [[string, number], ...[string, number][]];
  let best = { name, us: us * MARGIN };
  for (const [other, time] of others) if (time < best.us) best = { name: other, us: time };
  return best.name;
}
