export { cachedProvider } from './cachedProvider.js';
export {
  checkRequest as checkLLMRequest,
  type LLMCallOptions,
  type LLMCompletion,
  type LLMFinishReason,
  type LLMMessage,
  type LLMProvider,
  type LLMRequest,
  type LLMUsage,
} from './llmProvider.js';
export {
  type ChatTokenizer,
  type LocalProviderOptions,
  localProvider,
} from './local/localProvider.js';
export type { OpenAIProviderOptions } from './openai/openaiOptions.js';
export { type OpenAIProvider, openaiProvider } from './openai/openaiProvider.js';
export {
  defineLLMProvider,
  type LLMProviderDefinition,
  type LLMProviderKind,
  LLMProviders,
  type ProviderChoice,
} from './providerChoice.js';
export type { LLMSpending, TokenPrice } from './spending.js';
