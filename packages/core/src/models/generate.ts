import { argmax as deviceArgmax } from '../tensor/ops/reduce.js';
import type { Tensor } from '../tensor/tensor.js';
import { AutoTokenizer } from '../tokenizer/autoTokenizer.js';
import type { DecodeStream } from '../tokenizer/decodeStream.js';
import { AttuneError } from '../util/errors.js';
import { Rng } from '../util/rng.js';
import {
  type GenerateOptions,
  type GenerateOutput,
  type GenerationPlan,
  planGeneration,
} from './generateOptions.js';
import { type KvCache, StaticKvCache } from './kvCache.js';
import type { LanguageModel } from './languageModel.js';
import {
  applyMinP,
  applyRepetitionPenalty,
  applyTemperature,
  applyTopK,
  applyTopP,
  argmax,
  sample,
} from './sampling.js';

export type { GenerateOptions, GenerateOutput, Ids, IdsTensor } from './generateOptions.js';

/** The stream of Philox that sampling draws from; row r uses streams from here on. */
const samplingStream = 0x67656e; // 'gen'

/** One sequence on its way. */
interface Row {
  readonly prompt: readonly number[];
  readonly ids: number[];
  readonly rng: Rng;
  readonly text: StopWatch | null;
  finished: GenerateOutput['finishReasons'][number] | null;
}

/** Continues prompts. See {@link GenerateOptions}. The model runs in eval mode meanwhile. */
export async function generate(
  model: LanguageModel,
  options: GenerateOptions,
): Promise<GenerateOutput> {
  const plan = await planGeneration(model, options);
  const rows = await newRows(model, plan, options);
  for await (const _ of steps(model, plan, rows, options.signal));
  return {
    sequences: rows.map((row) => row.ids),
    finishReasons: rows.map((row) => row.finished ?? 'length'),
  };
}

/** The new tokens of one prompt, each as soon as it is known; the last may be an eos token. */
export async function* generateStream(
  model: LanguageModel,
  options: GenerateOptions,
): AsyncGenerator<number> {
  const plan = await planGeneration(model, options);
  if (plan.prompts.length !== 1)
    throw new AttuneError(
      'GENERATE_OPTION',
      `generateStream: ${plan.prompts.length} prompts were given; it continues one.`,
      { remedy: 'Call generate for a batch, or generateStream once for each prompt.' },
    );
  const rows = await newRows(model, plan, options);
  for await (const [token] of steps(model, plan, rows, options.signal)) yield token!;
}

async function newRows(
  model: LanguageModel,
  plan: GenerationPlan,
  options: GenerateOptions,
): Promise<Row[]> {
  const stops = [options.stopStrings ?? []].flat().filter((s) => s !== '');
  const tokenizer = stops.length ? (options.tokenizer ?? (await ownTokenizer(model))) : null;
  return plan.prompts.map((prompt, row) => ({
    prompt,
    ids: [...prompt],
    rng: new Rng(plan.seed, samplingStream + row),
    text: tokenizer
      ? new StopWatch(stops, tokenizer.createDecodeStream({ skipSpecialTokens: false }))
      : null,
    finished: null,
  }));
}

async function ownTokenizer(model: LanguageModel) {
  try {
    return await AutoTokenizer.fromPretrained(model.folder ?? '');
  } catch (cause) {
    throw new AttuneError(
      'GENERATE_OPTION',
      `generate: stopStrings needs a tokenizer, and "${model.nameOrPath}" has none.`,
      { remedy: 'Pass tokenizer: await AutoTokenizer.fromPretrained(folder).', cause },
    );
  }
}

/** Yields, step by step, the token of every row (the padding token for rows that ended before). */
async function* steps(
  model: LanguageModel,
  plan: GenerationPlan,
  rows: readonly Row[],
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly number[]> {
  const { engine } = model;
  const wasTraining = model.root.training;
  if (wasTraining) model.root.eval();
  const batch = new PaddedBatch(model, plan);
  try {
    let next: readonly number[] = [];
    for (let step = 0; step < plan.maxNewTokens; step++) {
      signal?.throwIfAborted();
      const scores = engine.noGrad(() =>
        engine.scope('generate', () => {
          const logits =
            step > 0 && batch.cache ? batch.decode(next) : batch.prefill(rows.map((r) => r.ids));
          return engine.keep(isGreedy(plan) ? deviceArgmax(logits) : logits);
        }),
      );
      const values = await readAndDispose(scores);
      next = rows.map((row, r) => {
        if (row.finished) return plan.padTokenId;
        const token = isGreedy(plan) ? values[r]! : chooseToken(values, r, row, plan);
        row.ids.push(token);
        row.finished = reasonToStop(row, token, plan);
        return token;
      });
      yield next;
      if (rows.every((row) => row.finished)) return;
    }
  } finally {
    batch.dispose();
    if (wasTraining) model.root.train();
  }
}

const isGreedy = (plan: GenerationPlan): boolean => !plan.doSample && plan.repetitionPenalty === 1;

async function readAndDispose(tensor: Tensor): Promise<ArrayLike<number>> {
  try {
    return await tensor.data();
  } finally {
    tensor.dispose();
  }
}

function chooseToken(logits: ArrayLike<number>, r: number, row: Row, plan: GenerationPlan): number {
  const width = logits.length / plan.prompts.length;
  const scores = Float64Array.from({ length: width }, (_, i) => logits[r * width + i]!);
  if (plan.repetitionPenalty !== 1) applyRepetitionPenalty(scores, row.ids, plan.repetitionPenalty);
  if (!plan.doSample) return argmax(scores);
  if (plan.temperature !== 1) applyTemperature(scores, plan.temperature);
  if (plan.topK > 0) applyTopK(scores, plan.topK);
  if (plan.topP < 1) applyTopP(scores, plan.topP);
  if (plan.minP > 0) applyMinP(scores, plan.minP);
  return sample(scores, row.rng);
}

function reasonToStop(row: Row, token: number, plan: GenerationPlan): Row['finished'] {
  if (plan.eosTokenIds.has(token)) return 'eos';
  if (row.text?.sees(token)) return 'stop';
  return null;
}

/** Watches the text of an answer for stop strings, also across tokens. */
class StopWatch {
  readonly #longest: number;
  #tail = '';

  constructor(
    private readonly stops: readonly string[],
    private readonly decoder: DecodeStream,
  ) {
    this.#longest = Math.max(...stops.map((s) => s.length));
  }

  sees(token: number): boolean {
    const text = this.#tail + this.decoder.push(token);
    this.#tail = text.slice(-(this.#longest - 1) || text.length);
    return this.stops.some((stop) => text.includes(stop));
  }
}

/**
 * Rows of different lengths as one batch: padded on the left, so that every row's newest token is in the
 * last column. Padding is a segment of its own and no row looks at it; positions start at each
 * row's first token.
 */
class PaddedBatch {
  readonly cache: (KvCache & { dispose(): void }) | null;
  readonly #capacity: number;
  #length = 0;
  #pads: readonly number[] = [];
  #segments: Tensor | null = null;

  constructor(
    private readonly model: LanguageModel,
    private readonly plan: GenerationPlan,
  ) {
    const { config, engine } = model;
    const longest = Math.max(...plan.prompts.map((p) => p.length));
    // The last token is never fed. Rounded up, so that prompts of similar length share shapes.
    this.#capacity = Math.ceil((longest + plan.maxNewTokens - 1) / 64) * 64;
    this.cache = plan.useCache
      ? new StaticKvCache(engine, {
          numLayers: config.numHiddenLayers,
          batchSize: plan.prompts.length,
          capacity: this.#capacity,
          numKeyValueHeads: config.numKeyValueHeads,
          headDim: config.headDim,
        })
      : null;
  }

  /** Whole rows -> the logits after each, [B, V]. */
  prefill(rows: readonly (readonly number[])[]): Tensor {
    const { engine } = this.model;
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

  /** One more token for each row -> the logits after it, [B, V]. */
  decode(tokens: readonly number[]): Tensor {
    const { engine } = this.model;
    const positions = this.#pads.map((pad) => this.#length - pad);
    this.#length++;
    const shape = [tokens.length, 1];
    return this.#lastLogits(
      engine.tensor(tokens, shape, 'int32'),
      engine.tensor(positions, shape, 'int32'),
    );
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
