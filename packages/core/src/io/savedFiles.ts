/** Files that make up a tokenizer, as transformers names them. */
export const tokenizerFiles =
  /^(tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|tokenizer\.model|spiece\.model)$/;

const chatTemplates = /^(chat_template\.(jinja|json)|additional_chat_templates\/[^/]+\.jinja)$/;

/** What one save writes some of: all of a kind in a folder are of the same save. */
const kinds: readonly RegExp[] = [
  /^model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?$/,
  /^(generation_)?config\.json$/,
  /^(adapter_config\.json|(adapter_model|prompt_encoder)\.safetensors)$/,
  new RegExp(`${tokenizerFiles.source}|${chatTemplates.source}`),
];

/**
 * Old files that do not belong to a new save.
 *
 * @param there files of the folder, with "/" between the parts of their paths
 * @param written names in the new save
 */
export function replacedTogether(there: readonly string[], written: readonly string[]): string[] {
  const own = new Set(written);
  const replaced = kinds.filter((kind) => written.some((name) => kind.test(name)));
  return there.filter((name) => !own.has(name) && replaced.some((kind) => kind.test(name)));
}
