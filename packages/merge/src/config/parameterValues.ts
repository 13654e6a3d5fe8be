import { explainUnknown, snakeToCamel } from '@attune/core/util';
import type { MergeMethod, MergeParameter } from '../contract/mergeMethod.js';
import type {
  FilteredSetting,
  ParameterScalar,
  ParameterSetting,
  Settings,
} from './mergeConfig.js';

const WORDS: Readonly<Record<string, boolean>> = {
  ...Object.fromEntries(['true', 't', 'yes', 'y', 'on', '1'].map((word) => [word, true])),
  ...Object.fromEntries(['false', 'f', 'no', 'n', 'off', '0'].map((word) => [word, false])),
};

/** A value that a parameter takes, or why it takes none. */
export type ValueResult =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly message: string };

/**
 * A value as a parameter takes it, with the conversions of pydantic: "1e-5" is a number, and
 * booleans and numbers stand for one another.
 */
export function readValue({ schema }: Pick<MergeParameter, 'schema'>, value: unknown): ValueResult {
  const results = [value, ...conversions(value)].map((candidate) => schema.safeParse(candidate));
  const good = results.find(({ success }) => success);
  if (good) return { ok: true, value: good.data };
  // What is wrong with a number in quotes is said of the number.
  const { error } = results[1] ?? results[0]!;
  return { ok: false, message: expectation(error!.issues[0]!.message) };
}

/** "Too big: expected number to be <=1" as the end of a sentence. */
const expectation = (message: string): string =>
  message.replace(/^(?:Invalid input|Invalid option|Too big|Too small): (?=expected)/, '');

function conversions(value: unknown): readonly unknown[] {
  if (typeof value === 'boolean') return [Number(value)];
  if (value === 0 || value === 1) return [Boolean(value)];
  if (typeof value !== 'string') return [];
  const text = value.trim();
  const number = Number(text.replaceAll(/(?<=\d)_(?=\d)/g, ''));
  const lower = text.toLowerCase();
  const word = Object.hasOwn(WORDS, lower) ? WORDS[lower] : undefined;
  return [
    ...(text !== '' && /^[-+.\d]/.test(text) && !Number.isNaN(number) && !/^[-+]?0[xob]/i.test(text)
      ? [number]
      : []),
    ...(word === undefined ? [] : [word]),
  ];
}

/** What is taken where a parameter is not set; null: it must be. */
export function defaultOf({ schema }: Pick<MergeParameter, 'schema'>): { value: unknown } | null {
  const result = schema.safeParse(undefined);
  return result.success ? { value: result.data } : null;
}

/** What a method has under a name in either spelling. */
export function findParameter(method: MergeMethod, name: string): MergeParameter | undefined {
  return Object.hasOwn(method.parameters, name) ? method.parameters[name] : undefined;
}

/** What settings have for a parameter; undefined: nothing. */
export function settingOf(settings: Settings, name: string): ParameterSetting | undefined {
  const key = snakeToCamel(name);
  return Object.hasOwn(settings, key) ? settings[key] : undefined;
}

/** Why a method has no parameter of a name, and which one is near. */
export function explainParameter(
  method: MergeMethod,
  name: string,
  { methods, spell }: { readonly methods: readonly MergeMethod[]; spell(name: string): string },
): string {
  const what = `${method.name} has no parameter "${name}"`;
  const others = methods.filter((other) => findParameter(other, snakeToCamel(name)));
  if (others.length > 0) {
    const names = others.slice(0, 3).map((other) => other.name);
    return `${what}; ${names.join(', ')}${others.length > 3 ? ' and others have' : others.length > 1 ? ' have' : ' has'} it.`;
  }
  const known = Object.keys(method.parameters).map((parameter) => spell(parameter));
  return explainUnknown(name, { known }, what);
}

/** The value of a setting for a tensor: see {@link evaluateSetting}. */
export type Evaluated =
  | { readonly kind: 'unset' }
  | { readonly kind: 'value'; readonly value: unknown }
  | { readonly kind: 'wrong'; readonly given: unknown; readonly message: string };

/**
 * The value that a setting has for a tensor, as mergekit evaluates it: the first filter that fits;
 * of a list of numbers at position t, with x = t (n - 1) and i the whole part of x,
 * (1 - x + i) v_i + (x - i) v_{i+1}; of words and booleans v_i.
 *
 * @param t position of the layer in the slice, 0 to 1
 * @param onFilter told which filter fits
 */
export function evaluateSetting(
  tensorName: string,
  setting: ParameterSetting,
  t: number,
  parameter: Pick<MergeParameter, 'schema'>,
  onFilter: (filter: FilteredSetting) => void = () => {},
): Evaluated {
  if (!Array.isArray(setting)) return checked(parameter, setting);
  if (setting.length === 0) return { kind: 'unset' };
  if (typeof setting[0] === 'object') {
    const fitting = setting.find(
      ({ filter }) =>
        filter === null || filter === '*' || (tensorName !== '' && tensorName.includes(filter)),
    );
    if (!fitting) return { kind: 'unset' };
    onFilter(fitting);
    return evaluateSetting(tensorName, fitting.value, t, parameter);
  }
  const values: unknown[] = [];
  for (const entry of setting as readonly ParameterScalar[]) {
    const result = checked(parameter, entry);
    if (result.kind !== 'value') return result;
    values.push(result.value);
  }
  const position = t * (values.length - 1);
  const first = Math.trunc(position);
  if (!values.every((value) => typeof value === 'number'))
    return { kind: 'value', value: values[first] };
  const share = position - first;
  const next = values[Math.min(values.length - 1, first + 1)] as number;
  return checked(parameter, (1 - share) * (values[first] as number) + share * next);
}

function checked(parameter: Pick<MergeParameter, 'schema'>, given: unknown): Evaluated {
  const result = readValue(parameter, given);
  return result.ok
    ? { kind: 'value', value: result.value }
    : { kind: 'wrong', given, message: result.message };
}
