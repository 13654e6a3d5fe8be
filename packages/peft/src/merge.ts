import {
  AttuneError,
  type Engine,
  type HostArray,
  type Module,
  ops,
  type Parameter,
} from '@attune/core';
import { type AdapterSlot, slotsOf } from './adapterSlot.js';

/** The bytes of base parameters as they were before a merge. */
export type Backup = ReadonlyMap<Parameter, HostArray>;

interface FoldOptions {
  /** Refuse values that are not finite. They are read to the host for that. */
  readonly safe: boolean;
  /** Keep what is overwritten, on the host. */
  readonly backup: boolean;
}

/**
 * Writes adapters into the base weights: computed in float32, rounded to each weight's dtype once.
 * Nothing is written unless all of it can be.
 *
 * @throws PEFT_NOT_MERGEABLE, PEFT_MERGE_NOT_FINITE
 */
export async function fold(
  engine: Engine,
  root: Module,
  adapters: readonly string[],
  { safe, backup }: FoldOptions,
): Promise<Backup> {
  const slots = slotsOf(root);
  const saved = new Map<Parameter, HostArray>();
  for (const slot of slots) {
    const targets = await tryFold(engine, slot, adapters, safe);
    if (backup)
      for (const target of targets)
        if (!saved.has(target)) saved.set(target, await storedBytes(target));
  }
  for (const slot of slots)
    inScope(engine, () => {
      for (const [target, value] of slot.folded(adapters)) ops.assign(target.tensor, value);
    });
  return saved;
}

/** Puts the bytes back: the base is what it was, where PEFT's subtraction is off by rounding. */
export function restore(backup: Backup): void {
  for (const [{ tensor }, bytes] of backup)
    tensor.engine.backend.write(tensor.storage.buffer, tensor.byteOffset, bytes);
}

const inScope = <T>(engine: Engine, fn: () => T): T =>
  engine.noGrad(() => engine.scope('merge', fn));

/** Computes and forgets: says what would be written, and whether it is sound. */
async function tryFold(
  engine: Engine,
  slot: AdapterSlot,
  adapters: readonly string[],
  safe: boolean,
): Promise<Parameter[]> {
  const results = inScope(engine, () =>
    slot.folded(adapters).map(([target, value]) => ({
      target,
      // A copy as it would be stored: 16-bit weights may overflow only there.
      stored: safe ? value.mul(1).cast(target.tensor.dtype) : null,
    })),
  );
  try {
    for (const { stored } of results)
      if (stored && !(await stored.data()).every(Number.isFinite)) throw notFinite(slot, adapters);
  } finally {
    for (const { stored } of results) stored?.dispose();
  }
  return results.map(({ target }) => target);
}

function notFinite(slot: AdapterSlot, adapters: readonly string[]): AttuneError {
  return new AttuneError(
    'PEFT_MERGE_NOT_FINITE',
    `merging ${adapters.map((a) => `"${a}"`).join(', ')} makes ${slot.path} infinite or not a number; the base model is unchanged.`,
    {
      remedy:
        'The adapter is broken (training diverged), or a float16 weight overflows: load the base as float32 or bfloat16.',
    },
  );
}

async function storedBytes({ tensor }: Parameter): Promise<HostArray> {
  const { backend } = tensor.engine;
  const bytes = await backend.read(tensor.storage.buffer, tensor.byteOffset, tensor.byteLength);
  return tensor.dtype === 'float32' ? new Float32Array(bytes) : new Uint16Array(bytes);
}
