import { type Fields, isCount, show } from '../fields.js';

/** The tokens of a model: names to ids and back. */
export interface Vocabulary {
  readonly ids: ReadonlyMap<string, number>;
  readonly tokens: ReadonlyMap<number, string>;
}

/** Reads `vocab` as an object of ids. @throws TOKENIZER_INVALID also when two tokens have one id */
export function readVocabulary(fields: Fields): Vocabulary {
  const raw = fields.raw('vocab');
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw))
    throw fields.wrong('vocab', 'an object of ids by token');
  return vocabularyOf(fields, Object.entries(raw));
}

export function vocabularyOf(fields: Fields, entries: Iterable<[string, unknown]>): Vocabulary {
  const ids = new Map<string, number>();
  const tokens = new Map<number, string>();
  for (const [token, id] of entries) {
    if (!isCount(id))
      throw fields.error(
        `${fields.path}.vocab gives the token ${show(token)} the id ${show(id)}: expected an integer from 0 to 4294967295`,
      );
    const other = tokens.get(id);
    if (other !== undefined && other !== token)
      throw fields.error(
        `${fields.path}.vocab gives the tokens ${show(other)} and ${show(token)} the same id, ${id}`,
      );
    ids.set(token, id);
    tokens.set(id, token);
  }
  return { ids, tokens };
}
