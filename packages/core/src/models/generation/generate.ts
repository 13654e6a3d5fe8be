import { argmax, sample } from '../../tensor/sampling.js';
import type { Tensor } from '../../tensor/tensor.js';
import { AutoTokenizer } from '../../tokenizer/autoTokenizer.js';
import type { DecodeStream } from '../../tokenizer/decodeStream.js';
import { AttuneError } from '../../util/errors.js';
import { Rng } from '../../util/rng.js';
import type { LanguageModel } from '../languageModel.js';
import { BeamSearch, type Ending } from './beamSearch.js';
import type { GenerateOptions, GenerateOutput } from './generateOptions.js';
import type { LogitsProcessor, Place } from './logitsProcessors.js';
import { PaddedBatch } from './paddedBatch.js';
import { applyLogSoftmax } from './penalties.js';
import { type GenerationPlan, planGeneration } from './planGeneration.js';
import { processorsOf } from './processorList.js';
import { bestAndSum, checkLogits, scoresOf } from './scores.js';

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
  const tokenizer = await stopTokenizer(model, plan, options);
  return plan.prompts.map((prompt, row) => ({
    prompt,
    ids: [...prompt],
    rng: new Rng(plan.seed, samplingStream + row),
    text: tokenizer
      ? new StopWatch(plan.stopStrings, tokenizer.createDecodeStream({ skipSpecialTokens: false }))
      : null,
    finished: null,
  }));
}

/** Reads the stop strings; null where there are none. */
const stopTokenizer = async (
  model: LanguageModel,
  plan: GenerationPlan,
  options: GenerateOptions,
) => (plan.stopStrings.length > 0 ? (options.tokenizer ?? (await ownTokenizer(model))) : null);

/** Whether the time of a plan is over, from now on. */
function timer({ maxTime }: GenerationPlan): () => boolean {
  const start = performance.now();
  return () => maxTime !== null && performance.now() - start > 1000 * maxTime;
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
  const { rules } = plan;
  const processors = processorsOf(plan);
  // Nothing to do on the host: the device chooses, and a number a row is all that is read.
  const isPlain = !plan.doSample && processors.length === 0;
  const isTimeOver = timer(plan);
  const longest = Math.max(...plan.prompts.map((prompt) => prompt.length));
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
          return engine.keep(isPlain ? bestAndSum(logits) : logits);
        }),
      );
      const values = await readAndDispose(scores);
      const isLate = isTimeOver();
      next = rows.map((row, r) => {
        if (row.finished) return plan.padTokenId;
        if (isPlain) checkLogits(values[rows.length + r]!, r, step);
        const token = isPlain
          ? values[r]!
          : chooseToken(
              scoresOf(values, rows.length, r, { prompt: r, step, rules }),
              processors,
              row,
              plan,
              {
                ids: row.ids,
                prompt: row.prompt,
                step,
                length: longest + step,
              },
            );
        row.ids.push(token);
        row.finished = reasonToStop(row, token, plan) ?? (isLate ? 'time' : null);
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

async function readAndDispose(tensor: Tensor): Promise<ArrayLike<number>> {
  try {
    return await tensor.data();
  } finally {
    tensor.dispose();
  }
}

/** @throws GENERATE_NO_TOKEN when every token is ruled out */
function chooseToken(
  scores: Float64Array,
  processors: readonly LogitsProcessor[],
  row: Row,
  plan: GenerationPlan,
  place: Place,
): number {
  for (const process of processors) process(scores, place);
  const best = argmax(scores);
  if (scores[best] === Number.NEGATIVE_INFINITY)
    throw new AttuneError(
      'GENERATE_NO_TOKEN',
      `generate: after ${place.step} new tokens every token is ruled out.`,
      {
        remedy:
          'Rule out less: suppressTokens, badWordsIds, noRepeatNgramSize and minNewTokens work together.',
      },
    );
  return plan.doSample ? sample(scores, row.rng) : best;
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
  const processors = processorsOf(plan);
  const tokenizer = await stopTokenizer(model, plan, options);
  const isTimeOver = timer(plan);
  const longest = Math.max(...plan.prompts.map((prompt) => prompt.length));
  let isLate = false;
  const endingOf = (ids: readonly number[]): Ending => {
    if (eosTokenIds.has(ids.at(-1)!)) return 'eos';
    const text = tokenizer?.decode(ids, { skipSpecialTokens: false });
    if (text !== undefined && plan.stopStrings.some((stop) => text.includes(stop))) return 'stop';
    if (ids.length === plan.maxNewTokens) return 'length';
    return isLate ? 'time' : null;
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
      isLate = isTimeOver();
      const logProbs = rows.map((ids, r) => {
        const scores = scoresOf(values, rows.length, r, {
          prompt: Math.floor(r / numBeams),
          step,
          rules: plan.rules,
        });
        applyLogSoftmax(scores);
        const prompt = repeated[r]!;
        for (const process of processors)
          process(scores, { ids, prompt, step, length: longest + step });
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
