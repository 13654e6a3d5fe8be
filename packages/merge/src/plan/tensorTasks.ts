import type { InputSlice, MergeConfig } from '../config/mergeConfig.js';
import {
  type ParameterProblems,
  type ParameterRequest,
  resolveParameters,
} from '../config/resolveParameters.js';
import type { MergeMethod } from '../contract/mergeMethod.js';
import type {
  StoredTensor,
  TensorInput,
  TensorSource,
  TensorTask,
} from '../contract/tensorTask.js';
import type { MergeProblems } from '../problems.js';
import type { VocabularyRows } from '../tokenizer/outputTokenizer.js';
import { isFloat } from './checkTensors.js';
import { dtypesOf, promoted } from './dtypes.js';
import type { PlannedInput, PlannedTensor } from './plannedTensors.js';
import { hasVocabularyRows } from './tensorNames.js';

/** What tasks are made with. */
export interface TaskSettings {
  readonly config: MergeConfig;
  readonly method: MergeMethod;
  readonly parity: 'float32' | 'mergekit';
  /** Rows of the tables of tokens; null: the first ones, as many as all have. */
  readonly rows: VocabularyRows | null;
}

/** Where what is wrong goes. */
export interface TaskProblems {
  readonly parameters: ParameterProblems;
  readonly others: MergeProblems;
}

/** A task and what its parameters were resolved from. */
export interface PlannedTask {
  readonly task: TensorTask;
  /** null: it has no parameters. */
  readonly request: ParameterRequest | null;
}

/**
 * What is done for a tensor: its sources, its parameters, what it is computed in and written as.
 * Integers are copied; whether they are equal shows when they are read.
 */
export function tensorTask(
  planned: PlannedTensor,
  settings: TaskSettings,
  problems: TaskProblems,
): PlannedTask {
  const { name, inputs, section } = planned;
  const { config, method, parity, rows } = settings;
  const tensors = inputs.map(({ tensor }) => tensor!);
  const table = hasVocabularyRows(planned.template) && tensors[0]!.shape.length > 0;
  const numRows = rows?.numRows ?? Math.min(...tensors.map(({ shape }) => shape[0]!));
  const shape = table ? [numRows, ...tensors[0]!.shape.slice(1)] : tensors[0]!.shape;
  if (table && rows) refuseAdaptedRows(planned, problems.others);
  const sources =
    table && rows
      ? rows.sourcesOf(
          inputs.map(({ source, tensor }) => ({
            model: source.model.reference.key,
            tensor: withoutName(tensor!),
          })),
          section.base?.key ?? null,
          problems.others,
        )
      : inputs.map((input) => sourceOf(input, shape, parity));
  const taskInputs = inputs.map(
    ({ source, name: inputName }, k): TensorInput => ({
      model: source.model.reference.key,
      name: inputName,
      source: sources[k]!,
    }),
  );
  const base = inputs.findIndex(({ source }) => source.model.reference.key === section.base?.key);
  const baseIndex = base < 0 ? null : base;
  const dtypes = tensors.map(({ dtype }) => dtype);
  if (!isFloat(dtypes[0]!)) {
    const copied = { method: null, parameters: {}, arithmetic: 'float32' as const };
    const task = { name, shape, dtype: dtypes[0]!, ...copied, inputs: taskInputs, baseIndex };
    return { task, request: null };
  }
  const request: ParameterRequest = {
    config,
    module: section.module,
    slice: section.slice ?? wholeSlice(planned),
    inputs: inputs.map(({ source, name: inputName }) => ({
      model: source.model.reference,
      name: inputName,
    })),
    outputName: name,
    baseModel: section.base,
    t: planned.t,
  };
  const task: TensorTask = {
    name,
    shape,
    ...dtypesOf(config, dtypes, parity),
    method: method.name,
    parameters: resolveParameters(method, request, problems.parameters),
    inputs: taskInputs,
    baseIndex,
  };
  return { task, request };
}

/** Whole models as one slice, as mergekit has them. */
function wholeSlice({ section }: PlannedTensor): ParameterRequest['slice'] {
  const { module } = section;
  if (!('models' in module)) return null;
  const sources = module.models.map((input): InputSlice => ({ ...input, layerRange: [0, 0] }));
  return { sources, parameters: {} };
}

/** What an adapter adds has the rows of its base, in their order. */
function refuseAdaptedRows({ name, inputs }: PlannedTensor, problems: MergeProblems): void {
  for (const { source, tensor } of inputs) {
    const { opened, reference } = source.model;
    if (!opened.adapter?.names.has(tensor!.name)) continue;
    problems.add({
      message: `the adapter of ${reference.key} changes ${name}, whose rows are put into another order.`,
      remedy: 'Merge the adapter into its base first, and name the model that comes out.',
      path: source.path,
    });
  }
}

const withoutName = ({ name: _, ...stored }: StoredTensor & { readonly name: string }) => stored;

/** A tensor of a file, of which the first rows are taken; with what an adapter adds. */
function sourceOf(
  { source, tensor }: PlannedInput,
  shape: readonly number[],
  parity: TaskSettings['parity'],
): TensorSource {
  const { name, ...stored } = tensor!;
  const { adapter } = source.model.opened;
  const delta = adapter?.names.get(name);
  const own: StoredTensor = { ...stored, shape };
  if (!adapter || delta === undefined) return { kind: 'file', tensor: own };
  const dtype = promoted([stored.dtype]);
  // mergekit saves the merged model, and reads it again: in the dtype of the base.
  const round = parity === 'mergekit' && dtype !== 'float32' ? dtype : null;
  return { kind: 'adapted', tensor: own, adapter: adapter.folder, name: delta, round };
}
