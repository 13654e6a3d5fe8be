import { nearest } from '@attune/core/util';
import type { TokenizerConfig } from '../config/mergeConfig.js';
import type { FillRow, StoredTensor, TensorSource } from '../contract/tensorTask.js';
import type { ConfigPath, MergeProblems } from '../problems.js';
import type { OutputVocabulary, VocabularyModel } from './outputVocabulary.js';

/** A tensor with a row for each token (axis 0), of one model. */
export interface VocabularyTensor {
  /** The model as the config names it. */
  readonly model: string;
  readonly tensor: StoredTensor;
}

/** What rows are chosen by. */
export interface RowRules {
  readonly vocabulary: OutputVocabulary;
  readonly models: ReadonlyMap<string, VocabularyModel>;
  readonly tokens: TokenizerConfig['tokens'];
  /** Rows without a token that follow the tokens: those of the vocabulary's owner. */
  readonly keptRows: number;
  /** Rows behind all of these, each the mean of all before. */
  readonly padding: number;
  /** Where a config says something of a token. */
  readonly path: (token: string) => ConfigPath;
}

/** The inputs of one tensor: one source for each, and tokens that no model has. */
export interface AlignedTensor {
  readonly sources: readonly TensorSource[];
  /** Tokens whose row is zeros, because nobody has them and the config names no other row. */
  readonly unknown: readonly string[];
}

/**
 * Rows of each model in the order of the output's vocabulary. A model that lacks a token has for it
 * the row that the config names; else that of the only model that has the token; else the base's;
 * else the mean over those that have it; else zeros. With `force` the config's row stands in the
 * place of the model's own, too.
 *
 * A row without a token, behind the vocabulary or in a gap of it, counts as one that the models
 * without a token there have, and the vocabulary's owner takes the part of the base.
 *
 * @param inputs models that have the tensor, in the order of the task
 * @param base key of the base; null: none
 */
export function alignTensor(
  rules: RowRules,
  inputs: readonly VocabularyTensor[],
  base: string | null,
  problems: MergeProblems,
): AlignedTensor {
  const { vocabulary, models, tokens, keptRows, padding } = rules;
  const numRows = Math.max(vocabulary.numTokens, keptRows);
  const words = new Array<string | null>(numRows).fill(null);
  for (const [token, id] of vocabulary.ids) words[id] = token;
  const own = inputs.map(({ model, tensor }) => {
    const { tokens: folder, numRows: limit } = models.get(model)!;
    const last = Math.min(limit, tensor.shape[0]!);
    return words.map((token, id) => {
      const row =
        token !== null
          ? (folder.vocabulary.get(token) ?? -1)
          : folder.tokenizer.idToToken(id) === null
            ? id
            : -1;
      return row < last ? row : -1;
    });
  });
  const fills: FillRow[] = [];
  const unknown: string[] = [];
  const rows = inputs.map(() => new Int32Array(numRows));
  const rowOf = (k: number, row: number) => ({ source: inputs[k]!.tensor, row });
  for (const [id, token] of words.entries()) {
    const present = own.flatMap((list, k) => (list[id]! >= 0 ? [k] : []));
    const setting = token === null ? undefined : tokens.get(token);
    const isForced = setting?.source != null && setting.force;
    if (!isForced && present.length === inputs.length) {
      for (const [k, list] of own.entries()) rows[k]![id] = list[id]!;
      continue;
    }
    const preferred = inputs.findIndex(
      ({ model }) => model === (token === null ? vocabulary.owner.key : base),
    );
    const chosen = present.length > 1 && present.includes(preferred) ? [preferred] : present;
    const from =
      token !== null && setting?.source
        ? configured(token, setting.source, id)
        : chosen.map((k) => rowOf(k, own[k]![id]!));
    if (from.length === 0 && token !== null && !setting?.source) unknown.push(token);
    for (const [k, list] of own.entries())
      rows[k]![id] = list[id]! >= 0 && !isForced ? list[id]! : -1 - fills.length;
    fills.push({ from });
  }
  const sources = inputs.map(({ tensor }, k): TensorSource => {
    const isWhole = padding === 0 && numRows === tensor.shape[0];
    return isWhole && rows[k]!.every((row, id) => row === id)
      ? { kind: 'file', tensor }
      : { kind: 'rows', tensor, rows: rows[k]!, fills, padding };
  });
  return { sources, unknown };

  /** The row that the config names for a token. */
  function configured(
    token: string,
    source: NonNullable<NonNullable<ReturnType<typeof tokens.get>>['source']>,
    id: number,
  ): FillRow['from'] {
    if (source.kind === 'zero') return [];
    const path = rules.path(token);
    const wrong = (message: string, remedy: string): FillRow['from'] => {
      problems.add({ message: `token ${JSON.stringify(token)}: ${message}.`, remedy, path });
      return [];
    };
    const k = inputs.findIndex(({ model }) => model === source.model.key);
    if (k < 0)
      return wrong(
        `its row is to be one of ${source.model.key}, which is not among the models that are merged (${inputs.map(({ model }) => model).join(', ')})`,
        'Name one of these models.',
      );
    const { vocabulary: there } = models.get(source.model.key)!.tokens;
    const last = inputs[k]!.tensor.shape[0]!;
    if (source.kind === 'model')
      return own[k]![id]! >= 0
        ? [rowOf(k, own[k]![id]!)]
        : wrong(`${source.model.key} does not have it${near(token, there)}`, OTHER_TOKEN);
    const { tokenId, token: name } = source;
    if (tokenId !== null)
      return tokenId < last && tokenId >= 0
        ? [rowOf(k, tokenId)]
        : wrong(
            `token_id is ${tokenId}, and ${source.model.key} has rows 0 to ${last - 1}`,
            'Give an id within these.',
          );
    const row = there.get(name!);
    if (row !== undefined && row < last) return [rowOf(k, row)];
    return row === undefined
      ? wrong(
          `${source.model.key} has no token ${JSON.stringify(name)}${near(name!, there)}`,
          OTHER_TOKEN,
        )
      : wrong(
          `${JSON.stringify(name)} has the id ${row} in ${source.model.key}, whose rows are 0 to ${last - 1}`,
          OTHER_TOKEN,
        );
  }
}

const OTHER_TOKEN = 'Name a token of that model, or a model that has the token.';

function near(token: string, vocabulary: ReadonlyMap<string, number>): string {
  const other = nearest(token, vocabulary.keys());
  return other === undefined ? '' : `. Nearest: ${JSON.stringify(other)}`;
}
