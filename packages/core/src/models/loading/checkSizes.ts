import type { RawConfig } from '../../io/hfConfig.js';
import type { WeightFolder } from '../../io/weights.js';
import { formatShape, numel } from '../../tensor/shape.js';
import { AttuneError } from '../../util/errors.js';
import type { ModelFacts } from '../families/family.js';

/** Where the names of a decoder begin in a checkpoint. */
const bodies = ['model.', 'transformer.', ''];

/**
 * What the header of the weights says of the sizes that a config repeats; undefined where it does
 * not say.
 */
interface FileSizes {
  readonly prefix: string;
  readonly layers: number | undefined;
  readonly vocab: number | undefined;
  readonly hidden: number | undefined;
}

function sizesOf(weights: WeightFolder): FileSizes {
  const embedding = weights.names.find((name) => /(^|\.)(embed_tokens|wte)\.weight$/.test(name));
  const prefix =
    embedding?.replace(/(embed_tokens|wte)\.weight$/, '') ??
    bodies.find((body) => weights.names.some((name) => layerOf(name, body) !== null)) ??
    '';
  const layers = weights.names.map((name) => layerOf(name, prefix)).filter((n) => n !== null);
  const [vocab, hidden] = embedding ? weights.info(embedding).shape : [];
  return { prefix, layers: layers.length ? new Set(layers).size : undefined, vocab, hidden };
}

function layerOf(name: string, prefix: string): string | null {
  if (!name.startsWith(prefix)) return null;
  return /^(?:layers|h)\.(\d+)\./.exec(name.slice(prefix.length))?.[1] ?? null;
}

/** For messages: what the weights have. */
export function sizesInWords(weights: WeightFolder): string {
  const { layers, vocab, hidden } = sizesOf(weights);
  const parts = [
    layers !== undefined && `${layers} layers`,
    vocab !== undefined && `a vocabulary of ${vocab}`,
    hidden !== undefined && `a hidden size of ${hidden}`,
  ].filter(Boolean);
  return parts.length ? `The weights have ${parts.join(', ')}.` : '';
}

/**
 * Compares the sizes in config.json with the header of the weights, before anything of such a size
 * is made. Names that it does not know it passes over: loading finds them.
 *
 * @param codesToo whether integers are the codes of bitsandbytes, whose sizes are known
 * @throws WEIGHTS_MISMATCH for layers that are not there; WEIGHTS_SHAPE naming key, value and
 *   tensor
 */
export function checkSizes(
  weights: WeightFolder,
  facts: ModelFacts,
  raw: RawConfig,
  where: string,
  codesToo = true,
): void {
  const { prefix, layers } = sizesOf(weights);
  const key = (name: string, old: string) => (name in raw || !(old in raw) ? name : old);
  const layersKey = key('num_hidden_layers', 'n_layer');
  if (layers !== undefined && facts.numHiddenLayers > layers)
    throw new AttuneError(
      'WEIGHTS_MISMATCH',
      `${where}: ${layersKey} is ${facts.numHiddenLayers}, but the weights have ${layers} layers (${prefix}...).`,
      {
        remedy: `Compare ${layersKey} (${facts.numHiddenLayers}) in config.json with the checkpoint.`,
        details: { key: layersKey, value: facts.numHiddenLayers, found: layers },
      },
    );
  const layer = /^(?:layers|h)\.\d+\./;
  const inFirst = (suffix: string) =>
    weights.names.find(
      (name) =>
        name.startsWith(prefix) &&
        layer.test(name.slice(prefix.length)) &&
        name.endsWith(`.${suffix}.weight`),
    );
  const { vocabSize, hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = facts;
  const [vocabKey, hiddenKey] = ['vocab_size', key('hidden_size', 'n_embd')];
  const innerKey = key('intermediate_size', 'n_inner');
  const inner = (raw[innerKey] ?? 4 * hiddenSize) as number;
  const headsKey = key('num_attention_heads', 'n_head');
  const isShare = !raw.head_dim && headDim === hiddenSize / numAttentionHeads;
  if (!Number.isInteger(headDim))
    throw new AttuneError(
      'CONFIG_INVALID',
      `${where}: ${hiddenKey} (${hiddenSize}) is not a multiple of ${headsKey} (${numAttentionHeads}). ${sizesInWords(weights)}`,
      { remedy: `Compare ${headsKey} in config.json with the checkpoint.` },
    );
  const width = isShare
    ? `(${hiddenKey} (${hiddenSize}) / ${headsKey} (${numAttentionHeads}))`
    : `head_dim (${headDim})`;
  const headsKeys = `${headsKey} (${numAttentionHeads}) x ${width}`;
  const [queries, keys] = [numAttentionHeads * headDim, numKeyValueHeads * headDim];
  const own = (name: string) => `${prefix}${name}.weight`;
  const check = (
    tensor: string | undefined,
    wanted: readonly (readonly [size: number, term: string])[],
  ) => {
    if (tensor === undefined || !weights.has(tensor)) return;
    const { shape, dtype } = weights.info(tensor);
    if (!codesToo && !/^B?F/.test(dtype)) return;
    const sizes = wanted.map(([size]) => size);
    // Two codes of 4 bits in a byte: the number of bytes is all that the header says.
    const packed = dtype === 'U8' && shape.length === 2 && shape[1] === 1;
    if (packed && numel(shape) === Math.ceil(numel(sizes) / 2)) return;
    const at = packed ? 0 : sizes.findIndex((size, i) => size !== shape[i]);
    if (at < 0) return;
    throw new AttuneError(
      'WEIGHTS_SHAPE',
      `${where}: ${wanted[at]![1]} is ${sizes[at]}, but tensor "${tensor}" is ${formatShape(shape)} in the weights; config.json asks for ${formatShape(sizes)}.`,
      {
        remedy: `Compare ${wanted.map(([, term]) => term).join(', ')} in config.json with the checkpoint.`,
        details: { name: tensor, found: shape, expected: sizes },
      },
    );
  };
  for (const name of ['embed_tokens', 'wte'])
    check(own(name), [
      [vocabSize, vocabKey],
      [hiddenSize, hiddenKey],
    ]);
  check(own('wpe'), [
    [facts.maxPositionEmbeddings, key('max_position_embeddings', 'n_positions')],
    [hiddenSize, hiddenKey],
  ]);
  const fromHidden = (size: number, term: string, suffix: string) =>
    check(inFirst(suffix), [
      [size, term],
      [hiddenSize, hiddenKey],
    ]);
  fromHidden(queries, headsKeys, 'self_attn.q_proj');
  const kvKeys = `num_key_value_heads (${numKeyValueHeads}) x ${width}`;
  fromHidden(keys, kvKeys, 'self_attn.k_proj');
  fromHidden(keys, kvKeys, 'self_attn.v_proj');
  fromHidden(queries + 2 * keys, `${headsKeys} + 2 x ${kvKeys}`, 'self_attn.qkv_proj');
  fromHidden(inner, innerKey, 'mlp.gate_proj');
  fromHidden(inner, innerKey, 'mlp.up_proj');
  fromHidden(2 * inner, `2 x ${innerKey} (${inner})`, 'mlp.gate_up_proj');
  // Conv1D: [in, out].
  check(inFirst('mlp.c_fc'), [
    [hiddenSize, hiddenKey],
    [inner, innerKey],
  ]);
}
