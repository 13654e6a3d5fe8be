import type { Tensor } from '../../tensor/tensor.js';
import { cacheFor, type StaticKvCache } from '../kvCache.js';
import type { LanguageModel } from '../languageModel.js';
import type { GenerationPlan } from './planGeneration.js';

/**
 * Rows of different lengths as one batch: padded on the left, so that every row's newest token is
 * in the last column. Padding is a segment of its own and no row looks at it; positions start at
 * each row's first token.
 */
export class PaddedBatch {
  readonly cache: StaticKvCache | null;
  readonly #capacity: number;
  #length = 0;
  #pads: readonly number[] = [];
  #segments: Tensor | null = null;

  constructor(
    private readonly model: LanguageModel,
    private readonly plan: GenerationPlan,
  ) {
    const longest = Math.max(...plan.prompts.map((p) => p.length));
    // The last token is never fed. Rounded up, so that prompts of similar length share shapes.
    this.#capacity = Math.ceil((longest + plan.maxNewTokens - 1) / 64) * 64;
    this.cache = plan.useCache ? cacheFor(model, plan.prompts.length, this.#capacity) : null;
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
    const positions = this.#pads.map((pad) => this.#length - pad);
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
