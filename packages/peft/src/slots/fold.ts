import { AttuneError, type Engine, type Logger, ops, type Tensor } from '@attune/core';
import type { HostArray } from '@attune/core/backend';
import {
  type DequantizedDType,
  type Module,
  type Parameter,
  QuantizedLayer,
} from '@attune/core/nn';
import { type AdapterPart, type FoldTarget, partsOf } from './adapterSlot.js';

/** What a merge overwrote, on the host: each entry puts one back. */
export type Backup = readonly (() => void)[];

export interface FoldOptions {
  readonly logger: Logger;
  /** Refuse values that are not finite. They are read to the host for that. */
  readonly safe: boolean;
  /** Keep what is overwritten, on the host. */
  readonly backup: boolean;
  /**
   * Leave quantised layers as they are, and give their merged weights in this storage. Default
   * null: quantise them again.
   */
  readonly dequantize?: DequantizedDType | null;
}

/** What folding leaves. */
export interface Folded {
  /** What was overwritten. */
  readonly backup: Backup;
  /** With `dequantize`, the merged weights [out, in] of quantised layers. */
  readonly weights: ReadonlyMap<QuantizedLayer, Tensor>;
}

/**
 * Writes adapters into the base weights: computed in float32, rounded to how each is stored once;
 * quantised weights are quantised again, as their format does. Nothing is written unless all of it
 * can be.
 *
 * @returns with `dequantize` the merged weights [out, in] of quantised layers, which are the
 *   caller's
 * @throws PEFT_NOT_MERGEABLE, PEFT_MERGE_NOT_FINITE
 */
export async function fold(
  engine: Engine,
  root: Module,
  adapters: readonly string[],
  { logger, safe, backup, dequantize = null }: FoldOptions,
): Promise<Folded> {
  const parts = partsOf(root);
  const undo = new Map<FoldTarget, () => void>();
  const requantized = new Map<QuantizedLayer, unknown>();
  // Parts whose values are still to be computed: new codes are there.
  const left: AdapterPart[] = [];
  for (const part of parts) {
    const { targets, codes } = await tryFold(engine, part, adapters, safe, dequantize === null);
    for (const [layer, weight] of codes) requantized.set(layer, weight);
    if (targets.length > codes.size) left.push(part);
    if (backup)
      for (const target of targets) if (!undo.has(target)) undo.set(target, await putBack(target));
  }
  if (requantized.size > 0) logger.warn(rounding([...requantized.keys()]));
  const weights = new Map<QuantizedLayer, Tensor>();
  for (const part of left)
    inScope(engine, () => {
      for (const [target, value] of part.folded(adapters)) {
        if (!(target instanceof QuantizedLayer)) ops.assign(target.tensor, value);
        else if (dequantize) weights.set(target, engine.keep(value.mul(1).cast(dequantize)));
      }
    });
  for (const [layer, weight] of requantized) layer.load(weight);
  return { backup: [...undo.values()], weights };
}

/** Puts the bytes back: the base is what it was, where PEFT's subtraction is off by rounding. */
export function restore(backup: Backup): void {
  for (const putOneBack of backup) putOneBack();
}

const inScope = <T>(engine: Engine, fn: () => T): T =>
  engine.noGrad(() => engine.scope('merge', fn));

/** Computes and forgets: says what would be written, and whether it is sound. */
async function tryFold(
  engine: Engine,
  part: AdapterPart,
  adapters: readonly string[],
  safe: boolean,
  quantize: boolean,
) {
  const results = inScope(engine, () =>
    part.folded(adapters).map(([target, value]) => {
      if (target instanceof QuantizedLayer)
        return { target, stored: safe || quantize ? value.mul(1) : null };
      // A copy as it would be stored: 16-bit weights may overflow only there.
      return { target, stored: safe ? value.mul(1).cast(target.dtype) : null };
    }),
  );
  const codes = new Map<QuantizedLayer, unknown>();
  try {
    for (const { target, stored } of results) {
      const values = stored && ((await stored.data()) as Float32Array);
      const layer = quantize && target instanceof QuantizedLayer ? target : null;
      if ((safe || layer) && !values?.every((value) => Number.isFinite(value)))
        throw notFinite(part, adapters);
      if (layer) codes.set(layer, encoded(layer, values!, part, adapters));
    }
  } finally {
    for (const { stored } of results) stored?.dispose();
  }
  return { targets: results.map(({ target }) => target), codes };
}

/** @throws PEFT_NOT_MERGEABLE where the format makes no codes; PEFT_MERGE_NOT_FINITE */
function encoded(
  layer: QuantizedLayer,
  values: Float32Array,
  part: AdapterPart,
  adapters: readonly string[],
): unknown {
  if (!layer.encode)
    throw new AttuneError(
      'PEFT_NOT_MERGEABLE',
      `${part.path} is held in ${layer.precision}, which is read from checkpoints and not made of floats: ${named(adapters)} cannot be merged into it.`,
      {
        remedy:
          'Keep the adapter beside the base; or call mergeAndUnload({ dequantize: true }), which gives the merged weights in full precision.',
      },
    );
  try {
    return layer.encode(values);
  } catch (cause) {
    // No code stands for it: int8 is made from float16, which rounds 65520 to infinity.
    if (AttuneError.isInstance(cause) && cause.code === 'QUANTIZATION_INVALID')
      throw notFinite(part, adapters, cause);
    throw cause;
  }
}

const named = (adapters: readonly string[]): string => adapters.map((a) => `"${a}"`).join(', ');

function notFinite(
  part: AdapterPart,
  adapters: readonly string[],
  cause?: AttuneError,
): AttuneError {
  return new AttuneError(
    'PEFT_MERGE_NOT_FINITE',
    `merging ${named(adapters)} makes ${part.path} infinite or not a number; the base model is unchanged.`,
    {
      remedy:
        'The adapter is broken (training diverged), or a float16 weight overflows: load the base as float32 or bfloat16.',
      cause,
    },
  );
}

const rounding = (layers: readonly QuantizedLayer[]): string =>
  `merging into ${layers.length} layers held in ${layers[0]!.precision} rounds their weights again: outputs differ from those of the adapter beside the base. mergeAndUnload({ dequantize: true }) keeps the merged weights in full precision.`;

async function putBack(target: FoldTarget): Promise<() => void> {
  if (target instanceof QuantizedLayer) {
    const weight = await target.read();
    return () => target.load(weight);
  }
  const values = await storedValues(target);
  return () => target.write(values);
}

async function storedValues(parameter: Parameter): Promise<HostArray> {
  const { buffer } = (await parameter.read()).slice();
  return parameter.dtype === 'float32' ? new Float32Array(buffer) : new Uint16Array(buffer);
}
