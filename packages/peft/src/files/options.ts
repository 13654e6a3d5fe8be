import type { HubOptions } from '@attune/core';
import { hubOptions } from '@attune/core/io';
import { type OptionsInput, parseOptions } from '@attune/core/util';
import { z } from 'zod';

const ofAdapter = {
  /** What to call it. Default "default". */
  adapterName: z.string().default('default').meta({ aka: 'name' }),
  /** Whether training goes on with it. Default false. */
  isTrainable: z.boolean().default(false).meta({ aka: 'trainable train' }),
  /**
   * Options to have in the place of those in its file, e.g. `{ loraplusLrRatio: 16 }`, which files
   * do not hold. Default: all as in the file.
   */
  config: z.record(z.string(), z.unknown()).readonly().optional(),
};

/** An adapter from a folder or the Hub. */
const loadAdapterOptions = z.strictObject({ ...ofAdapter, ...hubOptions.shape });

/** Options of `PeftModel.fromPretrained` and `loadAdapter`. */
export type LoadAdapterOptions = OptionsInput<typeof ofAdapter> & HubOptions;

/** @throws UNKNOWN_OPTION, PEFT_CALL */
export function checkLoadAdapter(options: LoadAdapterOptions): void {
  parseOptions(loadAdapterOptions, options, {
    where: 'loading an adapter',
    code: 'PEFT_CALL',
    notes: { attune: 'the model brings it', torchdevice: 'the model brings it' },
  });
}

const saveAdapterShape = {
  /** Which adapters are written. Default all but what `copyAdapter` made. */
  selectedAdapters: z.array(z.string()).readonly().optional(),
  /**
   * Adapters of PiSSA and OLoRA as plain LoRA of twice the rank, which needs no decomposition of
   * the base to be loaded: what to share. Training cannot go on from it as it was. Default false.
   */
  plainLora: z.boolean().default(false),
  /**
   * As PEFT, vLLM and llama.cpp all read it rightly: one rank, no patterns, no rsLoRA, the scale in
   * B; PiSSA and OLoRA as plain LoRA. What one of them cannot read (other methods, DoRA, biases,
   * embeddings, whole modules) is refused. It computes the same; training cannot go on from it as
   * it was. Default false.
   */
  portable: z.boolean().default(false),
  /**
   * Read the files back and compare names, shapes, dtypes and bytes with what was meant. Default
   * true.
   */
  verify: z.boolean().default(true),
};
export const saveAdapterOptions = z.strictObject(saveAdapterShape);

/** Options of `savePretrained`. */
export type SaveAdapterOptions = OptionsInput<typeof saveAdapterShape>;
