import { AttuneError } from '@attune/core';
import { briefly, camelToSnake, nearest } from '@attune/core/util';
import type { MergeConfig, ModelReference, Settings } from '../config/mergeConfig.js';
import { evaluateSetting, settingOf } from '../config/parameterValues.js';
import type { ParameterRequest } from '../config/resolveParameters.js';
import type { MergeParameter } from '../contract/mergeMethod.js';
import type { TensorInput, TensorTask } from '../contract/tensorTask.js';
import { formatPath } from '../problems.js';
import { letterOf } from '../report/mergeReport.js';
import { numberText } from './describePlan.js';
import { effectiveWeights } from './effectiveWeights.js';
import type { MergePlan } from './mergePlan.js';

/**
 * What a tensor of the output is made of, as a text: its inputs with the bytes that are read, the
 * method, each parameter with its value and where the config sets it, and effective weights.
 *
 * @throws MERGE_TENSOR_UNKNOWN with the nearest name
 */
export function explainTensor(plan: MergePlan, name: string): string {
  const task = plan.tasks.find((candidate) => candidate.name === name);
  if (!task) throw unknownTensor(plan, name);
  const { method } = plan;
  const request = plan.requests.get(name);
  const reference = method.reference ? `, ${method.reference}` : '';
  const lines = [
    `${name}: ${task.dtype} [${task.shape.join(', ')}]`,
    request
      ? `  by ${method.title} (${method.name}${reference}), computed in ${task.arithmetic}`
      : '  copied: no floats, which have to be the same in all models',
    ...(request ? [`  position in its slice: t = ${numberText(request.t)}`] : []),
    'Inputs',
    ...task.inputs.flatMap((input, k) => inputLines(input, k, k === task.baseIndex)),
  ];
  if (!request) return lines.join('\n');
  const parameters = Object.entries(method.parameters);
  if (parameters.length > 0) lines.push('Parameters');
  for (const [parameter, kind] of parameters) lines.push(...parameterLines(parameter, kind));
  const weights = effectiveWeights(method, task);
  if (weights)
    lines.push(
      `Effective weights: ${weights.map((w, k) => `${letterOf(k)} ${w === null ? 'base' : numberText(w)}`).join(', ')}`,
    );
  return lines.join('\n');

  function parameterLines(parameter: string, kind: MergeParameter): string[] {
    const value = task!.parameters[parameter];
    const label = camelToSnake(parameter);
    if (kind.scope === 'shared')
      return [`  ${label} = ${show(value)}: ${originOf(request!, parameter, kind, null)}`];
    const inputs = task!.inputs.flatMap((input, k) =>
      kind.scope === 'perModel' && k === task!.baseIndex ? [] : [{ input, k }],
    );
    return inputs.map(({ k }, i) => {
      const one = (value as readonly unknown[])[i];
      return `  ${label} of ${letterOf(k)} = ${show(one)}: ${originOf(request!, parameter, kind, request!.inputs[k]!)}`;
    });
  }
}

const show = (value: unknown): string =>
  typeof value === 'number' ? numberText(value) : value === undefined ? 'none' : String(value);

function inputLines({ model, name, source }: TensorInput, k: number, isBase: boolean): string[] {
  const { tensor } = source;
  const { path, begin, dtype, shape } = tensor;
  const how =
    source.kind === 'adapted'
      ? [`     plus what ${source.adapter} adds to "${source.name}"`]
      : source.kind === 'rows'
        ? [`     its rows in another order: ${source.rows.length} for the tokens of the output`]
        : [];
  return [
    `  ${letterOf(k)}  ${model}${isBase ? '  (base)' : ''}`,
    `     ${name}: ${dtype} [${shape.join(', ')}]`,
    `     ${path}, from byte ${begin}`,
    ...how,
  ];
}

/** Which setting a value comes from: that of the narrowest scope which has one for the tensor. */
function originOf(
  { config, slice, module, outputName, t }: ParameterRequest,
  name: string,
  parameter: MergeParameter,
  input: { readonly model: ModelReference; readonly name: string } | null,
): string {
  const scopes: (readonly [scope: string, settings: Settings | undefined])[] = [
    ...(slice?.sources ?? [])
      .filter(({ model }) => model.key === input?.model.key)
      .map((source) => ['the model', source.parameters] as const),
    ['the slice', slice?.parameters],
    ['the module', module?.parameters],
    ['the config', config.parameters],
  ];
  const tensor = input?.name ?? outputName;
  for (const [scope, settings] of scopes) {
    const setting = settings && settingOf(settings, name);
    if (setting === undefined || evaluateSetting(tensor, setting, t, parameter).kind !== 'value')
      continue;
    const isFiltered = Array.isArray(setting) && typeof setting[0] === 'object';
    const fitting = isFiltered
      ? (setting as readonly { filter: string | null; value: unknown }[]).find(
          ({ filter }) => filter === null || filter === '*' || tensor.includes(filter),
        )
      : undefined;
    const value = fitting ? fitting.value : setting;
    const notes = [
      ...(fitting?.filter ? [`filter "${fitting.filter}"`] : []),
      ...(Array.isArray(value) ? [`gradient [${value.join(', ')}]`] : []),
    ];
    return [`parameters of ${scope}`, ...notes, placeText(config, settings!, name)].join(', ');
  }
  return 'the default';
}

function placeText(config: MergeConfig, settings: Settings, name: string): string {
  const inside = config.pathOf(settings) ?? [];
  const path = [...inside, camelToSnake(name)];
  const place = config.placeOf(path);
  if (place) return `${config.file ?? 'config'}:${place.line}:${place.column}`;
  return formatPath([...inside, name]);
}

function unknownTensor({ tasks }: MergePlan, name: string): AttuneError {
  const names = tasks.map((task: TensorTask) => task.name);
  const near = typeof name === 'string' ? nearest(name, names) : undefined;
  return new AttuneError(
    'MERGE_TENSOR_UNKNOWN',
    `the output has no tensor ${briefly(name, 200)}.`,
    {
      remedy: near
        ? `Did you mean "${near}"?`
        : `It has ${names.length}: ${names.slice(0, 3).join(', ')}, ...`,
    },
  );
}
