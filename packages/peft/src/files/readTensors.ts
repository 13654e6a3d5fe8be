import { AttuneError, type LanguageModel } from '@attune/core';
import { type HostTensorData, SafetensorsFile } from '@attune/core/io';
import { type ModelConfig, nameInNested } from '@attune/core/models';
import type { Module } from '@attune/core/nn';
import { join } from '@attune/core/platform';
import { formatShape, sameShape } from '@attune/core/tensor';
import { type AdapterPlan, plannedTensors } from '../plan/planAdapter.js';
import { exists, openWeights } from './adapterFolder.js';
import { carriedWeights, checkCarriedWeights } from './carriedWeights.js';
import { ENCODER_FILE, nameInFile, prefixOf } from './names.js';

/**
 * Reads an adapter's tensors and checks them against the model: all of them, no others, these
 * shapes.
 *
 * @returns tensors by their names in the base model
 * @throws PEFT_ADAPTER_INCOMPLETE, PEFT_OTHER_BASE, PEFT_TENSOR_UNKNOWN, PEFT_BASE_CHANGED,
 *   SAFETENSORS_...
 */
export async function readAdapterTensors(
  folder: string,
  plan: AdapterPlan,
  { root, config, attune }: LanguageModel,
): Promise<Map<string, HostTensorData>> {
  const file = await openWeights(folder);
  try {
    const { nested = null } = config;
    const stored = storedNames(file, plan, nested);
    const left = await checkNames(file, plan, root, { stored, towers: nested?.towers });
    if (left > 0)
      attune.logger.warn(
        `${file.path}: ${left} tensors adapt the towers beside the text model: they are left out, and not in what is saved of this adapter.`,
      );
    const tensors = new Map<string, HostTensorData>();
    for (const name of plannedTensors(plan).keys())
      tensors.set(name, await file.read(stored.get(nameInFile(plan.method, name))!));
    return tensors;
  } finally {
    await file.close();
  }
}

/**
 * Reads the parameters of the encoder that made an adapter's virtual tokens; none where there is no
 * encoder.
 *
 * @returns tensors by the names that PromptSlot has for them
 * @throws PEFT_NOT_TRAINABLE without the file; PEFT_ADAPTER_INCOMPLETE
 */
export async function readEncoder(
  folder: string,
  { slots, method }: AdapterPlan,
): Promise<Map<string, HostTensorData>> {
  const tensors = new Map<string, HostTensorData>();
  const prompt = slots.find((slot) => slot.kind === 'prompt');
  if (!prompt?.encoder) return tensors;
  const path = join(folder, ENCODER_FILE);
  if (!(await exists(path)))
    throw new AttuneError(
      'PEFT_NOT_TRAINABLE',
      `${folder} has what the encoder of ${method.peftType} gave, but no ${ENCODER_FILE}: the encoder cannot be trained on.`,
      {
        remedy:
          'Load it without isTrainable, or begin anew: PEFT does not keep the encoder, Attune writes it beside an adapter that is being trained.',
      },
    );
  const file = await SafetensorsFile.open(path);
  try {
    for (const { fileName, shape } of prompt.parameters) {
      const name = fileName!;
      const found = file.has(name) ? file.info(name).shape : null;
      if (!found || !sameShape(found, shape))
        throw new AttuneError(
          'PEFT_ADAPTER_INCOMPLETE',
          `${path}: ${name} is ${found ? formatShape(found) : 'missing'}, the config asks for ${formatShape(shape)}.`,
          { remedy: 'The file is damaged, or belongs to another config or base model.' },
        );
      tensors.set(name, await file.read(name));
    }
    return tensors;
  } finally {
    await file.close();
  }
}

/**
 * Names as PEFT writes them -> names in a file. They are the same, but for models that nest their
 * text model: files of before transformers 5 have its old names, which PEFT reads too.
 *
 * @throws PEFT_TENSOR_TWICE where a file has one tensor under both
 */
function storedNames(
  file: SafetensorsFile,
  { method }: AdapterPlan,
  nested: NonNullable<ModelConfig['nested']> | null,
): ReadonlyMap<string, string> {
  const prefix = prefixOf(method);
  const current = (name: string) =>
    nested && name.startsWith(prefix)
      ? prefix + nameInNested(name.slice(prefix.length), nested)
      : name;
  const stored = new Map<string, string>();
  for (const name of file.names) {
    const other = stored.get(current(name));
    if (other !== undefined)
      throw new AttuneError(
        'PEFT_TENSOR_TWICE',
        `${file.path} has both "${other}" and "${name}", which are one tensor of the adapter.`,
        { remedy: 'Save the adapter again, or remove the tensors of one of the two spellings.' },
      );
    stored.set(current(name), name);
  }
  return stored;
}

/** @returns how many tensors are of other towers, which are not there */
async function checkNames(
  file: SafetensorsFile,
  plan: AdapterPlan,
  root: Module,
  {
    stored,
    towers,
  }: { readonly stored: ReadonlyMap<string, string>; readonly towers: RegExp | undefined },
): Promise<number> {
  const expected = [...plannedTensors(plan)];
  const nameOf = (name: string) => nameInFile(plan.method, name);
  const has = (name: string) => stored.has(nameOf(name));
  const disagree = expected
    .filter(([name]) => has(name))
    .map(([name, shape]) => ({ name, shape, found: file.info(stored.get(nameOf(name))!).shape }))
    .filter(({ shape, found }) => !sameShape(shape, found));
  if (disagree.length > 0) {
    const shown = disagree
      .slice(0, 3)
      .map((d) => `${d.name} is ${formatShape(d.found)}, this model needs ${formatShape(d.shape)}`);
    throw new AttuneError(
      'PEFT_OTHER_BASE',
      `${file.path} does not fit this model in ${disagree.length} of ${expected.length} tensors: ${list(shown, disagree.length, '; ')}.`,
      {
        remedy: `Load it on the model that it was trained on${plan.config.baseModelNameOrPath ? `: ${plan.config.baseModelNameOrPath}` : ''}.`,
        details: { disagree },
      },
    );
  }
  const missing = expected.map(([name]) => name).filter((name) => !has(name));
  if (missing.length > 0)
    throw new AttuneError(
      'PEFT_ADAPTER_INCOMPLETE',
      `${file.path} lacks ${missing.length} of the ${expected.length} tensors that its config asks for on this model: ${list(missing.slice(0, 3), missing.length)}.`,
      {
        remedy: 'The file is damaged, or belongs to another config or base model.',
        details: { missing },
      },
    );
  const own = new Set(expected.map(([name]) => nameOf(name)));
  const prefix = prefixOf(plan.method);
  const isOfTower = (name: string) =>
    name.startsWith(prefix) && towers?.test(name.slice(prefix.length)) === true;
  const strange = [...stored.keys()].filter((name) => !own.has(name));
  const others = strange.filter((name) => !isOfTower(name));
  const carried = carriedWeights(root, others, prefix);
  const unknown = others.filter((name) => !carried.has(name));
  if (unknown.length > 0)
    throw new AttuneError(
      'PEFT_TENSOR_UNKNOWN',
      `${file.path} has ${unknown.length} tensors that its config gives no place to on this model: ${list(unknown.slice(0, 3), unknown.length)}.`,
      {
        remedy:
          'It was trained on another base model, or with options that its config does not name.',
        details: { unknown },
      },
    );
  const carriedInFile = [...carried].map(([name, at]) => [stored.get(name)!, at] as const);
  await checkCarriedWeights(file, new Map(carriedInFile));
  return strange.length - others.length;
}

const list = (shown: readonly string[], count: number, separator = ', '): string =>
  shown.join(separator) + (count > shown.length ? `${separator}...` : '');
