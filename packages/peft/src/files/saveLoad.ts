import {
  AttuneError,
  finishSave,
  formatShape,
  type HostTensorData,
  type JsonValue,
  type LanguageModel,
  type ModelConfig,
  type Module,
  nameInNested,
  readJsonFile,
  SafetensorsFile,
  sameShape,
  saveWhole,
  type TensorToWrite,
  writeFileAtomic,
  writeSafetensors,
} from '@attune/core';
import { join, lstat, readFile } from '@attune/core/platform';
import { formatPeftConfig, type PeftConfig } from '../contract/config.js';
import type { PeftMethod } from '../contract/definePeftMethod.js';
import type { AdapterPlan } from '../plan/planAdapter.js';
import { encoderName, isEncoderIn, PROMPT_EMBEDDINGS } from '../slots/promptSlot.js';
import { carriedWeights, checkCarriedWeights } from './carriedWeights.js';
import { mismatch, WrittenTensors } from './writtenTensors.js';

const CONFIG_FILE = 'adapter_config.json';
const WEIGHTS_FILE = 'adapter_model.safetensors';
/** Ours alone: what training on needs where the virtual tokens of a file are computed. */
const ENCODER_FILE = 'prompt_encoder.safetensors';

/** How PEFT's own wrappers call the base model: where virtual tokens are all there is, it has one less. */
const prefixOf = (method: PeftMethod): string =>
  method.prompt ? 'base_model.' : 'base_model.model.';

/** A name within the base model as files have it. What belongs to no layer (VeRA's matrices) has no path. */
export function nameInFile(method: PeftMethod, name: string): string {
  if (name === PROMPT_EMBEDDINGS) return name;
  return name.includes('.') ? prefixOf(method) + name : `base_model.${name}`;
}

/** What is written of a parameter. */
export interface SavedTensor {
  readonly shape: readonly number[];
  readonly tensor: { data(): Promise<ArrayLike<number>> };
}

export interface WriteAdapterOptions {
  /** The config that the adapter was loaded with: numbers that are the same are spelt as there. */
  readonly like?: JsonValue | undefined;
  /** Read the files back and compare them with what was meant. */
  readonly verify: boolean;
  /** What writes tensors to a path. Default writeSafetensors. */
  readonly writeTensors?: (path: string, tensors: readonly TensorToWrite[]) => Promise<void>;
}

/**
 * Writes an adapter's folder as PEFT does. It takes the place of an earlier one as a whole, or, on
 * an error, not at all. Parameters of an encoder of virtual tokens go into a file beside PEFT's.
 *
 * @throws PEFT_SAVE_MISMATCH
 */
export async function writeAdapter(
  folder: string,
  method: PeftMethod,
  config: PeftConfig,
  parameters: ReadonlyMap<string, SavedTensor>,
  { verify, like, writeTensors = writeSafetensors }: WriteAdapterOptions,
): Promise<void> {
  const write = async (
    temporary: string,
    file: string,
    named: readonly (readonly [string, SavedTensor])[],
  ) => {
    const path = join(temporary, file);
    const written = new WrittenTensors();
    const tensors = named.map(([name, { shape, tensor }]): TensorToWrite => {
      const data = async () => (await tensor.data()) as Float32Array;
      const own: TensorToWrite = { name, dtype: 'float32', shape, data };
      return verify ? written.watch(own) : own;
    });
    await writeTensors(path, tensors);
    if (verify) await written.compare(path, join(folder, file));
  };
  const all = [...parameters];
  const encoder = all.filter(([name]) => isEncoderIn([name]));
  const others = all.filter(([name]) => !isEncoderIn([name]));
  const text = formatPeftConfig(method, { ...config, inferenceMode: true }, like);
  await saveWhole(folder, async (temporary) => {
    await write(
      temporary,
      WEIGHTS_FILE,
      others.map(([name, tensor]) => [nameInFile(method, name), tensor] as const),
    );
    if (encoder.length > 0) await write(temporary, ENCODER_FILE, encoder);
    const path = join(temporary, CONFIG_FILE);
    await writeFileAtomic(path, text);
    if (verify && (await readFile(path, 'utf8')) !== text)
      throw mismatch(join(folder, CONFIG_FILE), 'is not the config that was written');
  });
}

/** Where the adapter of a name lies below a folder: the default one in it, others in one of their own. */
export const adapterFolder = (folder: string, adapter: string): string =>
  adapter === 'default' ? folder : join(folder, adapter);

/** Whether a folder holds an adapter. */
export async function hasAdapter(folder: string): Promise<boolean> {
  await finishSave(folder);
  return exists(join(folder, CONFIG_FILE));
}

export interface AdapterConfigFile {
  readonly path: string;
  readonly fields: Record<string, unknown>;
  /** How they are spelt. */
  readonly source: JsonValue;
}

/**
 * Reads adapter_config.json, unchecked.
 *
 * @throws PEFT_ADAPTER_MISSING, CONFIG_INVALID
 */
export async function readAdapterConfig(folder: string): Promise<AdapterConfigFile> {
  await finishSave(folder);
  const path = join(folder, CONFIG_FILE);
  const file = await readJsonFile(path, { optional: true });
  if (file) return { path, fields: file.value, source: file.source };
  const unfinished = await exists(join(folder, WEIGHTS_FILE));
  throw new AttuneError('PEFT_ADAPTER_MISSING', `${folder} has no ${CONFIG_FILE}.`, {
    remedy: unfinished
      ? `There is an ${WEIGHTS_FILE}: the folder was not written to its end, or not copied whole.`
      : 'Give the folder that savePretrained (or PEFT) wrote.',
  });
}

/**
 * Reads an adapter's tensors and checks them against the model: all of them, no others, these shapes.
 *
 * @returns tensors by their names in the base model
 * @throws PEFT_ADAPTER_INCOMPLETE, PEFT_OTHER_BASE, PEFT_TENSOR_UNKNOWN, PEFT_BASE_CHANGED, SAFETENSORS_...
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
    for (const name of plan.tensors.keys())
      tensors.set(name, await file.read(stored.get(nameInFile(plan.method, name))!));
    return tensors;
  } finally {
    await file.close();
  }
}

/**
 * Reads the parameters of the encoder that made an adapter's virtual tokens; none where there is no encoder.
 *
 * @returns tensors by the names that PromptSlot has for them
 * @throws PEFT_NOT_TRAINABLE without the file; PEFT_ADAPTER_INCOMPLETE
 */
export async function readEncoder(
  folder: string,
  { prompt, method }: AdapterPlan,
): Promise<Map<string, HostTensorData>> {
  const tensors = new Map<string, HostTensorData>();
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
    for (const [own, spec] of Object.entries(prompt.specs)) {
      const name = encoderName(own, spec);
      const found = file.has(name) ? file.info(name).shape : null;
      if (!found || !sameShape(found, spec.shape))
        throw new AttuneError(
          'PEFT_ADAPTER_INCOMPLETE',
          `${path}: ${name} is ${found ? formatShape(found) : 'missing'}, the config asks for ${formatShape(spec.shape)}.`,
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
 * The shapes of an adapter's tensors by their names in the file, from its header alone.
 *
 * @throws PEFT_ADAPTER_INCOMPLETE, SAFETENSORS_...
 */
export async function readAdapterShapes(
  folder: string,
): Promise<ReadonlyMap<string, readonly number[]>> {
  const file = await openWeights(folder);
  await file.close();
  return new Map(file.names.map((name) => [name, file.info(name).shape]));
}

async function openWeights(folder: string): Promise<SafetensorsFile> {
  const path = join(folder, WEIGHTS_FILE);
  if (!(await exists(path))) throw await noWeights(folder);
  return SafetensorsFile.open(path);
}

/**
 * Names as PEFT writes them -> names in a file. They are the same, but for models that nest their text model: files
 * of before transformers 5 have its old names, which PEFT reads too.
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
  const expected = [...plan.tensors];
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

async function noWeights(folder: string): Promise<AttuneError> {
  const pickled = await exists(join(folder, 'adapter_model.bin'));
  return new AttuneError(
    'PEFT_ADAPTER_INCOMPLETE',
    `${folder} has ${CONFIG_FILE} but no ${WEIGHTS_FILE}.`,
    {
      remedy: pickled
        ? 'adapter_model.bin is a pickle, which can run code, so it is not read: save it with safe_serialization=True in Python.'
        : 'Copy or download the whole folder.',
    },
  );
}

/** Anything of this name: what is no file is then refused as what it is. */
const exists = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );
