import { AttuneError, camelToSnake, formatJson, type JsonValue, snakeToCamel } from '@attune/core';
import { z } from 'zod';
import { unknownOptions } from './configHints.js';
import type { PeftMethod } from './definePeftMethod.js';

const names = z.array(z.string().min(1));

/** The options of every method, with PEFT's defaults. */
export const commonConfig = z.object({
  peftType: z.string(),
  targetModules: z
    .union([names, z.string().min(1)])
    .nullable()
    .default(null),
  excludeModules: z
    .union([names, z.string().min(1)])
    .nullable()
    .default(null),
  modulesToSave: names.nullable().default(null),
  layersToTransform: z
    .union([z.int().min(0), z.array(z.int().min(0))])
    .nullable()
    .default(null),
  layersPattern: z.union([names, z.string()]).nullable().default(null),
  bias: z.enum(['none', 'all', 'lora_only']).default('none'),
  taskType: z.string().nullable().default(null),
  baseModelNameOrPath: z.string().nullable().default(null),
  revision: z.string().nullable().default(null),
  autoMapping: z.unknown().default(null),
  inferenceMode: z.boolean().default(false),
});

export type CommonConfig = z.output<typeof commonConfig>;

/** A parsed config: the common options and the method's own, camelCase. */
export type PeftConfig = CommonConfig & Readonly<Record<string, unknown>>;

/** What a user may write for any method. camelCase, or PEFT's snake_case. */
export interface PeftConfigBase {
  /**
   * Which linear layers to adapt. A list: layers whose path is the name or ends with `.name`. A string:
   * a regular expression that must match the whole path, or "all-linear": every linear layer but the
   * output head. Default: the method's usual choice for the model type, as in PEFT (LoRA on Llama:
   * q_proj and v_proj; "all-linear" usually learns better and costs more).
   */
  readonly targetModules?: readonly string[] | string | null;
  /** Layers to leave out, in the same notation. Applied first. Default none. */
  readonly excludeModules?: readonly string[] | string | null;
  /**
   * Modules that are trained whole, as a copy saved with the adapter, e.g. ["lm_head"]: those whose path
   * ends with one of these, in the middle of a name too, as in PEFT. Default none.
   */
  readonly modulesToSave?: readonly string[] | null;
  /** Only the layers of these numbers (with a list of targetModules). Default all. */
  readonly layersToTransform?: number | readonly number[] | null;
  /** The name before the layer's number, e.g. "layers", where it is ambiguous. Default: any. */
  readonly layersPattern?: string | readonly string[] | null;
  /** Which biases are trained too: none, all of the model, or those of adapted layers. Default "none". */
  readonly bias?: 'none' | 'all' | 'lora_only';
  /** Written to adapter_config.json. Default "CAUSAL_LM". */
  readonly taskType?: string | null;
  /** Written to adapter_config.json. Default: where the model was loaded from. */
  readonly baseModelNameOrPath?: string | null;
  /** Revision of the base model. Default none. */
  readonly revision?: string | null;
  /** An adapter for inference is not trainable. Default false. */
  readonly inferenceMode?: boolean;
}

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
 * @throws PEFT_CONFIG_UNKNOWN_KEY with the nearest name; PEFT_CONFIG_INVALID with path, value and
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
  if (strange.length > 0) throw unknownOptions(method, optionsOf(method), strange, source.label);
  const at = (path: readonly PropertyKey[]) =>
    [source.label, spelling.get(String(path[0])) ?? path[0], ...path.slice(1)].join('.');
  const parsed = {
    ...check(commonConfig, common, at),
    ...check(method.config, own, at),
  } as PeftConfig;
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
 * adapter_config.json as PEFT writes it: every field, snake_case, sorted, indent 2, no newline at the end.
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
  !(method.prompt && ofLayers.includes(key));

const optionsOf = (method: PeftMethod): string[] => [
  ...Object.keys(method.config.shape),
  ...Object.keys(commonConfig.shape).filter((key) => hasCommon(method, key)),
];

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

function check(
  schema: z.ZodObject<z.ZodRawShape>,
  value: Readonly<Record<string, unknown>>,
  at: (path: readonly PropertyKey[]) => string,
): Record<string, unknown> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const found = issue!.path.reduce<unknown>(
    (v, key) => (v as Record<PropertyKey, unknown> | undefined)?.[key],
    value,
  );
  throw new AttuneError(
    'PEFT_CONFIG_INVALID',
    `${at(issue!.path)} is ${JSON.stringify(found)}. ${describe(issue!)}.`,
    { remedy: 'Change the value, or leave the option out for its default.' },
  );
}

/** A union's own message says nothing; those of its members say what was allowed. */
function describe(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'invalid_union') return issue.message;
  return [...new Set(issue.errors.flat().map((e) => e.message))].join('; or ');
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

/** Whether an option that the method does not have is an error; else it is passed over, with a warning. */
function isRefused(key: string, value: unknown, source: Source): boolean {
  if (!source.isFile) return true;
  if (isOff(value)) return false;
  // A number or a name may be a default that a newer PEFT writes; what is switched on changes the result.
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
