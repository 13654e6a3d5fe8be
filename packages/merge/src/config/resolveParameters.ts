import { camelToSnake } from '@attune/core/util';
import type { MergeMethod, MergeParameter } from '../contract/mergeMethod.js';
import { type ConfigPath, formatPath, type MergeProblems } from '../problems.js';
import type {
  FilteredSetting,
  MergeConfig,
  ModelReference,
  OutputSlice,
  ParameterSetting,
  Settings,
} from './mergeConfig.js';
import { defaultOf, evaluateSetting, settingOf } from './parameterValues.js';

/** A tensor whose parameters are asked for. */
export interface ParameterRequest {
  readonly config: MergeConfig;
  /** Settings of the module that the tensor is in; null: none. */
  readonly module: { readonly parameters: Settings } | null;
  /** The slice that the tensor is in, also where it was made of whole models. */
  readonly slice: Pick<OutputSlice, 'sources' | 'parameters'> | null;
  /** What it is merged from, in order, the base among them. */
  readonly inputs: readonly {
    readonly model: ModelReference;
    /** Name of the tensor in that model: what filters of its parameters see. */
    readonly name: string;
  }[];
  /** Name in the output: what filters of shared parameters see. */
  readonly outputName: string;
  /** The base of the slice; null: none. */
  readonly baseModel: ModelReference | null;
  /** Position of the layer in its slice, 0 to 1. */
  readonly t: number;
}

/** What is wrong with parameters of tensors: each problem once, whatever the number of tensors. */
export class ParameterProblems {
  readonly #found = new Map<
    string,
    { readonly path: ConfigPath; readonly remedy: string; readonly tensor: string; count: number }
  >();
  readonly #used = new Set<FilteredSetting>();

  add(message: string, problem: { path: ConfigPath; remedy: string; tensor: string }): void {
    const known = this.#found.get(message);
    if (known) known.count++;
    else this.#found.set(message, { ...problem, count: 1 });
  }

  /** Takes note of a filter that fitted a tensor. */
  readonly use = (filter: FilteredSetting): void => {
    this.#used.add(filter);
  };

  /** A sentence about each filter that no tensor asked for: its name may be misspelled. */
  unusedFilters(config: MergeConfig): string[] {
    return settingsOf(config).flatMap((settings) =>
      Object.entries(settings).flatMap(([name, setting]) =>
        filtersOf(setting)
          .filter((filter) => isNamed(filter) && !this.#used.has(filter))
          .map(({ filter }) => {
            const path = [...(config.pathOf(settings) ?? []), name];
            const place = config.placeOf(path);
            const where = place ? `line ${place.line}` : formatPath(path);
            return `The filter "${filter}" of ${shownIn(config, name)} (${where}) fits no tensor that asks for it.`;
          }),
      ),
    );
  }

  /** Adds them to what else is wrong, with a tensor and the number of the others. */
  reportTo(problems: MergeProblems): void {
    for (const [message, { path, remedy, tensor, count }] of this.#found)
      problems.add({
        path,
        remedy,
        message: `${message} (${tensor}${count > 1 ? ` and ${count - 1} more` : ''}).`,
      });
  }
}

/**
 * The parameters of a method for one output tensor, as mergekit resolves them: a value for each
 * that is shared, and for the others a list in the order of the inputs, without the base for those
 * of scope `perModel`. The narrowest setting counts: source, slice, module, config, default. A
 * filter that fits no tensor leaves the word to the next one.
 *
 * Values of what is wrong are undefined, and `problems` has it.
 */
export function resolveParameters(
  method: MergeMethod,
  request: ParameterRequest,
  problems: ParameterProblems,
): Readonly<Record<string, unknown>> {
  const { slice, module, config, inputs, outputName, baseModel } = request;
  const shared = [slice?.parameters, module?.parameters, config.parameters];
  const ownOf = (model: ModelReference): readonly Settings[] =>
    (slice?.sources ?? [])
      .filter((source) => source.model.key === model.key)
      .map(({ parameters }) => parameters);
  const values = Object.entries(method.parameters).map(([name, parameter]) => {
    const resolve = (tensor: string, settings: readonly (Settings | undefined)[], of = '') =>
      resolveOne({ ...request, name, parameter, tensor, settings, of, problems });
    if (parameter.scope === 'shared') return [name, resolve(outputName, shared)] as const;
    const list = inputs
      .filter(({ model }) => parameter.scope === 'perInput' || model.key !== baseModel?.key)
      .map((input) =>
        resolve(input.name, [...ownOf(input.model), ...shared], ` of ${input.model.key}`),
      );
    return [name, list] as const;
  });
  const isWhole = values.every(
    ([, value]) => value !== undefined && !(Array.isArray(value) && value.includes(undefined)),
  );
  const resolved = Object.fromEntries(values);
  const wrong = isWhole ? method.check?.(resolved) : null;
  if (wrong)
    problems.add(`${method.name}: ${wrong}`, {
      path: sourcesPath(request),
      remedy: 'Give other values.',
      tensor: outputName,
    });
  return resolved;
}

interface OneRequest extends ParameterRequest {
  readonly name: string;
  readonly parameter: MergeParameter;
  /** What filters see. */
  readonly tensor: string;
  readonly settings: readonly (Settings | undefined)[];
  /** Whose it is, for messages: " of org/model". */
  readonly of: string;
  readonly problems: ParameterProblems;
}

function resolveOne(request: OneRequest): unknown {
  const { name, parameter, tensor, settings, of, t, config, problems } = request;
  const shownName = shownIn(config, name);
  for (const scope of settings) {
    const setting = scope && settingOf(scope, name);
    if (setting === undefined) continue;
    const result = evaluateSetting(tensor, setting, t, parameter, problems.use);
    if (result.kind === 'value') return result.value;
    if (result.kind === 'unset') continue;
    problems.add(`${shownName}${of} is ${String(result.given)}: ${result.message}`, {
      path: [...(config.pathOf(scope!) ?? []), shownName],
      remedy: `Give another ${shownName}.`,
      tensor,
    });
    return undefined;
  }
  const fallback = defaultOf(parameter);
  if (fallback) return fallback.value;
  const own = settings[0] && config.pathOf(settings[0]);
  // A base that the config doesn't list has no settings of its own.
  const isAddedBase = of !== '' && !own;
  problems.add(`${shownName}${of} is not set, and has no default`, {
    path: of !== '' && own ? own : sourcesPath(request),
    remedy: isAddedBase
      ? `The base is one more input here: list it among the models with its ${shownName}, or leave it out.`
      : `Write ${shownName} into the parameters${of === '' ? ' of the config' : ' of the model, or of the config for all models'}.`,
    tensor,
  });
  return undefined;
}

/** Where the models of a slice stand. */
function sourcesPath({ config, slice }: ParameterRequest): ConfigPath {
  const paths = (slice?.sources ?? []).map(({ parameters }) => config.pathOf(parameters));
  const path = paths.find((candidate) => candidate !== null);
  // models[0].parameters
  return path ? path.slice(0, -2) : [];
}

/** A name as the config writes it. */
const shownIn = (config: MergeConfig, name: string): string =>
  config.placeOf([]) === null ? name : camelToSnake(name);

/** All settings of a config. */
function settingsOf({ parameters, modules }: MergeConfig): Settings[] {
  const inside = [...modules.values()].flatMap((module) => [
    module,
    ...('models' in module
      ? module.models
      : module.slices.flatMap((slice) => [slice, ...slice.sources])),
  ]);
  return [parameters, ...inside.map((part) => part.parameters)];
}

const filtersOf = (setting: ParameterSetting): readonly FilteredSetting[] =>
  Array.isArray(setting) && typeof setting[0] === 'object'
    ? (setting as readonly FilteredSetting[])
    : [];

const isNamed = ({ filter }: FilteredSetting): boolean => filter !== null && filter !== '*';
