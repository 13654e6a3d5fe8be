type Json = Readonly<Record<string, unknown>>;

/**
 * How transformers builds a tokenizer: from tokenizer.json as it lies, or anew from its vocabulary
 * and merges.
 */
export type TokenizerClass =
  | 'TokenizersBackend'
  | 'LlamaTokenizer'
  | 'GemmaTokenizer'
  | 'Qwen2Tokenizer'
  | 'GPT2Tokenizer';

const rebuilt: readonly TokenizerClass[] = [
  'LlamaTokenizer',
  'GemmaTokenizer',
  'Qwen2Tokenizer',
  'GPT2Tokenizer',
];

/**
 * The class that transformers registers for a model_type; model types that are not here have none.
 */
const registered: Readonly<Record<string, TokenizerClass>> = {
  gemma: 'GemmaTokenizer',
  gemma2: 'GemmaTokenizer',
  gemma3: 'GemmaTokenizer',
  gemma3_text: 'GemmaTokenizer',
  gpt2: 'GPT2Tokenizer',
  mistral: 'TokenizersBackend',
  mistral3: 'TokenizersBackend',
  phi3: 'TokenizersBackend',
  qwen2: 'Qwen2Tokenizer',
  qwen3: 'Qwen2Tokenizer',
};

/**
 * Model types whose registered class counts, whatever tokenizer_class says: transformers mistrusts
 * it there.
 */
const mistrusted: ReadonlySet<string> = new Set(['phi3', 'qwen2']);

/**
 * The class that transformers 5.23's AutoTokenizer takes, without mistral-common installed. A
 * tokenizer_class that is not one of the four that are built anew leaves tokenizer.json as it is.
 *
 * @param config tokenizer_config.json
 * @param modelConfig config.json, where the folder has one
 */
export function tokenizerClass(
  tokenizer: Json,
  config: Json,
  modelConfig: Json | null,
): TokenizerClass {
  const declared = nameOf(config.tokenizer_class) ?? nameOf(modelConfig?.tokenizer_class);
  const modelType = typeof modelConfig?.model_type === 'string' ? modelConfig.model_type : '';
  const ofModel = Object.hasOwn(registered, modelType) ? registered[modelType] : undefined;
  // Llama 3 and its kind say LlamaTokenizer, which would spell their spaces otherwise.
  if (declared === 'LlamaTokenizer' && !mistrusted.has(modelType) && hasByteLevel(tokenizer))
    return 'TokenizersBackend';
  if (declared === null) return ofModel ?? 'TokenizersBackend';
  if (ofModel !== undefined && ofModel !== declared) {
    if (ofModel === 'TokenizersBackend') return 'TokenizersBackend';
    if (mistrusted.has(modelType)) return ofModel;
  }
  return rebuilt.find((name) => name === declared) ?? 'TokenizersBackend';
}

const nameOf = (value: unknown): string | null =>
  typeof value === 'string' && value !== '' ? value.replace(/Fast$/, '') : null;

/**
 * Whether some part is ByteLevel. Parts nest; those that nest too deep are refused where they are
 * read.
 */
function hasByteLevel(value: unknown, depth = 0): boolean {
  if (typeof value !== 'object' || value === null || depth > 100) return false;
  if ('type' in value && value.type === 'ByteLevel') return true;
  const { vocab: _, merges: __, ...parts } = value as Record<string, unknown>;
  return Object.values(Array.isArray(value) ? value : parts).some((p) =>
    hasByteLevel(p, depth + 1),
  );
}
