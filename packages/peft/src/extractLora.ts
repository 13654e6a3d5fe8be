import { AttuneError, type LanguageModel, type Tensor } from '@attune/core';
import type { HostTensorData } from '@attune/core/io';
import type { GenerativeModel } from '@attune/core/models';
import type { LinearLike, Module } from '@attune/core/nn';
import { algebra, sameShape } from '@attune/core/tensor';
import { type OptionsInput, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import { PeftModel } from './model/peftModel.js';
import type { BaseOf } from './model/wrappedModel.js';
import { planFrom } from './plan/planFrom.js';
import { baseModules, original } from './slots/adapterSlot.js';

const extractShape = {
  /** Rank of every layer; a layer that is smaller has its own. Usual 8-128. */
  rank: z.number().meta({ aka: 'r maxrank' }),
  /** As in an adapter's config. Default "all-linear": every linear layer but the output head. */
  targetModules: z
    .union([z.string(), z.array(z.string()).readonly()])
    .default('all-linear')
    .meta({ aka: 'modules targets' }),
  /** What to call the adapter. Default "default". */
  adapterName: z.string().min(1).default('default').meta({ aka: 'name' }),
};
const extractOptions = z.strictObject(extractShape);

/** Options of {@link extractLora}. */
export type ExtractLoraOptions = OptionsInput<typeof extractShape>;

/** What the adapter holds of what was learned. */
export interface ExtractedLora<Base extends LanguageModel = GenerativeModel> {
  /** `base` with the adapter, active and frozen. */
  readonly model: PeftModel<Base>;
  /** For each layer |B A|² / |W' - W|²: 1 is all of it. A layer that did not change has 1. */
  readonly energy: ReadonlyMap<string, number>;
  /**
   * Parameters that differ and that the adapter does not hold: norms, embeddings, layers left out.
   */
  readonly leftOut: readonly string[];
}

/**
 * A full fine-tune as a LoRA adapter: W' - W ~ B A of rank r by singular values, B = U sqrt(S),
 * A = sqrt(S) V^T, loraAlpha = r. The nearest adapter of that rank in the Frobenius norm.
 *
 * @param base the model before, without adapters; the adapter is put on it
 * @param tuned the same model after training; it is only read
 * @throws UNKNOWN_OPTION, INVALID_OPTION; PEFT_OTHER_BASE when the models have other layers,
 *   PEFT_NO_TARGET, PEFT_CONFIG_INVALID
 * @see mergekit `scripts/extract_lora.py` with --distribute-scale
 */
export async function extractLora<M extends LanguageModel>(
  base: M,
  tuned: LanguageModel,
  options: ExtractLoraOptions,
): Promise<ExtractedLora<BaseOf<M>>> {
  const { rank, targetModules, adapterName } = parseOptions(extractOptions, options, {
    where: 'extractLora',
  });
  if (!Number.isInteger(rank) || rank < 1)
    throw new AttuneError('PEFT_CONFIG_INVALID', `extractLora: rank is ${rank}.`, {
      remedy: 'Give a positive integer, e.g. 16.',
    });
  const theirs = new Map(baseModules(tuned.root));
  const layers = targetsOf(base, targetModules);
  const tensors = new Map<string, HostTensorData>();
  const energy = new Map<string, number>();
  const rankPattern: Record<string, number> = {};
  for (const [path, layer] of layers) {
    const other = theirs.get(path) && original(theirs.get(path)!);
    const difference = await subtract(
      path,
      weightOf(layer),
      other && weightOf(other as LinearLike),
    );
    const factors = algebra.extractFactors(difference, { rank });
    const kept = factors.a.rows;
    if (kept < rank) rankPattern[path] = kept;
    energy.set(path, factors.energy);
    for (const side of ['a', 'b'] as const) {
      const name = `${path}.lora_${side.toUpperCase()}.weight`;
      const { rows, columns, data } = factors[side];
      const values = Float32Array.from(data);
      tensors.set(name, { name, dtype: 'float32', shape: [rows, columns], data: values });
    }
  }
  const leftOut = await otherDifferences(base.root, theirs, new Set(layers.keys()));
  const model = PeftModel.on(base);
  model.attachTensors(
    adapterName,
    {
      peftType: 'LORA',
      r: rank,
      loraAlpha: rank,
      rankPattern,
      // B A counts once in a smaller layer, too.
      alphaPattern: { ...rankPattern },
      targetModules: [...layers.keys()],
      inferenceMode: true,
    },
    tensors,
  );
  model.setAdapter(adapterName);
  return { model, energy, leftOut };
}

/** The layers that an adapter of these targets would have. */
function targetsOf(
  model: LanguageModel,
  targetModules: readonly string[] | string,
): Map<string, LinearLike> {
  const fields = { peftType: 'LORA', targetModules };
  const { slots } = planFrom(model, fields, { label: 'extractLora', isFile: false });
  const modules = new Map(baseModules(model.root));
  return new Map(
    slots
      .filter((slot) => slot.kind === 'layer')
      .map(({ path }) => [path, original(modules.get(path)!) as LinearLike]),
  );
}

const weightOf = (layer: Module): Tensor | undefined => layer.ownParameters.get('weight')?.tensor;

async function subtract(
  path: string,
  before: Tensor | undefined,
  after: Tensor | undefined,
): Promise<algebra.OwnDense> {
  if (!before || !after || !sameShape(before.shape, after.shape))
    throw new AttuneError(
      'PEFT_OTHER_BASE',
      `extractLora: "${path}" is ${before ? `[${before.shape}]` : 'no plain weight'} in the base and ${after ? `[${after.shape}]` : 'none'} in the tuned model.`,
      { remedy: 'Give the model that the tuned one was trained from, neither of them quantised.' },
    );
  const [rows, columns] = before.shape as [number, number];
  const [a, b] = [await valuesOf(after), await valuesOf(before)];
  const data = Float64Array.from(a, (value, i) => value - b[i]!);
  return { rows, columns, data };
}

const valuesOf = async (tensor: Tensor) => {
  const { engine } = tensor;
  const copy = engine.noGrad(() => engine.scope('extract', () => tensor.cast('float32').mul(1)));
  try {
    return await copy.data();
  } finally {
    copy.dispose();
  }
};

async function otherDifferences(
  root: Module,
  theirs: ReadonlyMap<string, Module>,
  held: ReadonlySet<string>,
): Promise<string[]> {
  const names: string[] = [];
  for (const [path, module] of baseModules(root))
    for (const [name, parameter] of original(module).ownParameters) {
      if (name === 'weight' && held.has(path)) continue;
      const other = theirs.get(path);
      const after = other && original(other).ownParameters.get(name)?.tensor;
      if (!after || !(await areEqual(parameter.tensor, after)))
        names.push(path ? `${path}.${name}` : name);
    }
  return names;
}

async function areEqual(a: Tensor, b: Tensor): Promise<boolean> {
  if (!sameShape(a.shape, b.shape)) return false;
  const [x, y] = [await valuesOf(a), await valuesOf(b)];
  return x.every((value, i) => value === y[i]);
}
