import { isPlainObject, snakeToCamel } from '@attune/core/util';
import type { MergeMethod, MergeParameter } from '../contract/mergeMethod.js';
import type { ConfigPath } from '../problems.js';
import type {
  FilteredSetting,
  ParameterScalar,
  ParameterSetting,
  ScalarOrGradient,
  Settings,
} from './mergeConfig.js';
import { explainParameter, findParameter, readValue } from './parameterValues.js';
import { found, readSection, type SectionReader, type SectionShape } from './section.js';

/** Where settings stand, and whose they are. */
export interface SettingsContext {
  /** 'input': of one model; 'tensor': of all. */
  readonly scope: 'tensor' | 'input';
  /** null: not known; names and values are not checked. */
  readonly method: MergeMethod | null;
  readonly reader: SectionReader & { readonly methods: readonly MergeMethod[] };
}

const FILTER: SectionShape = { what: 'a filter', keys: ['filter', 'value'] };

/** Reads `parameters:`, and checks each value by itself. Keys become camelCase. */
export function readSettings(value: unknown, path: ConfigPath, context: SettingsContext): Settings {
  const { method, reader } = context;
  const settings: Record<string, ParameterSetting> = {};
  if (!isPlainObject(value)) {
    reader.problems.add({
      path,
      message: `parameters is ${found(value)}, expected a mapping from names to values.`,
      remedy: 'Write parameters: { weight: 0.5 }.',
    });
    return settings;
  }
  for (const [key, item] of Object.entries(value)) {
    const name = snakeToCamel(key);
    const at = [...path, key];
    if (Object.hasOwn(settings, name))
      reader.problems.add({
        path: at,
        message: `parameters has ${key} in two spellings.`,
        remedy: 'Leave one of them.',
      });
    const parameter = method && nameOf(key, at, { ...context, method });
    const setting = new SettingReader(parameter, key, reader).read(item, at);
    if (setting !== null)
      Object.defineProperty(settings, name, { value: setting, enumerable: true });
  }
  return settings;
}

/** The parameter that a key names; null: there is none, or it has no effect here. */
function nameOf(
  key: string,
  path: ConfigPath,
  { scope, method, reader }: SettingsContext & { readonly method: MergeMethod },
): MergeParameter | null {
  const parameter = findParameter(method, snakeToCamel(key));
  if (!parameter) {
    const names = Object.keys(method.parameters).map((name) => reader.spell(name));
    reader.problems.add({
      path,
      message: explainParameter(method, key, reader),
      remedy: `Parameters of ${method.name}: ${names.join(', ') || 'none'}.`,
    });
    return null;
  }
  if (scope === 'input' && parameter.scope === 'shared') {
    reader.problems.add({
      path,
      message: `${key} has one value for all models, so it has no effect in those of one model.`,
      remedy: `Write ${key} into the parameters of the config or of a slice.`,
    });
    return null;
  }
  return parameter;
}

/** Values over the layers of a slice: no model has as many layers. */
const MAX_GRADIENT = 1000;

const isScalar = (value: unknown): value is ParameterScalar =>
  typeof value === 'number' || typeof value === 'string' || typeof value === 'boolean';

class SettingReader {
  constructor(
    private readonly parameter: MergeParameter | null,
    private readonly name: string,
    private readonly reader: SectionReader,
  ) {}

  read(value: unknown, path: ConfigPath): ParameterSetting | null {
    if (isPlainObject(value)) {
      const filter = this.#filter(value, path);
      return filter && [filter];
    }
    if (!Array.isArray(value) || value.length === 0 || value.every(isScalar))
      return this.#scalarOrGradient(value, path);
    if (!value.every(isPlainObject))
      return this.#wrong(
        path,
        `${this.name} is ${found(value)}, expected values alone, or filters alone`,
      );
    const filters = value.map((item, i) => this.#filter(item, [...path, i]));
    return filters.every((filter) => filter !== null) ? filters : null;
  }

  #filter(value: unknown, path: ConfigPath): FilteredSetting | null {
    const section = readSection(value, path, FILTER, this.reader);
    if (!section) return null;
    const filter = section.get('filter') ?? null;
    if (filter !== null && typeof filter !== 'string')
      return this.#wrong(
        section.at('filter'),
        `filter is ${found(filter)}, expected a part of a name`,
      );
    if (section.get('value') === undefined)
      return this.#wrong(path, `a filter of ${this.name} has no value`);
    const read = this.#scalarOrGradient(section.get('value'), section.at('value'));
    return read === null ? null : { filter, value: read };
  }

  #scalarOrGradient(value: unknown, path: ConfigPath): ScalarOrGradient | null {
    if (isScalar(value)) return this.#scalar(value, path);
    if (!Array.isArray(value) || !value.every(isScalar))
      return this.#wrong(
        path,
        `${this.name} is ${found(value)}, expected a value, a list of values, or filters`,
      );
    if (value.length > MAX_GRADIENT)
      return this.#wrong(
        path,
        `${this.name} is a list of ${value.length} values, expected at most ${MAX_GRADIENT}`,
      );
    const entries = value.map((entry, i) => this.#scalar(entry, [...path, i]));
    return entries.every((entry) => entry !== null) ? entries : null;
  }

  #scalar(value: ParameterScalar, path: ConfigPath): ParameterScalar | null {
    if (!this.parameter) return value;
    const result = readValue(this.parameter, value);
    return result.ok
      ? value
      : this.#wrong(path, `${this.name} is ${found(value)}: ${result.message}`);
  }

  #wrong(path: ConfigPath, message: string): null {
    this.reader.problems.add({
      path,
      message: `${message}.`,
      remedy: `Give another ${this.name}.`,
    });
    return null;
  }
}
