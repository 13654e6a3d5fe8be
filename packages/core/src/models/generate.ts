import { cast } from '../tensor/ops/elementwise.js';
import { concat } from '../tensor/ops/movement.js';
import { argmax as deviceArgmax, sum } from '../tensor/ops/reduce.js';
import type { Tensor } from '../tensor/tensor.js';
import { AutoTokenizer } from '../tokenizer/autoTokenizer.js';
import type { DecodeStream } from '../tokenizer/decodeStream.js';
import { AttuneError } from '../util/errors.js';
import { Rng } from '../util/rng.js';
import { BeamSearch, type Ending } from './beamSearch.js';
import {
  type GenerateOptions,
  type GenerateOutput,
  type GenerationPlan,
  planGeneration,
} from './generateOptions.js';
import type { LanguageModel } from './languageModel.js';
import { PaddedBatch } from './paddedBatch.js';
import {
  applyLogSoftmax,
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
  return withRowAdapters(model, plan, async () => {
    if (plan.numBeams > 1) return beamGenerate(model, plan, options);
    const rows = await newRows(model, plan, options);
    for await (const _ of steps(model, plan, rows, options.signal));
    return {
      sequences: rows.map((row) => row.ids),
      finishReasons: rows.map((row) => row.finished ?? 'length'),
    };
  });
}

/** Every beam of a prompt has the prompt's adapter. */
function withRowAdapters<T>(model: LanguageModel, plan: GenerationPlan, fn: () => T): T {
  const { adapterNames, numBeams } = plan;
  if (!adapterNames) return fn();
  const names = adapterNames.flatMap((name) => Array<string>(numBeams).fill(name));
  const { adapters } = model;
  if (adapters?.withAdapterPerRow) return adapters.withAdapterPerRow(names, fn);
  throw new AttuneError(
    'GENERATE_OPTION',
    'generate: adapterNames were given, and the model has no adapters.',
    { remedy: 'Load them first: PeftModel.fromPretrained(model, folder, { adapterName }).' },
  );
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
  if (plan.adapterNames)
    throw new AttuneError(
      'GENERATE_OPTION',
      'generateStream: adapterNames choose an adapter for each prompt of a batch; it continues one prompt.',
      { remedy: 'Call setAdapter(name) before.' },
    );
  if (plan.numBeams > 1)
    throw new AttuneError(
      'GENERATE_OPTION',
      'generateStream: beams are chosen at the end, so there is nothing to stream.',
      { remedy: 'Call generate, or leave numBeams out.' },
    );
  const rows = await newRows(model, plan, options);
  for await (const [token] of steps(model, plan, rows, options.signal)) yield token!;
}

async function newRows(
  model: LanguageModel,
  plan: GenerationPlan,
  options: GenerateOptions,
): Promise<Row[]> {
  const { stops, tokenizer } = await stopStrings(model, options);
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

async function stopStrings(model: LanguageModel, options: GenerateOptions) {
  const stops = [options.stopStrings ?? []].flat().filter((s) => s !== '');
  const tokenizer = stops.length ? (options.tokenizer ?? (await ownTokenizer(model))) : null;
  return { stops, tokenizer };
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
            step > 0 && batch.cacheServes
              ? batch.decode(next)
              : batch.prefill(rows.map((r) => r.ids));
          return engine.keep(isGreedy(plan) ? bestAndSize(logits) : logits);
        }),
      );
      const values = await readAndDispose(scores);
      next = rows.map((row, r) => {
        if (row.finished) return plan.padTokenId;
        if (isGreedy(plan)) checkLogits(values[rows.length + r]!, r, step);
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

/**
 * [B, V] -> [2 B]: the best token of each row, then each row's sum of squares, which is finite where all
 * of its logits are: a comparison on the device need not know NaN. Numbers of tokens are exact in float32.
 */
const bestAndSize = (logits: Tensor): Tensor =>
  concat([cast(deviceArgmax(logits), 'float32'), sum(logits.square(), -1)], 0);

/**
 * @param size a sum over the logits of a row @param step new tokens before this one
 * @throws GENERATE_NON_FINITE
 */
function checkLogits(size: number, prompt: number, step: number): void {
  if (Number.isFinite(size)) return;
  throw new AttuneError(
    'GENERATE_NON_FINITE',
    `generate: the logits of prompts[${prompt}] are not finite (NaN or infinity) at new token ${step + 1}.`,
    {
      remedy:
        'The weights are not finite, or the model overflows: load it from a checkpoint that is whole, or with dtype "float32".',
      details: { prompt, step },
    },
  );
}

/** Row r of [B, V] in float64. @throws GENERATE_NON_FINITE */
function scoresOf(
  logits: ArrayLike<number>,
  width: number,
  r: number,
  prompt: number,
  step: number,
): Float64Array {
  const scores = Float64Array.from({ length: width }, (_, i) => logits[r * width + i]!);
  checkLogits(
    scores.reduce((size, score) => size + Math.abs(score), 0),
    prompt,
    step,
  );
  return scores;
}

async function readAndDispose(tensor: Tensor): Promise<ArrayLike<number>> {
  try {
    return await tensor.data();
  } finally {
    tensor.dispose();
  }
}

function chooseToken(logits: ArrayLike<number>, r: number, row: Row, plan: GenerationPlan): number {
  const width = logits.length / plan.prompts.length;
  const scores = scoresOf(logits, width, r, r, row.ids.length - row.prompt.length);
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

/** Beam search: every prompt is `numBeams` rows of the batch. */
async function beamGenerate(
  model: LanguageModel,
  plan: GenerationPlan,
  options: GenerateOptions,
): Promise<GenerateOutput> {
  const { engine } = model;
  const { numBeams, eosTokenIds } = plan;
  const { stops, tokenizer } = await stopStrings(model, options);
  const endingOf = (ids: readonly number[]): Ending => {
    if (eosTokenIds.has(ids.at(-1)!)) return 'eos';
    const text = tokenizer?.decode(ids, { skipSpecialTokens: false });
    if (text !== undefined && stops.some((stop) => text.includes(stop))) return 'stop';
    return ids.length === plan.maxNewTokens ? 'length' : null;
  };
  const searches = plan.prompts.map(
    () => new BeamSearch({ ...plan, numEosTokens: eosTokenIds.size }),
  );
  const rowsOf = (prompt: readonly number[], p: number) =>
    searches[p]!.running.map((beam) => [...prompt, ...beam.ids]);
  const wasTraining = model.root.training;
  if (wasTraining) model.root.eval();
  const repeated = plan.prompts.flatMap((prompt) => Array<typeof prompt>(numBeams).fill(prompt));
  const batch = new PaddedBatch(model, { ...plan, prompts: repeated });
  try {
    for (let step = 0; step < plan.maxNewTokens; step++) {
      options.signal?.throwIfAborted();
      const rows = plan.prompts.flatMap(rowsOf);
      const logits = engine.noGrad(() =>
        engine.scope('generate', () =>
          engine.keep(
            step > 0 && batch.cacheServes
              ? batch.decode(rows.map((row) => row.at(-1)!))
              : batch.prefill(rows),
          ),
        ),
      );
      const values = await readAndDispose(logits);
      const width = values.length / rows.length;
      const logProbs = rows.map((row, r) => {
        const scores = scoresOf(values, width, r, Math.floor(r / numBeams), step);
        applyLogSoftmax(scores);
        if (plan.repetitionPenalty !== 1)
          applyRepetitionPenalty(scores, row, plan.repetitionPenalty);
        return scores;
      });
      const from = searches.flatMap((search, p) =>
        search
          .step(logProbs.slice(p * numBeams, (p + 1) * numBeams), endingOf)
          .map((beam) => p * numBeams + beam),
      );
      if (
        !searches.some((search) => search.canImprove) ||
        (plan.earlyStopping === true && searches.every((search) => search.isFull)) ||
        searches.every((search) => search.hasStopped)
      )
        break;
      batch.reorder(from);
    }
  } finally {
    batch.dispose();
    if (wasTraining) model.root.train();
  }
  const best = searches.map((search) => search.best.slice(0, plan.numReturnSequences));
  return {
    sequences: best.flatMap((beams, p) => beams.map(({ ids }) => [...plan.prompts[p]!, ...ids])),
    finishReasons: best.flatMap((beams) => beams.map(({ ending }) => ending ?? 'length')),
    sequencesScores: best.flatMap((beams) => beams.map(({ score }) => score)),
  };
}
