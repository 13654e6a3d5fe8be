import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AttuneError } from '@attune/core';
import { writeFolderAtomic } from '@attune/core/io';
import type { algebra } from '@attune/core/tensor';
import { type OptionsInput, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import type { ModelReference } from '../config/mergeConfig.js';
import { ReferenceFault, readModelReference } from '../config/modelReference.js';
import { checkReplaceable, resolveTarget } from '../execute/stagingFolder.js';
import { ModelOpener, type OpenedModel } from '../inputs/openModel.js';
import { attuneOption, hubOfModels, outputFolder } from '../options.js';
import { isEmbedding } from '../plan/tensorNames.js';
import { type ExtractedAdapter, energyOf, notesOn } from './extractedAdapter.js';
import { Extraction } from './extraction.js';
import { FactorStore } from './factorStore.js';
import { ModelWeights } from './modelWeights.js';
import { kindOf, moduleOf, type Place, placer } from './targets.js';
import { pairTensors, type TensorPair } from './tensorPairs.js';

const names = z.array(z.string().min(1)).readonly();
const isFunction = (value: unknown) => typeof value === 'function';

/** How far an extraction is. */
export interface ExtractProgress {
  /** The tensor that was done last. */
  readonly name: string;
  readonly tensorsDone: number;
  readonly tensorsTotal: number;
}

const extractShape = {
  /** The model before training: a folder or a Hub id, as path@revision+adapter@revision. */
  baseModel: z.string().min(1).meta({ aka: 'base basemodelnameorpath' }),
  /** The same model after training. */
  model: z.string().min(1).meta({ aka: 'tuned finetuned tunedmodel' }),
  /** The folder to write. It is there whole in the end, or not at all. */
  outputDir: outputFolder,
  /** Rank of every layer, where no `energy` is given. Usual 8-128. Default none. */
  rank: z.int().min(1).optional().meta({ aka: 'r' }),
  /**
   * Share of |W' - W|^2 that each layer is to hold, above 0 and up to 1: a layer has the smallest
   * rank that does. In the place of `rank`. Default none.
   */
  energy: z.number().gt(0).max(1).optional().meta({ aka: 'share' }),
  /** Largest rank where `energy` is given. Default 128, as mergekit's --max-rank. */
  maxRank: z.int().min(1).default(128),
  /**
   * With `energy`: every layer has the largest rank of all, because llama.cpp passes over
   * rank_pattern. With `rank` every layer has that rank anyway. Default false.
   */
  uniform: z.boolean().default(false),
  /**
   * Which layers, as in an adapter's config: "all-linear", names, or a regular expression for the
   * whole path. Default "all-linear": every linear layer but the output head.
   */
  targetModules: z
    .union([z.string().min(1), names])
    .default('all-linear')
    .meta({ aka: 'targets' }),
  /** Modules to leave out, in the same notation. Default none. */
  excludeModules: z
    .union([z.string().min(1), names])
    .default(() => [])
    .meta({ aka: 'exclude excluderegex' }),
  /** Embeddings and the head as LoRA, too. Default false. */
  embedLora: z.boolean().default(false).meta({ aka: 'embeddings' }),
  /**
   * Modules that are saved whole where they changed, by their names (["embed_tokens", "norm"]);
   * "changed": all that changed and has no LoRA. vLLM and llama.cpp read no such adapter. Default
   * none.
   */
  modulesToSave: z
    .union([z.literal('changed'), names])
    .default(() => [])
    .meta({ aka: 'savemodule' }),
  /** What the adapter is stored in. Default 'float32'. */
  dtype: z.enum(['float32', 'bfloat16', 'float16']).default('float32'),
  /** Replaces a folder that is there. Default false: it is an error. */
  overwrite: z.boolean().default(false).meta({ aka: 'force' }),
  /** An Attune with `peft()`, where a model is named with an adapter. Default none. */
  attune: attuneOption,
  /** How models that are no folders are found on the Hub. Default: as `fromPretrained` does. */
  hub: hubOfModels,
  /** Called after each tensor. Default: nobody is told. */
  onProgress: z
    .custom<(progress: ExtractProgress) => void>(isFunction, 'expected a function')
    .optional(),
  /** Stops it; nothing is written then. Default none. */
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal).optional(),
};
const extractOptions = z.strictObject(extractShape);

/** Options of {@link extractAdapter}. */
export type ExtractAdapterOptions = OptionsInput<typeof extractShape>;

type Options = z.output<typeof extractOptions>;

/**
 * A LoRA out of the difference of two checkpoints: W' - W ~ B A by singular values, B = U sqrt(S),
 * A = sqrt(S) V^T, lora_alpha = r, so that the scale is 1. Written as PEFT writes adapters. Memory
 * holds one tensor of each model and its difference; no device is needed.
 *
 * @returns what each layer holds, and what changed and is left out
 * @throws UNKNOWN_OPTION, INVALID_OPTION, MERGE_EXTRACT; MERGE_MODEL for quantised checkpoints;
 *   MERGE_OTHER_MODEL, MERGE_NO_DIFFERENCE, MERGE_NON_FINITE, MERGE_OUTPUT; CONFIG_...,
 *   WEIGHTS_..., SAFETENSORS_..., HUB_..., DISK_WRITE
 * @see mergekit `scripts/extract_lora.py`, --distribute-scale
 */
export async function extractAdapter(options: ExtractAdapterOptions): Promise<ExtractedAdapter> {
  const given = parseOptions(extractOptions, options, { where: 'extractAdapter' });
  const choice = rankChoice(given);
  const opener = new ModelOpener(given);
  const [base, tuned] = [
    await opener.open(reference('baseModel', given.baseModel)),
    await opener.open(reference('model', given.model)),
  ];
  await checkOutput(given, [base, tuned]);
  const { pairs, isTied } = pairTensors(base, tuned);
  const modelType = base.files.config.model_type;
  const place = placer(given, pairs, modelType);
  if (isTied) refuseTied(pairs, place);
  let found: Extraction | undefined;
  await writeFolderAtomic(given.outputDir, async (temporary) => {
    const scratch = join(temporary, 'factors.tmp');
    await using before = await ModelWeights.open(base, given);
    await using after = await ModelWeights.open(tuned, given);
    {
      await using store = await FactorStore.create(scratch);
      const { uniform, dtype } = given;
      const parts = { before, after, store, tuned: given.model };
      found = new Extraction({ rank: choice, uniform, dtype }, parts);
      for (const [i, pair] of pairs.entries()) {
        given.signal?.throwIfAborted();
        await found.take(pair, kindOf(pair, modelType), place(pair));
        given.onProgress?.({ name: pair.name, tensorsDone: i + 1, tensorsTotal: pairs.length });
      }
      refuseNothing(found, given);
      if (uniform) await found.level();
      const written = isTied ? found.untie(pairs) : pairs;
      await found.write(temporary, { name: given.baseModel, model: base }, written);
    }
    await rm(scratch);
  });
  const { layers, leftOut, wholeModules, rank } = found!;
  const result = {
    outputDir: given.outputDir,
    layers,
    rank,
    energy: energyOf(layers),
    savedWhole: [...wholeModules],
    leftOut,
  };
  return { ...result, notes: notesOn(result, given) };
}

/** @throws MERGE_NO_DIFFERENCE where an adapter would hold nothing */
function refuseNothing(
  { layers, wholeModules, leftOut }: Extraction,
  { model, baseModel }: Options,
): void {
  if (layers.length > 0) return;
  const [first] = leftOut;
  if (wholeModules.size > 0)
    throw new AttuneError(
      'MERGE_NO_DIFFERENCE',
      `${model} differs from ${baseModel} in modules that are saved whole, and in no layer that a LoRA would be of: PEFT loads no such adapter.`,
      { remedy: 'Give other targetModules, or use the tuned model itself.' },
    );
  throw new AttuneError(
    'MERGE_NO_DIFFERENCE',
    first
      ? `${model} differs from ${baseModel} in ${leftOut.length} tensors, and in none that the adapter would hold: "${first.name}" changed most.`
      : `${model} has the weights of ${baseModel}, every one of them.`,
    {
      remedy: first
        ? 'Give other targetModules, or modulesToSave: "changed".'
        : 'Give the base, and the model that was trained from it.',
    },
  );
}

function reference(option: string, given: string): ModelReference {
  const found = readModelReference(given);
  if (!(found instanceof ReferenceFault)) return found;
  throw wrong(`${option} "${given}" ${found.message}`, found.remedy);
}

const wrong = (found: string, remedy: string): AttuneError =>
  new AttuneError('MERGE_EXTRACT', `extractAdapter: ${found}.`, { remedy });

function rankChoice({ rank, energy, maxRank }: Options): algebra.RankChoice {
  if ((rank === undefined) === (energy === undefined))
    throw wrong(
      rank === undefined ? 'neither rank nor energy is given' : 'both rank and energy are given',
      'Give one: rank: 16, or energy: 0.9 with a maxRank.',
    );
  return rank === undefined ? { energy: energy!, maxRank } : { rank };
}

async function checkOutput(
  { outputDir, overwrite }: Options,
  models: readonly OpenedModel[],
): Promise<void> {
  const inputs = models.flatMap(({ files, adapter }) =>
    adapter ? [files.folder, adapter.folder] : [files.folder],
  );
  await checkReplaceable(await resolveTarget(outputDir, inputs), overwrite);
}

/** @throws MERGE_EXTRACT where a table would be adapted that the head reads, too */
function refuseTied(pairs: readonly TensorPair[], place: (pair: TensorPair) => Place): void {
  const tied = pairs.find(({ name }) => isEmbedding(name));
  if (tied && place(tied) === 'lora')
    throw wrong(
      `${moduleOf(tied.name)} is the output head too, and a LoRA of it would change one of the two`,
      'Leave it out of embedLora and targetModules; modulesToSave saves it whole.',
    );
}
