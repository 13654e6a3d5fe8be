/**
 * Rows and what becomes of them: data sets, tokenizers, chat templates, formats, collation,
 * preflight.
 *
 * @module
 */
export * from '../dataset/index.js';
export type { RowSource } from '../dataset/rowSource.js';
export * from '../text/index.js';
export {
  type AssistantMask,
  assistantMask,
  type ChatTokenizer,
  commonPrefix,
} from '../tokenizer/assistantMask.js';
export { AutoTokenizer } from '../tokenizer/autoTokenizer.js';
export {
  type ChatMessage,
  ChatTemplate,
  type ChatTemplates,
  type RenderOptions,
  type Span,
} from '../tokenizer/chatTemplate.js';
export { readChatTemplates } from '../tokenizer/chatTemplateFiles.js';
export { DecodeStream } from '../tokenizer/decodeStream.js';
export type { AddedToken } from '../tokenizer/engine/addedTokens.js';
export * from '../tokenizer/tokenizer.js';
