import { type DType, decode } from '../../backend/dtype.js';
import type { RawConfig } from '../../io/hfConfig.js';
import type { WeightFolder } from '../../io/weights.js';
import type { CausalDecoder } from '../../nn/decoder.js';
import type { Module } from '../../nn/module.js';
import { sameShape } from '../../tensor/shape.js';
import { compareBytes } from '../../util/byteArrays.js';
import { isPlainObject } from '../../util/json.js';
import type { Logger } from '../../util/logger.js';
import type { LanguageModel } from '../languageModel.js';
import { convert, storedNames } from '../loading/loadWeights.js';

const HEAD = 'lm_head.weight';

/**
 * The embedding's name where the output layer reads it; null: the layer has a weight of its own.
 */
function tiedEmbedding(model: Pick<CausalDecoder, 'headWeight' | 'cappedHead'>, root: Module) {
  const weight = model.headWeight() ?? model.cappedHead?.()?.weight ?? null;
  if (!weight) return null;
  const [name] = [...root.namedParameters()].find(([, { tensor }]) => tensor === weight) ?? [];
  return name === undefined || name === HEAD ? null : name;
}

export interface HeadOfFile {
  readonly root: CausalDecoder;
  /** The config that the model now has. */
  readonly raw: RawConfig;
  /** Names of the model that stand under another one in the checkpoint. */
  readonly aliases: ReadonlyMap<string, string>;
}

/**
 * Builds a model with the head that its files have. transformers 5.23 ties only what is the same: a
 * head that differs from the embedding is the model's head, whatever config.json says, and one that
 * stands alone is the embedding too.
 *
 * @param dtype in which the model stores its weights: what rounds to the same is the same
 * @param build makes the model from a config
 */
export async function buildWithHead(
  weights: WeightFolder,
  given: RawConfig,
  dtype: DType,
  build: (raw: RawConfig) => CausalDecoder,
  logger: Logger,
): Promise<HeadOfFile> {
  const root = build(given);
  const asBuilt = { root, raw: given, aliases: new Map<string, string>() };
  try {
    const name = weights.has(HEAD) ? tiedEmbedding(root, root) : null;
    if (name === null) return asBuilt;
    const embedding = storedNames([name], weights).get(name)!;
    if (!weights.has(embedding)) return { ...asBuilt, aliases: new Map([[name, HEAD]]) };
    if (await areEqual(weights, embedding, dtype)) return asBuilt;
    logger.warn(
      `${weights.folder}: config.json says tie_word_embeddings, but ${HEAD} is not ${embedding}: the model gets the head of the file, and tie_word_embeddings is false from here on`,
    );
  } catch (error) {
    root.dispose();
    throw error;
  }
  root.dispose();
  const untied = { tie_word_embeddings: false };
  const text = given.text_config;
  const raw = {
    ...given,
    ...untied,
    ...(isPlainObject(text) && { text_config: { ...text, ...untied } }),
  };
  return { root: build(raw), raw, aliases: new Map() };
}

/** Whether weights have a head that a model without one would lose. */
export async function hasOtherHead(model: LanguageModel, weights: WeightFolder): Promise<boolean> {
  const name = weights.has(HEAD) ? tiedEmbedding(model, model.root) : null;
  return name !== null && weights.has(name) && !(await areEqual(weights, name, 'float32'));
}

async function areEqual(weights: WeightFolder, embedding: string, dtype: DType): Promise<boolean> {
  if (!sameShape(weights.info(embedding).shape, weights.info(HEAD).shape)) return false;
  const [ours, theirs] = [await weights.get(embedding), await weights.get(HEAD)];
  if (ours.dtype === theirs.dtype && sameBytes(ours.data, theirs.data)) return true;
  const [a, b] = [ours, theirs].map((found) => {
    const stored = convert(found, dtype, weights.file(found.name).path);
    const { buffer, byteOffset, byteLength } = stored;
    const bytes = buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
    return decode(bytes, dtype, stored.length);
  });
  return a!.every((value, i) => value === b![i]);
}

const sameBytes = (a: ArrayBufferView, b: ArrayBufferView): boolean =>
  compareBytes(
    new Uint8Array(a.buffer, a.byteOffset, a.byteLength),
    new Uint8Array(b.buffer, b.byteOffset, b.byteLength),
  ) === 0;
