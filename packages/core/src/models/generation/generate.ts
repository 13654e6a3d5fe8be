import { AttuneError } from '../../util/errors.js';
import type { LanguageModel } from '../languageModel.js';
import { BeamSearch, type Ending } from './beamSearch.js';
import type { GenerateOptions, GenerateOutput } from './generateOptions.js';
import { PaddedBatch } from './paddedBatch.js';
import { applyLogSoftmax } from './penalties.js';
import { type GenerationPlan, planGeneration } from './planGeneration.js';
import { processorsOf } from './processorList.js';
import { newRows, stopTokenizer, timer } from './rows.js';
import { scoresOf } from './scores.js';
import { readAndDispose, steps } from './steps.js';

export type { GenerateOptions, GenerateOutput, Ids, IdsTensor } from './generateOptions.js';

/** Continues prompts. See {@link GenerateOptions}. The model runs in eval mode meanwhile. */
export async function generate(
  model: LanguageModel,
  options: GenerateOptions,
): Promise<GenerateOutput> {
  const plan = await planGeneration(model, options);
  return withRowAdapters(model, plan, async () => {
    if (plan.numBeams > 1) return beamGenerate(model, plan, options);
    const rows = await newRows(model, plan, options);
    const { signal } = options;
    for await (const _ of steps(model, plan, rows, { signal, isWatched: false }));
    return {
      sequences: rows.map((row) => row.ids),
      finishReasons: rows.map((row) => row.finished ?? 'length'),
      ...(plan.logProbs && { logProbs: rows.map((row) => row.logProbs) }),
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
  if (plan.logProbs)
    throw new AttuneError(
      'GENERATE_OPTION',
      'generateStream: returnLogProbs was given; it yields tokens and nothing else.',
      { remedy: 'Call generate, or leave returnLogProbs out.' },
    );
  const rows = await newRows(model, plan, options);
  const { signal } = options;
  for await (const [token] of steps(model, plan, rows, { signal, isWatched: true })) yield token!;
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
  const batch = new PaddedBatch(model, { ...plan, prompts: repeated }, repeated.length);
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
