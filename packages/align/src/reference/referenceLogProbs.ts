import { AttuneError, type LanguageModel, type Logger, type Tensor } from '@attune/core';
import type { DeviceBatch, HostBatch, HostTensor, UpdateContext } from '@attune/core/training';
import { LogProbStore, rowKeys } from './logProbStore.js';
import type { Reference } from './reference.js';

/** One array of log-probabilities that a loss takes of the reference. */
export interface ReferenceRows {
  /** Its name, and that of the array of a batch. */
  readonly name: string;
  /** What the names of its arrays begin with: '' or 'kl:'. */
  readonly prefix: string;
  /** Records them, float32 [rows]. */
  compute(model: LanguageModel, batch: DeviceBatch): Tensor;
}

/** How far apart the model and its reference may be before the first update, nats of a row. */
const START_TOLERANCE = 1e-2;

/** How far a stored log-probability may be from one that is computed: dtypes and devices differ. */
const STORED_TOLERANCE = 0.05;

/**
 * What a loss reads of the reference: recorded with each batch, or computed once for each row and
 * kept in a file.
 */
export class ReferenceLogProbs {
  #store: LogProbStore | null = null;
  /** Whether what the file had was compared with the reference as it is. */
  #isChecked = false;
  /** Examples that were made before the first batch: all but those of streams. */
  #pending: unknown[] = [];
  #hasBegun = false;

  /**
   * @param parts what is read
   * @param path of the file; null: none
   */
  constructor(
    private readonly reference: Reference,
    private readonly parts: readonly ReferenceRows[],
    private readonly path: string | null,
    private readonly collate: (examples: readonly never[]) => HostBatch,
  ) {}

  get description(): string {
    return this.reference.description;
  }

  get isStored(): boolean {
    return this.path !== null;
  }

  async prepare(logger: Logger): Promise<void> {
    await this.reference.prepare(logger);
    if (this.path === null || this.#store) return;
    this.#store = await LogProbStore.open(this.path, this.reference.identity);
    const { size, path } = this.#store;
    this.#isChecked = size === 0;
    if (size > 0) logger.info(`reference: ${size} log-probabilities are in ${path}.`);
  }

  /** An example was made: its log-probabilities will be asked for. */
  expect(example: unknown): void {
    if (this.path !== null && !this.#hasBegun) this.#pending.push(example);
  }

  /** Records what a loss reads, by name; stored ones come with the batch. */
  record(batch: DeviceBatch): Readonly<Record<string, Tensor>> {
    return this.path === null ? this.#recorded(batch) : batch;
  }

  /** Batches with what is stored of them; those of recorded references as they are. */
  async fill(batches: readonly HostBatch[], context: UpdateContext): Promise<readonly HostBatch[]> {
    const { use, step } = context;
    this.#hasBegun = true;
    if (use === 'training' && step === 1 && this.reference.isStart)
      await this.#checkStart(batches[0]!, context);
    const store = this.#store;
    if (!store) return batches;
    const filled = () => Promise.all(batches.map((batch) => this.#stored(store, batch)));
    const found = await filled();
    const known = found.find((batch) => batch !== null);
    if (known && !this.#isChecked) await this.#checkStored(store, known, context);
    if (found.every((batch) => batch !== null)) return found;
    await this.#compute(store, batches, context);
    return (await filled()).map((batch) => batch!);
  }

  /** The arrays that `fill` adds, for a plan. */
  standIn(batch: HostBatch): HostBatch {
    const added = this.parts.map(({ name, prefix }): [string, HostTensor] => {
      const [rows] = batch[`${prefix}inputIds`]!.shape as [number, number];
      return [name, { data: new Float32Array(rows), shape: [rows], dtype: 'float32' }];
    });
    return { ...batch, ...Object.fromEntries(added) };
  }

  /** Null: something is missing. */
  async #stored(store: LogProbStore, batch: HostBatch): Promise<HostBatch | null> {
    const added: Record<string, HostTensor> = {};
    for (const { name, prefix } of this.parts) {
      const values = (await rowKeys(batch, prefix)).map((key) => store.get(key));
      if (values.some((value) => value === undefined)) return null;
      const data = Float32Array.from(values as number[]);
      added[name] = { data, shape: [data.length], dtype: 'float32' };
    }
    return { ...batch, ...added };
  }

  /** Computes what is missing of these batches, and of all examples that were expected. */
  async #compute(
    store: LogProbStore,
    batches: readonly HostBatch[],
    { inference, signal, logger }: UpdateContext,
  ): Promise<void> {
    const pending = this.#pending;
    this.#pending = [];
    const size = this.#examplesOf(batches[0]!);
    const all = [...batches];
    for (let start = 0; start < pending.length; start += size)
      all.push(this.collate(pending.slice(start, start + size) as never[]));
    if (pending.length > size)
      logger.info(`reference: computing the log-probabilities of ${pending.length} rows once.`);
    for (const batch of all) {
      signal.throwIfAborted();
      if (await this.#stored(store, batch)) continue;
      const values = await inference(batch, (device) => this.#recorded(device));
      for (const { name, prefix } of this.parts)
        for (const [row, key] of (await rowKeys(batch, prefix)).entries())
          store.set(key, values[name]!.data[row]!);
    }
    await store.save();
  }

  /** @throws REFERENCE_CACHE where the file holds log-probabilities of other weights */
  async #checkStored(
    store: LogProbStore,
    batch: HostBatch,
    { inference }: UpdateContext,
  ): Promise<void> {
    const values = await inference(batch, (device) => this.#recorded(device));
    for (const { name } of this.parts)
      for (const [row, stored] of Array.from(batch[name]!.data).entries()) {
        const now = values[name]!.data[row]!;
        if (Math.abs(stored - now) > STORED_TOLERANCE * Math.max(1, Math.abs(now) / 10))
          throw new AttuneError(
            'REFERENCE_CACHE',
            `${store.path} has the log-probability ${stored} for a row to which the reference, ${this.description}, gives ${now}: it is of other weights.`,
            { remedy: 'Delete the file, or name another one: it is made again.' },
          );
      }
    this.#isChecked = true;
  }

  #recorded(batch: DeviceBatch): Readonly<Record<string, Tensor>> {
    return this.reference.record((model) =>
      Object.fromEntries(this.parts.map(({ name, compute }) => [name, compute(model, batch)])),
    );
  }

  /** How many examples a batch was made of: as many as each array of them has rows, or half. */
  #examplesOf(batch: HostBatch): number {
    const [rows] = batch.inputIds!.shape as [number, number];
    return Math.max(1, batch.isDesirable ? rows : rows / 2);
  }

  /** Says so where a run does not begin at its reference: the first loss is then no ln 2. */
  async #checkStart(batch: HostBatch, context: UpdateContext): Promise<void> {
    const { inference, model, logger } = context;
    const [{ compute }] = this.parts as [ReferenceRows];
    const { own, reference } = await inference(batch, (device) => ({
      own: compute(model, device),
      reference: this.reference.record((other) => compute(other, device)),
    }));
    const apart = Math.max(...Array.from(own!.data, (x, i) => Math.abs(x - reference!.data[i]!)));
    if (apart <= START_TOLERANCE) return;
    logger.warn(
      `the model does not begin at its reference, ${this.description}: log-probabilities of an answer differ by up to ${apart.toPrecision(3)} nats before the first update, so the loss does not begin where it should (ln 2 for a sigmoid loss). An adapter that was trained before, or that changes the model when it is new, wants reference: 'initial'.`,
    );
  }
}
