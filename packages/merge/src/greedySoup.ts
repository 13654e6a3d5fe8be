import { mkdtemp, realpath, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AttuneError } from '@attune/core';
import { isPlainObject, type OptionsInput, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import type { MergeConfigInput } from './config/mergeConfigInput.js';
import {
  type ModelReferenceInput,
  ReferenceFault,
  readModelReference,
} from './config/modelReference.js';
import { checkReplaceable, resolveTarget } from './execute/stagingFolder.js';
import { mergeModels, planMerge } from './mergeModels.js';
import { outputShape, runningShape } from './options.js';

const isFunction = (value: unknown) => typeof value === 'function';

const soupKeys = ['dtype', 'outDtype', 'tokenizer', 'tokenizerSource', 'chatTemplate'] as const;
const soupConfig: z.ZodType<SoupConfig, SoupConfig> = z.custom<SoupConfig>(
  (value) =>
    isPlainObject(value) &&
    Object.keys(value).every((key) => (soupKeys as readonly string[]).includes(key)),
  `expected an object with ${soupKeys.join(', ')} alone`,
);

const soupShape = {
  /** The models to choose from: folders, Hub ids, `base+adapter`. */
  models: z.custom<readonly ModelReferenceInput[]>(
    (value) => Array.isArray(value) && value.length > 0,
    'expected a list of models',
  ),
  /** The score of the model in a folder, on held-out data: an accuracy, a negative loss. */
  evaluate: z
    .custom<(folder: string) => number | Promise<number>>(isFunction, 'expected a function')
    .meta({ aka: 'score metric' }),
  /** Whether a lower score is better: a loss, a perplexity. Default false. */
  lowerIsBetter: z.boolean().default(false),
  /** What the merge of several takes beside its models: `dtype`, `tokenizer`. Default {}. */
  config: soupConfig.default(() => ({})),
  /** Called after each model was tried. Default: nobody is told. */
  onStep: z.custom<(step: SoupStep) => void>(isFunction, 'expected a function').optional(),
};

type SoupConfig = Pick<MergeConfigInput, (typeof soupKeys)[number]>;

const soupOptions = z.strictObject({ ...soupShape, ...runningShape, ...outputShape });

/** Options of {@link greedySoup}. */
export type GreedySoupOptions = OptionsInput<typeof soupShape> &
  OptionsInput<typeof runningShape> &
  OptionsInput<typeof outputShape>;

/** A model that was tried. */
export interface SoupStep {
  /** As the options name it. */
  readonly model: string;
  /** Its own score. */
  readonly score: number;
  /** The score of the mean of it and all that were kept before. */
  readonly soupScore: number;
  /** Whether it stays: the score of the mean didn't fall. */
  readonly isKept: boolean;
}

/** What a greedy soup became. */
export interface GreedySoup {
  /** The folder that was written, without links. */
  readonly outputDir: string;
  /** The score of the soup. */
  readonly score: number;
  /** The models in it, the best first. */
  readonly models: readonly string[];
  /** Every model, in the order in which it was tried: the best first. */
  readonly steps: readonly SoupStep[];
}

/**
 * Greedy soup: scores every model, and from the best on adds each to a uniform mean, where the
 * score of the mean does not fall.
 *
 *     soup = {}
 *     for each model, the best first:
 *       if score(mean(soup and model)) >= score(mean(soup)): soup = soup and model
 *
 * Means are those of `linear`, from the models themselves each time. For n models there are up to
 * 2n - 1 evaluations, and n merges: each beside `outputDir` and deleted again, then the one that is
 * there whole at the end. An error leaves nothing behind but what the last merge has written, from
 * which it goes on when it is called again; a process that is killed `.NAME.soup-...`.
 *
 * @example
 * const { score, models } = await greedySoup({
 *   models: ['run-1', 'run-2', 'run-3'],
 *   evaluate: (folder) => accuracy(folder, heldOut),
 *   outputDir: 'soup',
 * });
 *
 * @throws MERGE_INVALID where the models do not go together, before any is scored; MERGE_OUTPUT;
 *   MERGE_SCORE for a score that is no number; what `evaluate` throws
 * @see arXiv:2203.05482 (Wortsman et al., "Model soups"), recipe 1
 */
export async function greedySoup(options: GreedySoupOptions): Promise<GreedySoup> {
  const parsed = parseOptions(soupOptions, options, { where: 'greedySoup' });
  const { models: references, evaluate, lowerIsBetter, config, onStep, ...merging } = parsed;
  const { outputDir: output, overwrite: replaces, writeModelCard: hasCard, ...running } = merging;
  const mean = (models: readonly ModelReferenceInput[]): MergeConfigInput => ({
    ...config,
    mergeMethod: 'linear',
    models: models.map((model) => ({ model, parameters: { weight: 1 } })),
  });
  // What is wrong with models or output is known before hours of scoring.
  await planMerge(mean(references), { attune: running.attune, hub: running.hub });
  const inputs = references.map(nameOf);
  const folders = await Promise.all(references.map(folderOf));
  const target = await resolveTarget(
    output,
    folders.filter((folder) => folder !== null),
  );
  await checkReplaceable(target, replaces);

  const scratch = await mkdtemp(join(dirname(target), `.${basename(target)}.soup-`));
  const score = async (folder: string, what: string): Promise<number> => {
    running.signal?.throwIfAborted();
    const found = await evaluate(folder);
    if (typeof found === 'number' && !Number.isNaN(found)) return found;
    throw new AttuneError('MERGE_SCORE', `evaluate gave ${String(found)} for ${what}.`, {
      remedy: 'Return a number, the better the higher; with lowerIsBetter the lower.',
    });
  };
  /** The score of a mean, which is written for it and deleted. */
  const scoreMean = async (models: readonly ModelReferenceInput[], what: string) => {
    const folder = join(scratch, 'mean');
    try {
      await mergeModels(mean(models), { ...running, outputDir: folder, writeModelCard: false });
      return await score(folder, what);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };

  try {
    const scored: { model: ModelReferenceInput; name: string; score: number }[] = [];
    for (const [i, model] of references.entries()) {
      const [name, folder] = [inputs[i]!, folders[i]!];
      const own = folder === null ? scoreMean([model], name) : score(folder, name);
      scored.push({ model, name, score: await own });
    }
    const sign = lowerIsBetter ? -1 : 1;
    scored.sort((a, b) => sign * (b.score - a.score));

    const [best, ...others] = scored;
    let kept = [best!];
    let reached = best!.score;
    const steps: SoupStep[] = [];
    const tell = (step: SoupStep) => {
      steps.push(step);
      onStep?.(step);
    };
    tell({ model: best!.name, score: reached, soupScore: reached, isKept: true });
    for (const candidate of others) {
      const tried = [...kept, candidate];
      const soupScore = await scoreMean(
        tried.map(({ model }) => model),
        `the mean of ${tried.map(({ name }) => name).join(', ')}`,
      );
      const isKept = sign * soupScore >= sign * reached;
      if (isKept) [kept, reached] = [tried, soupScore];
      tell({ model: candidate.name, score: candidate.score, soupScore, isKept });
    }

    const merged = await mergeModels(mean(kept.map(({ model }) => model)), {
      ...running,
      outputDir: output,
      overwrite: replaces,
      writeModelCard: hasCard,
    });
    const models = kept.map(({ name }) => name);
    return { outputDir: merged.outputDir, score: reached, models, steps };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

const nameOf = (model: ModelReferenceInput): string => {
  const read = readModelReference(model);
  return read instanceof ReferenceFault ? String(model) : read.key;
};

/** The folder that holds a model as it is; null: it is on the Hub, or a base and an adapter. */
async function folderOf(model: ModelReferenceInput): Promise<string | null> {
  const read = readModelReference(model);
  if (read instanceof ReferenceFault || read.adapter || read.revision !== null) return null;
  const found = await stat(read.path).catch(() => null);
  return found?.isDirectory() ? realpath(read.path) : null;
}
