import type { RawConfig } from '../../io/hfConfig.js';
import { DecoderWithHead } from '../../nn/decoder.js';
import { AttuneError } from '../../util/errors.js';
import { isPlainObject } from '../../util/json.js';
import type { ModelFacts, ModelFamily } from './family.js';

/**
 * A model type with other towers beside its text model, whose config is nested in `text_config`.
 */
interface NestedType {
  /** The text model's name within `model`. */
  readonly bodyName: string;
  /** Names of the other towers in checkpoints. */
  readonly towers: RegExp;
  /** `tie_word_embeddings` of the whole where config.json leaves it out. */
  readonly tied: boolean;
  /** Whether the flag of `text_config` counts as well. */
  readonly tiedByText?: boolean;
}

const vision = /^(model\.)?(vision_tower|multi_modal_projector|image_newline)\b/;
const idefics: NestedType = {
  bodyName: 'text_model',
  towers: /^model\.(vision_model|connector)\./,
  tied: false,
};

/** The classes `...ForConditionalGeneration` of transformers that are read here, text alone. */
const nestedTypes: Readonly<Record<string, NestedType>> = {
  gemma3: { bodyName: 'language_model', towers: vision, tied: true },
  mistral3: { bodyName: 'language_model', towers: vision, tied: true },
  llava: { bodyName: 'language_model', towers: vision, tied: false, tiedByText: true },
  llava_next: { bodyName: 'language_model', towers: vision, tied: false },
  llava_onevision: { bodyName: 'language_model', towers: vision, tied: false, tiedByText: true },
  smolvlm: idefics,
  idefics3: idefics,
};

/**
 * What transformers' config classes fill in where a text_config leaves a key out, as Gemma 3's do.
 */
const textDefaults: Readonly<Record<string, RawConfig>> = {
  gemma3_text: {
    vocab_size: 262_208,
    hidden_size: 2304,
    intermediate_size: 9216,
    num_hidden_layers: 26,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    head_dim: 256,
    max_position_embeddings: 131_072,
    pad_token_id: 0,
    eos_token_id: 1,
    bos_token_id: 2,
  },
  llama: {
    vocab_size: 32_000,
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    max_position_embeddings: 2048,
    bos_token_id: 1,
    eos_token_id: 2,
  },
  mistral: {
    vocab_size: 32_000,
    hidden_size: 4096,
    intermediate_size: 14_336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    max_position_embeddings: 131_072,
    bos_token_id: 1,
    eos_token_id: 2,
  },
  qwen2: {
    vocab_size: 151_936,
    hidden_size: 4096,
    intermediate_size: 22_016,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    max_position_embeddings: 32_768,
  },
};

/** Classes of the text models alone, for `architectures`. */
const textClasses: Readonly<Record<string, string>> = {
  gemma3_text: 'Gemma3ForCausalLM',
  llama: 'LlamaForCausalLM',
  mistral: 'MistralForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
  smollm3: 'SmolLM3ForCausalLM',
  phi3: 'Phi3ForCausalLM',
  gemma: 'GemmaForCausalLM',
  gemma2: 'Gemma2ForCausalLM',
};

/** The text model of a checkpoint that nests it. */
export interface NestedFacts {
  /** Its name within `model`, in which PEFT's names of that class begin. */
  readonly bodyName: string;
  /** Names of the other towers, which are not read. */
  readonly towers: RegExp;
  /** Its config.json, were it alone. */
  readonly textConfig: RawConfig;
}

/** `model_type` of the text model, where a config has one nested. */
export function textTypeOf(raw: RawConfig): string | null {
  const text = raw.text_config;
  return isPlainObject(text) && typeof text.model_type === 'string' ? text.model_type : null;
}

export const isNestedType = (modelType: string): boolean => Object.hasOwn(nestedTypes, modelType);

/**
 * A model type whose text model is of a known family: its text alone, under the names that the
 * modules have in transformers' class (`model.language_model.layers...`), which are PEFT's.
 */
export function nestedFamily(modelType: string, text: ModelFamily): ModelFamily {
  const type = nestedTypes[modelType]!;
  const { bodyName, towers } = type;
  return {
    modelType,
    ignoredWeights: [...text.ignoredWeights, towers],
    nameInModel: (name) => nameInNested(name, { bodyName, towers }),
    describe: (raw, where): ModelFacts => {
      const textConfig = textConfigOf(raw, type, text.modelType);
      return {
        ...text.describe(textConfig, `${where}, text_config`),
        nested: { bodyName, towers, textConfig },
      };
    },
    build: (engine, raw, options) => {
      const root = text.build(engine, textConfigOf(raw, type, text.modelType), options);
      if (root instanceof DecoderWithHead && root.nestBody(bodyName)) return root;
      root.dispose();
      throw new AttuneError(
        'CONFIG_INVALID',
        `config.json: a text model of the family "${text.modelType}" cannot stand in "${modelType}".`,
        { remedy: 'Use a checkpoint whose text model is alone in its folder.' },
      );
    },
  };
}

/**
 * Keys that stand beside text_config and count before those in it. Not pad_token_id: the
 * embedding's padding row is that of text_config.
 */
const beside = ['eos_token_id', 'bos_token_id'];

function textConfigOf(raw: RawConfig, type: NestedType, textType: string): RawConfig {
  const text = raw.text_config as RawConfig;
  const outer = raw.tie_word_embeddings ?? type.tied;
  const tied = outer || (type.tiedByText === true && text.tie_word_embeddings === true);
  const own = Object.fromEntries(beside.filter((key) => raw[key] != null).map((k) => [k, raw[k]]));
  const { architectures: _, ...rest } = text;
  const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
  return {
    ...(textClasses[textType] && { architectures: [textClasses[textType]] }),
    ...textDefaults[textType],
    ...given,
    ...own,
    model_type: textType,
    tie_word_embeddings: tied,
  };
}

/**
 * A tensor's name in a checkpoint, as transformers 4 or 5 wrote it or of the text model alone ->
 * its name in the model. Those of other towers stay what they are.
 */
export function nameInNested(
  name: string,
  { bodyName, towers }: Pick<NestedFacts, 'bodyName' | 'towers'>,
): string {
  const inside = `model.${bodyName}.`;
  const renames: readonly (readonly [from: string, to: string])[] = [
    [`${bodyName}.lm_head.`, 'lm_head.'],
    [`${bodyName}.model.`, inside],
    [`${bodyName}.`, inside],
    [inside, inside],
    ['model.', inside],
  ];
  if (towers.test(name)) return name;
  for (const [from, to] of renames) if (name.startsWith(from)) return to + name.slice(from.length);
  return name;
}

/** A tensor's name in the model -> its name in a folder of the text model alone. */
export function nameInText(name: string, { bodyName }: NestedFacts): string {
  const inside = `model.${bodyName}.`;
  return name.startsWith(inside) ? `model.${name.slice(inside.length)}` : name;
}
