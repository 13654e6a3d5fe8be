import { join } from '#platform';
import type { Attune } from '../attune.js';
import type { DType } from '../backend/dtype.js';
import { type RawConfig, writeJson } from '../io/hfConfig.js';
import type { TensorToWrite } from '../io/safetensorsWriter.js';
import { saveWhole } from '../io/saveWhole.js';
import { type ShardOptions, shardOptions, writeWeights } from '../io/shards.js';
import type { AttentionLike } from '../nn/attention.js';
import type { CappedHead, CausalDecoder } from '../nn/decoder.js';
import type { Module, Parameter } from '../nn/module.js';
import type { DequantizedDType } from '../nn/quantizedLayer.js';
import { positionsBehind, positionsFromStart, segmentsBehind } from '../nn/virtualTokens.js';
import type { Engine } from '../tensor/engine.js';
import { concat } from '../tensor/ops/movement.js';
import { formatShape, sameShape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import { checkNames, parseOptions } from '../util/options.js';
import { requireFolder } from '../util/requireFolder.js';
import type { AdapterHost } from './adapterHost.js';
import { type NestedFacts, nameInText } from './families/nestedFamily.js';
import {
  type CheckpointingOptions,
  type DequantizeOptions,
  type ForwardInput,
  type LanguageModel,
  longestInput,
  type ModelConfig,
  type TaskType,
  virtualOnes,
} from './languageModel.js';
import { checkpointingOptions, dequantizeOptions } from './modelOptions.js';
import { dequantizeLayers, quantizedToWrite } from './quantization/quantizeLayers.js';

/** Keys of config.json where transformers refuses an int; its other numbers may be either. */
const FLOATS: ReadonlySet<string> = new Set([
  'initializer_range',
  'rms_norm_eps',
  'layer_norm_epsilon',
  'attn_logit_softcapping',
  'final_logit_softcapping',
]);

/** What a {@link DecoderModel} is made of. */
export interface DecoderModelParts {
  readonly attune: Attune;
  readonly config: ModelConfig;
  readonly root: CausalDecoder;
  /** Storage of the weights, for config.json. */
  readonly dtype: DType;
  readonly nameOrPath: string;
  /** Its files on this machine; null: made from a config. */
  readonly folder: string | null;
  /**
   * Makes another model of the same modules, whose weights are not set. Absent: it cannot be
   * copied.
   */
  readonly rebuild?: (config: ModelConfig) => DecoderModel;
}

/**
 * A decoder of any family with a head: what all models do, whatever the head is for. What a head
 * adds (text, scores) is in the class of its model.
 */
export abstract class DecoderModel implements LanguageModel {
  abstract readonly taskType: TaskType;
  readonly attune: Attune;
  readonly root: CausalDecoder;
  readonly dtype: DType;
  readonly nameOrPath: string;
  readonly folder: string | null;
  #config: ModelConfig;
  readonly #rebuild: DecoderModelParts['rebuild'];
  adapters: AdapterHost | null = null;

  constructor(parts: DecoderModelParts) {
    this.attune = parts.attune;
    this.#config = parts.config;
    this.root = parts.root;
    this.dtype = parts.dtype;
    this.nameOrPath = parts.nameOrPath;
    this.folder = parts.folder;
    this.#rebuild = parts.rebuild;
  }

  /**
   * Another model of the same modules on the same device, whose weights are not set.
   *
   * @throws COPY_UNSUPPORTED
   */
  rebuilt(): DecoderModel {
    if (this.#rebuild) return this.#rebuild(this.config);
    throw new AttuneError(
      'COPY_UNSUPPORTED',
      `a "${this.config.modelType}" that no AutoModel made cannot be copied.`,
      { remedy: 'Load its files a second time, and use that model.' },
    );
  }

  get config(): ModelConfig {
    return this.#config;
  }

  get engine(): Engine {
    return this.attune.engine;
  }

  /**
   * The hidden states of the tokens alone. Virtual tokens of an adapter are put before them, and
   * their part of the result is taken off.
   *
   * @throws SEQUENCE_TOO_LONG when default positions pass maxPositionEmbeddings (positions that are
   * given are the caller's to keep below it), INPUT_SHAPE, VIRTUAL_TOKENS_UNSUPPORTED
   */
  hiddenStates(input: ForwardInput): Tensor {
    const { inputIds, segments = null, cache = null } = input;
    checkIds(inputIds);
    if (input.positions && !sameShape(input.positions.shape, inputIds.shape))
      throw new AttuneError(
        'INPUT_SHAPE',
        `positions are ${formatShape(input.positions.shape)}, inputIds ${formatShape(inputIds.shape)}.`,
        { remedy: 'Give one position for each id.' },
      );
    const [, length] = inputIds.shape as [number, number];
    const reach = input.positions?.reach ?? null;
    const count = this.adapters?.numVirtualTokens ?? 0;
    const cached = cache?.length ?? 0;
    // What is cached has the virtual tokens in it.
    const virtual = (cached === 0 && this.adapters?.virtualTokens?.()) || null;
    const own = input.positions
      ? count > 0
        ? positionsBehind(count, input.positions)
        : input.positions
      : this.#defaultPositions(inputIds, cached || count);
    const positions = virtual?.embeddings ? positionsFromStart(count, own) : own;
    const hidden = this.root.hiddenStates({
      inputIds,
      positions,
      segments: segments && count > 0 ? this.#behind(count, segments, positions) : segments,
      cache,
      virtual,
      length: reach === null ? undefined : count + reach,
    });
    cache?.advance(length + (virtual?.count ?? 0));
    const first = count - (input.withLastVirtual ? 1 : 0);
    return virtual?.embeddings ? this.#withoutVirtual(hidden, count, length, first) : hidden;
  }

  /**
   * A window reaches from a token over its own text to the virtual tokens, not over what else is in
   * the row.
   */
  #behind(count: number, segments: Tensor, positions: Tensor): Tensor {
    const behind = segmentsBehind(count, segments);
    return hasWindow(this.root) ? concat([behind, positions], 1) : behind;
  }

  #withoutVirtual(hidden: Tensor, count: number, length: number, first: number): Tensor {
    if (hidden.shape[1] === count + length) return hidden.slice(1, first, count + length);
    throw new AttuneError(
      'VIRTUAL_TOKENS_UNSUPPORTED',
      `the decoder of "${this.config.modelType}" passes over virtual tokens (${count} were given).`,
      { remedy: 'Its family must begin with `embedded(this.embedding, input)` of @attune/core.' },
    );
  }

  head(hidden: Tensor): Tensor {
    return this.root.head(hidden);
  }

  headWeight(): Tensor | null {
    return this.root.headWeight();
  }

  cappedHead(): CappedHead | null {
    return this.root.cappedHead?.() ?? null;
  }

  forward(input: ForwardInput): Tensor {
    return this.head(this.hiddenStates(input));
  }

  /** @throws CHECKPOINTING_LAYERS */
  gradientCheckpointingEnable(options: CheckpointingOptions = {}): void {
    const { everyNLayers = 1 } = options;
    checkNames(checkpointingOptions, options, { where: 'gradientCheckpointingEnable' });
    if (!Number.isSafeInteger(everyNLayers) || everyNLayers < 1)
      throw new AttuneError('CHECKPOINTING_LAYERS', `everyNLayers is ${everyNLayers}.`, {
        remedy: 'Give a whole number of layers, 1 or more.',
      });
    this.root.gradientCheckpointing = everyNLayers;
  }

  gradientCheckpointingDisable(): void {
    this.root.gradientCheckpointing = false;
  }

  get isGradientCheckpointing(): boolean {
    return this.root.gradientCheckpointing !== false;
  }

  dequantize(options: DequantizeOptions = {}): void {
    const { dtype, weights = new Map() } = options;
    checkNames(dequantizeOptions, options, { where: 'dequantize' });
    if (this.adapters)
      throw new AttuneError('MODEL_HAS_ADAPTERS', 'dequantize: the layers have adapters.', {
        remedy: 'Merge them with mergeAndUnload({ dequantize: true }), or unload them first.',
      });
    const stored = dtype ?? (this.dtype as DequantizedDType);
    dequantizeLayers(this.engine, this.root, stored, weights);
    const { quantization_config: _, ...raw } = this.#config.raw;
    this.#config = { ...this.#config, raw };
  }

  /**
   * Writes config.json, generation_config.json and model.safetensors (shards with an index above
   * `maxShardSize`) as transformers does: a tied head is not written twice. With adapters on it,
   * writes the adapters (as PEFT does): merge them first to save a whole model. Other towers beside
   * the text are not written.
   */
  async savePretrained(folder: string, options: ShardOptions = {}): Promise<void> {
    requireFolder(folder, 'savePretrained');
    parseOptions(shardOptions, options, { where: 'savePretrained' });
    if (this.adapters) return this.adapters.savePretrained(folder);
    const { raw, generation, sources, nested } = this.config;
    const tensors = [
      ...[...this.root.namedParameters()].map(([name, parameter]) => toWrite(name, parameter)),
      ...quantizedToWrite(this.attune, this.root, raw),
    ];
    const config = nested ? textAlone(raw, nested) : raw;
    const source = sources?.config;
    await saveWhole(folder, async (temporary) => {
      await writeWeights(
        temporary,
        nested ? tensors.map((t) => ({ ...t, name: nameInText(t.name, nested) })) : tensors,
        options,
      );
      await writeJson(join(temporary, 'config.json'), withDType(config, this.dtype), {
        like: nested && source instanceof Map ? source.get('text_config') : source,
        floats: FLOATS,
      });
      if (generation)
        await writeJson(join(temporary, 'generation_config.json'), generation, {
          like: sources?.generation ?? undefined,
        });
    });
  }

  /** Frees the weights. The model cannot be used after. */
  dispose(): void {
    this.root.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** int32 [B, T]: start, start + 1, ... in every row. */
  #defaultPositions(inputIds: Tensor, start: number): Tensor {
    const [batch, length] = inputIds.shape as [number, number];
    const most = this.config.maxPositionEmbeddings;
    if (start + length > most)
      throw new AttuneError(
        'SEQUENCE_TOO_LONG',
        `a sequence of ${start + length} tokens${virtualOnes(this)} is longer than the model's ${most} positions (max_position_embeddings).`,
        {
          remedy: `Truncate to ${longestInput(this)} tokens: maxLength in the Trainer's arguments.`,
        },
      );
    const values = Int32Array.from({ length: batch * length }, (_, i) => start + (i % length));
    return inputIds.engine.tensor(values, [batch, length], 'int32');
  }
}

function hasWindow(root: Module): boolean {
  for (const [, module] of root.namedModules())
    if ((module as Partial<Pick<AttentionLike, 'window'>>).window) return true;
  return false;
}

function checkIds(inputIds: Tensor): void {
  if (inputIds.rank !== 2 || inputIds.size === 0 || inputIds.dtype !== 'int32')
    throw new AttuneError(
      'INPUT_SHAPE',
      `inputIds are ${inputIds.dtype} ${formatShape(inputIds.shape)}; expected int32 [B, T], not empty.`,
      { remedy: 'engine.tensor(ids, [batch, length], "int32")' },
    );
}

/** Read back when the writer comes to it: one tensor in host memory at a time. */
const toWrite = (name: string, parameter: Parameter): TensorToWrite => ({
  name,
  dtype: parameter.dtype,
  shape: parameter.shape,
  data: () => parameter.read(),
});

/** The config of the text model, with how its weights are held. */
const textAlone = ({ quantization_config }: RawConfig, { textConfig }: NestedFacts): RawConfig => ({
  ...textConfig,
  ...(quantization_config !== undefined && { quantization_config }),
});

/** The config as it was read, with the dtype in which the weights are now. */
function withDType(raw: RawConfig, dtype: DType): RawConfig {
  const key = 'torch_dtype' in raw && !('dtype' in raw) ? 'torch_dtype' : 'dtype';
  return { ...raw, [key]: dtype };
}
