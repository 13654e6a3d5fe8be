import type { Tensor } from '../../tensor/tensor.js';
import { cacheFor, type StaticKvCache } from '../kvCache.js';
import type { LanguageModel } from '../languageModel.js';
import type { GenerationPlan } from './planGeneration.js';

/** Tokens that memory is taken for at once. */
const BLOCK = 64;

/**
 * Rows of different lengths as one batch: padded on the left, so that every row's newest token is
 * in the last column. Padding is a segment of its own and no row looks at it; positions start at
 * each row's first token.
 */
export class PaddedBatch {
  readonly cache: StaticKvCache | null;
  readonly #capacity: number;
  /** Tokens of the longest row at its end. */
  readonly #most: number;
  #length = 0;
  #pads: readonly number[] = [];
  #segments: Tensor | null = null;

  /** @param size rows */
  constructor(
    private readonly model: LanguageModel,
    private readonly plan: GenerationPlan,
    size: number,
  ) {
    const { prompts, maxNewTokens, useCache } = plan;
    // The last token is never fed.
    this.#most = Math.max(...prompts.map((p) => p.length)) + maxNewTokens - 1;
    // Rounded up, so that prompts of similar length share shapes. Rows that come later begin
    // further on; what is before all of them is given up a block at a time.
    const blocks = Math.ceil(this.#most / BLOCK) + (prompts.length > size ? 1 : 0);
    this.#capacity = blocks * BLOCK;
    this.cache = useCache ? cacheFor(model, size, this.#capacity) : null;
  }

  /** Tokens of a row so far, padding included. */
  get length(): number {
    return this.#length;
  }

  /** Tokens that fit behind them. */
  get room(): number {
    return this.cache ? this.#capacity - this.#length : Number.POSITIVE_INFINITY;
  }

  /** Whether one more token can go on from what is cached. */
  get cacheServes(): boolean {
    const { config, adapters } = this.model;
    const length = this.#length + (adapters?.numVirtualTokens ?? 0);
    return this.cache !== null && length !== config.cacheSwitchLength;
  }

  /** Whole rows -> the logits after each, [B, V]. */
  prefill(rows: readonly (readonly number[])[]): Tensor {
    const { engine } = this.model;
    this.cache?.reset();
    this.#length = Math.max(...rows.map((row) => row.length));
    this.#pads = rows.map((row) => this.#length - row.length);
    const shape = [rows.length, this.#length];
    const ids = rows.flatMap((row, r) => [
      ...new Array<number>(this.#pads[r]!).fill(this.plan.padTokenId),
      ...row,
    ]);
    const positions = this.#pads.flatMap((pad) =>
      Array.from({ length: this.#length }, (_, t) => Math.max(t - pad, 0)),
    );
    this.#makeSegments(this.cache ? this.#capacity : this.#length);
    return this.#lastLogits(
      engine.tensor(ids, shape, 'int32'),
      engine.tensor(positions, shape, 'int32'),
    );
  }

  /** One more token for each row, int32 [B, 1] or a list -> the logits after it, [B, V]. */
  decode(tokens: Tensor | readonly number[]): Tensor {
    const { engine } = this.model;
    // A row that has ended may stay for longer than any that goes on.
    const positions = this.#pads.map((pad) => Math.min(this.#length - pad, this.#most));
    this.#length++;
    const shape = [positions.length, 1];
    return this.#lastLogits(
      'shape' in tokens ? tokens : engine.tensor(tokens, shape, 'int32'),
      engine.tensor(positions, shape, 'int32'),
    );
  }

  /** Row r goes on as row `from[r]` was: what beams do at each step. */
  reorder(from: readonly number[]): void {
    if (from.some((row, r) => row !== r)) this.cache?.reorder(from);
  }

  /** Whether rows can be taken over from another batch: their keys need no other frequencies. */
  get canTakeOver(): boolean {
    const { config, adapters } = this.model;
    return (
      this.cache !== null && !config.cacheSwitchLength && (adapters?.numVirtualTokens ?? 0) === 0
    );
  }

  /** Gives up columns that hold nothing but padding of the rows in `going`. */
  compact(going: readonly number[]): void {
    const shift = Math.min(...going.map((r) => this.#pads[r]!));
    if (shift > 0) this.#move(shift, [], null);
  }

  /**
   * Row `slots[i]` becomes row i of `others`, and ends where this batch does.
   *
   * @param others of at most `length` tokens
   */
  takeOver(slots: readonly number[], others: PaddedBatch): void {
    this.#move(0, slots, others);
  }

  #move(shift: number, slots: readonly number[], others: PaddedBatch | null): void {
    const capacity = this.#capacity;
    const length = this.#length - shift;
    const from = this.#pads.flatMap((_, r) =>
      Array.from(
        { length: capacity },
        (_column, t) => r * capacity + Math.min(t + shift, capacity - 1),
      ),
    );
    const pads = this.#pads.map((pad) => Math.max(pad - shift, 0));
    for (const [i, slot] of slots.entries()) {
      const { cache, length: end } = others!;
      const before = length - end; // columns of this batch to the left of all of the others'
      pads[slot] = before + others!.#pads[i]!;
      for (let t = pads[slot]!; t < length; t++)
        from[slot * capacity + t] = pads.length * capacity + i * cache!.capacity + t - before;
    }
    this.cache!.take(from, others?.cache ?? null, length);
    this.#length = length;
    this.#pads = pads;
    this.model.engine.noGrad(() => this.#makeSegments(capacity));
  }

  dispose(): void {
    this.cache?.dispose();
    this.#segments?.dispose();
  }

  #lastLogits(inputIds: Tensor, positions: Tensor): Tensor {
    const { model } = this;
    const hidden = model.hiddenStates({
      inputIds,
      positions,
      segments: this.#segments,
      cache: this.cache,
    });
    const [batch, length, width] = hidden.shape as [number, number, number];
    const last = hidden.slice(1, length - 1, length).reshape(batch, width);
    return model.head(last);
  }

  /** int32 [B, size]: 0 for padding, 1 for the row. None when no row is padded. */
  #makeSegments(size: number): void {
    this.#segments?.dispose();
    this.#segments = null;
    if (this.#pads.every((pad) => pad === 0)) return;
    const { engine } = this.model;
    const values = this.#pads.flatMap((pad) =>
      Array.from({ length: size }, (_, t) => (t < pad ? 0 : 1)),
    );
    this.#segments = engine.keep(engine.tensor(values, [this.#pads.length, size], 'int32'));
  }
}
