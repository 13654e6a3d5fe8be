import { AttuneError, type Engine, type Logger, ops, type Tensor } from '@attune/core';
import type { HostArray } from '@attune/core/backend';
import {
  type DequantizedDType,
  type Module,
  type Parameter,
  QuantizedLinear,
  type QuantizedWeight,
  quantizeWeight,
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
  readonly weights: ReadonlyMap<QuantizedLinear, Tensor>;
}

/**
 * Writes adapters into the base weights: computed in float32, rounded to how each is stored once;
 * codes of 4 or 8 bits are made anew on the host, as bitsandbytes makes them. Nothing is written
 * unless all of it can be.
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
  const requantized = new Map<QuantizedLinear, QuantizedWeight>();
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
  const weights = new Map<QuantizedLinear, Tensor>();
  for (const part of left)
    inScope(engine, () => {
      for (const [target, value] of part.folded(adapters)) {
        if (!(target instanceof QuantizedLinear)) ops.assign(target.tensor, value);
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
      if (target instanceof QuantizedLinear)
        return { target, stored: safe || quantize ? value.mul(1) : null };
      // A copy as it would be stored: 16-bit weights may overflow only there.
      return { target, stored: safe ? value.mul(1).cast(target.dtype) : null };
    }),
  );
  const codes = new Map<QuantizedLinear, QuantizedWeight>();
  try {
    for (const { target, stored } of results) {
      const values = stored && ((await stored.data()) as Float32Array);
      const format = quantize && target instanceof QuantizedLinear ? target.format : null;
      // No code stands for what is not finite; int8 is made from float16, which rounds 65520 to
      // infinity.
      const limit = format?.quantType === 'int8' ? 65520 : Number.POSITIVE_INFINITY;
      if ((safe || format) && !values?.every((value) => Math.abs(value) < limit))
        throw notFinite(part, adapters);
      if (target instanceof QuantizedLinear && format)
        codes.set(target, quantizeWeight(values!, target.inFeatures, format));
    }
  } finally {
    for (const { stored } of results) stored?.dispose();
  }
  return { targets: results.map(({ target }) => target), codes };
}

function notFinite(part: AdapterPart, adapters: readonly string[]): AttuneError {
  return new AttuneError(
    'PEFT_MERGE_NOT_FINITE',
    `merging ${adapters.map((a) => `"${a}"`).join(', ')} makes ${part.path} infinite or not a number; the base model is unchanged.`,
    {
      remedy:
        'The adapter is broken (training diverged), or a float16 weight overflows: load the base as float32 or bfloat16.',
    },
  );
}

function rounding(layers: readonly QuantizedLinear[]): string {
  const { quantType } = layers[0]!.format;
  const bits = quantType === 'int8' ? 8 : 4;
  return `merging into ${layers.length} layers held in ${bits} bits (${quantType}) rounds their weights to ${bits} bits again: outputs differ from those of the adapter beside the base. mergeAndUnload({ dequantize: true }) keeps the merged weights in full precision.`;
}

async function putBack(target: FoldTarget): Promise<() => void> {
  if (target instanceof QuantizedLinear) {
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
