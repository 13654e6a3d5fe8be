import { AttuneError } from '@attune/core';
import {
  camelToSnake,
  formatJson,
  type JsonValue,
  type OptionsInput,
  problemError,
  problemsOf,
  snakeToCamel,
  type Wording,
} from '@attune/core/util';
import { z } from 'zod';
import { explainOption } from './configHints.js';
import type { PeftMethod } from './methodKinds.js';

const names = z.array(z.string().min(1)).readonly();

/** The options of every method, with PEFT's defaults. */
const commonShape = {
  /** The method. */
  peftType: z.string(),
  /**
   * Which linear layers to adapt. A list: layers whose path is the name or ends with `.name`. A
   * string: a regular expression that must match the whole path, or "all-linear": every linear
   * layer but the output head. Default: the method's usual choice for the model type, as in PEFT
   * (LoRA on Llama: q_proj and v_proj; "all-linear" usually learns better and costs more).
   */
  targetModules: z
    .union([names, z.string().min(1)])
    .nullable()
    .default(null)
    .meta({ aka: 'target targets modules targetlayers loratarget loratargetmodules keys' }),
  /** Layers to leave out, in the same notation. Applied first. Default none. */
  excludeModules: z
    .union([names, z.string().min(1)])
    .nullable()
    .default(null)
    .meta({ aka: 'exclude' }),
  /**
   * Modules that are trained whole, as a copy saved with the adapter, e.g. ["lm_head"]: those whose
   * path ends with one of these, in the middle of a name too, as in PEFT. Default none.
   */
  modulesToSave: names.nullable().default(null),
  /** Only the layers of these numbers (with a list of targetModules). Default all. */
  layersToTransform: z
    .union([z.int().min(0), z.array(z.int().min(0)).readonly()])
    .nullable()
    .default(null)
    .meta({ aka: 'layers' }),
  /** The name before the layer's number, e.g. "layers", where it is ambiguous. Default: any. */
  layersPattern: z.union([names, z.string()]).nullable().default(null),
  /**
   * Which biases are trained too: none, all of the model, or those of adapted layers. Default
   * "none".
   */
  bias: z.enum(['none', 'all', 'lora_only']).default('none'),
  /** Written to adapter_config.json. Default "CAUSAL_LM". */
  taskType: z.string().nullable().default(null).meta({ aka: 'task' }),
  /** Written to adapter_config.json. Default: where the model was loaded from. */
  baseModelNameOrPath: z.string().nullable().default(null).meta({ aka: 'basemodel' }),
  /** Revision of the base model. Default none. */
  revision: z.string().nullable().default(null),
  /** Written by PEFT; of no use here. Default null. */
  autoMapping: z.unknown().default(null),
  /** An adapter for inference is not trainable. Default false. */
  inferenceMode: z.boolean().default(false),
};
export const commonConfig = z.object(commonShape);

export type CommonConfig = z.output<typeof commonConfig>;

/** A parsed config: the common options and the method's own, camelCase. */
export type PeftConfig = CommonConfig & Readonly<Record<string, unknown>>;

/** What a user may write for any method. camelCase, or PEFT's snake_case. */
export type PeftConfigBase = Omit<OptionsInput<typeof commonShape>, 'peftType' | 'autoMapping'>;

/** The release of PEFT whose adapter_config.json this package writes. */
export const PEFT_FORMAT_VERSION = '0.21.2';

interface Source {
  /** How messages call the config, e.g. "peftConfig" or a file's path. */
  readonly label: string;
  /** A file may come from a newer PEFT: options that are off and unknown are passed over. */
  readonly isFile: boolean;
  warn(message: string): void;
}

/**
 * Checks a config of either spelling and fills in the defaults.
 *
 * @throws UNKNOWN_OPTION with the nearest name; PEFT_CONFIG_INVALID with path, value and
 *   what was allowed; PEFT_UNSUPPORTED_OPTION for options of PEFT that would change the result
 */
export function parsePeftConfig(
  method: PeftMethod,
  input: Readonly<Record<string, unknown>>,
  source: Source,
): PeftConfig {
  const { given: written, spelling } = byCamelCase(input, source.label);
  const given =
    source.isFile && method.fromFile
      ? Object.entries(method.fromFile(Object.fromEntries(written)))
      : written;
  const common: Record<string, unknown> = {};
  const strange: string[] = [];
  const own: Record<string, unknown> = {};
  for (const [key, value] of given) {
    const fileField = camelToSnake(key);
    if (key in method.config.shape) own[key] = value;
    else if (hasCommon(method, key)) common[key] = value;
    else if (key in commonConfig.shape && isOff(value)) continue;
    else if (method.fileFields && fileField in method.fileFields)
      refuseUnlessInert(method, fileField, value, source.label);
    else if (key !== 'peftVersion' && isRefused(spelling.get(key) ?? key, value, source))
      strange.push(spelling.get(key) ?? key);
  }
  const parsed = parseParts(method, { common, own, strange }, source.label, spelling);
  checkLayers(parsed, source.label);
  return parsed;
}

/** Numbers that PEFT writes as floats. */
const FLOATS: ReadonlySet<string> = new Set([
  'd_initial',
  'encoder_dropout',
  'lora_dropout',
  'vera_dropout',
]);

/**
 * adapter_config.json as PEFT writes it: every field, snake_case, sorted, indent 2, no newline at
 * the end.
 *
 * @param like the file that the adapter came from: numbers that are the same are spelt as there
 */
export function formatPeftConfig(method: PeftMethod, config: PeftConfig, like?: JsonValue): string {
  const fields: Record<string, unknown> = { ...method.fileFields };
  for (const key of optionsOf(method))
    if (!method.unsaved?.includes(key)) fields[camelToSnake(key)] = config[key] ?? null;
  fields.peft_version = PEFT_FORMAT_VERSION;
  return formatJson(sorted(fields), { like, floats: FLOATS });
}

/** Options that say which layers: no business of virtual tokens. */
const ofLayers: readonly string[] = [
  'targetModules',
  'excludeModules',
  'layersToTransform',
  'layersPattern',
  'bias',
];

const hasCommon = (method: PeftMethod, key: string): boolean =>
  key in commonConfig.shape &&
  !method.without?.includes(key as keyof CommonConfig) &&
  !(method.kind === 'prompt' && ofLayers.includes(key));

/** All options of a method. */
const schemaOf = (method: PeftMethod): z.ZodObject =>
  z.object({
    ...method.config.shape,
    ...Object.fromEntries(
      Object.entries(commonConfig.shape).filter(([key]) => hasCommon(method, key)),
    ),
  });

const optionsOf = (method: PeftMethod): string[] => Object.keys(schemaOf(method).shape);

function byCamelCase(input: Readonly<Record<string, unknown>>, label: string) {
  const given = new Map<string, unknown>();
  const spelling = new Map<string, string>();
  for (const [key, value] of Object.entries(input)) {
    if (value === undefined) continue;
    const camel = snakeToCamel(key);
    if (given.has(camel))
      throw new AttuneError(
        'PEFT_CONFIG_INVALID',
        `${label} has both "${spelling.get(camel)}" and "${key}".`,
        { remedy: 'Give one of them: they are two spellings of one option.' },
      );
    given.set(camel, value);
    spelling.set(camel, key);
  }
  return { given, spelling };
}

interface Parts {
  readonly common: Readonly<Record<string, unknown>>;
  readonly own: Readonly<Record<string, unknown>>;
  /** Names that the method does not have, in the user's spelling. */
  readonly strange: readonly string[];
}

/** Both schemas; what either finds wrong, and every unknown name, is one error. */
function parseParts(
  method: PeftMethod,
  { common, own, strange }: Parts,
  label: string,
  spelling: ReadonlyMap<string, string>,
): PeftConfig {
  const results = [
    { schema: commonConfig, values: common, result: commonConfig.safeParse(common) },
    { schema: method.config, values: own, result: method.config.safeParse(own) },
  ];
  const wording: Wording = {
    label: ([first, ...rest]) =>
      [label, spelling.get(String(first)) ?? first, ...rest].map(String).join('.'),
    explain: (name) => explainOption(name, schemaOf(method), method.peftType, label),
    remedy: () => 'Change the value, or leave the option out for its default.',
  };
  const found = results.flatMap(({ schema, values, result }) =>
    result.success ? [] : [problemsOf(result.error, values, schema, wording)],
  );
  if (found.length === 0 && strange.length === 0)
    return Object.assign({}, ...results.map(({ result }) => result.data)) as PeftConfig;
  const names = strange.map((name) => wording.explain(name));
  const options = `Options: ${optionsOf(method).join(', ')}.`;
  throw problemError('PEFT_CONFIG_INVALID', {
    unknown: strange,
    messages: [...names, ...found.flatMap(({ messages }) => messages)],
    remedies: [
      ...(strange.length > 0 ? [options] : []),
      ...new Set(found.flatMap(({ remedies }) => remedies)),
    ],
  });
}

function checkLayers(config: CommonConfig, label: string): void {
  const { targetModules, layersToTransform, layersPattern } = config;
  if (typeof targetModules === 'string' && layersToTransform !== null)
    throw new AttuneError(
      'PEFT_CONFIG_INVALID',
      `${label}: layersToTransform needs a list of targetModules; they are the string "${targetModules}".`,
      { remedy: 'Give a list, or put the layer numbers into the regular expression.' },
    );
  if (layersPattern !== null && layersPattern.length > 0 && layersToTransform === null)
    throw new AttuneError(
      'PEFT_CONFIG_INVALID',
      `${label}: layersPattern ${JSON.stringify(layersPattern)} is given without layersToTransform.`,
      { remedy: 'Say which layers: layersToTransform: [0, 1, ...].' },
    );
}

function refuseUnlessInert(method: PeftMethod, field: string, value: unknown, label: string): void {
  const inert = method.fileFields?.[field];
  if (isOff(value) && isOff(inert)) return;
  if (JSON.stringify(value) === JSON.stringify(inert)) return;
  throw new AttuneError(
    'PEFT_UNSUPPORTED_OPTION',
    `${label}: ${field} is ${JSON.stringify(value)}; Attune's ${method.peftType} supports only ${JSON.stringify(inert)}.`,
    { remedy: 'Leave the option out. An adapter trained with it cannot be loaded here.' },
  );
}

/** Null, false, empty: an option that is not in use. */
const isOff = (value: unknown): boolean =>
  value === null ||
  value === false ||
  (typeof value === 'object' && Object.keys(value as object).length === 0);

/**
 * Whether an option that the method does not have is an error; else it is passed over, with a
 * warning.
 */
function isRefused(key: string, value: unknown, source: Source): boolean {
  if (!source.isFile) return true;
  if (isOff(value)) return false;
  // A number or a name may be a default that a newer PEFT writes; what is switched on changes the
  // result.
  if (typeof value !== 'number' && typeof value !== 'string') return true;
  source.warn(`${source.label}: unknown option ${key} = ${JSON.stringify(value)} is ignored.`);
  return false;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return new Map(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, v]) => [key, sorted(v)]),
  );
}
