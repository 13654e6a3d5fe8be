import type { Attune } from '../../attune.js';
import { bytesPerElement, type DType, isFloat, parseDType } from '../../backend/dtype.js';
import type { HfConfig, RawConfig } from '../../io/hfConfig.js';
import type { WeightFolder } from '../../io/weights.js';
import { AttuneError } from '../../util/errors.js';
import { isPlainObject } from '../../util/json.js';
import { type ModelFacts, ModelFamilies, type ModelFamily } from '../families/family.js';
import { isNestedType, nestedFamily, textTypeOf } from '../families/nestedFamily.js';
import type { ModelConfig } from '../languageModel.js';
import { bitsAndBytes } from '../quantization/bitsAndBytes.js';
import type { Quantization } from '../quantization/parseQuantization.js';
import { checkSizes, sizesInWords } from './checkSizes.js';

/** The family of a config.json. @throws CONFIG_INVALID, UNKNOWN_NAME */
export function familyOf(attune: Attune, raw: RawConfig, where: string): ModelFamily {
  if (typeof raw.model_type !== 'string')
    throw new AttuneError('CONFIG_INVALID', `${where} has no "model_type".`, {
      remedy: 'Add it, e.g. "model_type": "llama".',
    });
  const families = attune.registry(ModelFamilies);
  const textType = textTypeOf(raw);
  if (families.has(raw.model_type) || textType === null) return families.get(raw.model_type);
  const { model_type: modelType } = raw;
  const isKnown = families.has(textType);
  if (isNestedType(modelType) && isKnown) return nestedFamily(modelType, families.get(textType));
  throw new AttuneError(
    'UNKNOWN_NAME',
    isNestedType(modelType)
      ? `${where}: the text model of this "${modelType}" (text_config.model_type) is of the family "${textType}", which is not there.`
      : `${where}: there is no model family "${modelType}"; its text model (text_config) is of the family "${textType}", which is ${isKnown ? 'known: a folder with that model alone would load' : 'not there either'}.`,
    {
      remedy: `Families: ${families.names.join(', ')}${isKnown ? '' : '. A plugin can add one: defineModelFamily'}.`,
      details: { modelType, textType },
    },
  );
}

export const modelConfig = (
  family: ModelFamily,
  raw: RawConfig,
  files: HfConfig | null,
  where: string,
): ModelConfig => ({
  modelType: family.modelType,
  ...family.describe(raw, where),
  generation: files?.generationConfig ?? null,
  sources: files?.sources ?? null,
  raw,
});

/**
 * Checks a config by itself, and against the header of its weights.
 *
 * @throws CONFIG_INVALID, WEIGHTS_MISMATCH, WEIGHTS_SHAPE
 */
export function checkConfig(
  family: ModelFamily,
  raw: RawConfig,
  weights: WeightFolder,
  where: string,
  quantization: Quantization | null,
): void {
  let facts: ModelFacts;
  try {
    facts = family.describe(raw, where);
  } catch (error) {
    if (!AttuneError.isInstance(error) || error.code !== 'CONFIG_INVALID') throw error;
    throw new AttuneError(error.code, `${error.description} ${sizesInWords(weights)}`.trim(), {
      ...(error.remedy !== undefined && { remedy: error.remedy }),
      details: error.details,
      cause: error,
    });
  }
  // Codes of other formats lie as only those know, who check them when they are read.
  const codesToo = !quantization || quantization.format === bitsAndBytes;
  checkSizes(weights, facts, facts.nested?.textConfig ?? raw, where, codesToo);
}

/** `dtype` of a config, as transformers 4 or 5 writes it, or of the text model in it. */
export function dtypeOf(raw: RawConfig): unknown {
  const text = isPlainObject(raw.text_config) ? raw.text_config : {};
  return raw.dtype ?? raw.torch_dtype ?? text.dtype ?? text.torch_dtype;
}

/**
 * "auto": what config.json says, else the first float tensor's dtype (float64 is read as float32).
 */
export function storageDType(asked: DType | 'auto', raw: RawConfig, weights: WeightFolder): DType {
  if (asked !== 'auto') {
    if (Object.hasOwn(bytesPerElement, asked) && isFloat(asked)) return asked;
    throw new AttuneError('DTYPE_UNKNOWN', `fromPretrained: dtype "${asked}" stores no weights.`, {
      remedy: 'Use "auto", "float32", "float16" or "bfloat16".',
    });
  }
  const named = dtypeOf(raw);
  const first = () =>
    weights.names.map((n) => weights.info(n).dtype).find((d) => /^(B?F16|F32|F64)$/.test(d));
  const name = typeof named === 'string' ? named : (first() ?? 'float32');
  return /^(torch\.)?(float64|F64)$/.test(name) ? 'float32' : parseDType(name);
}
