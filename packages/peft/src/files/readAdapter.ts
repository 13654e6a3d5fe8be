import type { LanguageModel } from '@attune/core';
import { type HostTensorData, hasNonFinite } from '@attune/core/io';
import type { JsonValue } from '@attune/core/util';
import type { AdapterPlan } from '../plan/planAdapter.js';
import { planFrom } from '../plan/planFrom.js';
import { readAdapterConfig } from './adapterFolder.js';
import { checkLoadAdapter, type LoadAdapterOptions } from './options.js';
import { readAdapterTensors, readEncoder } from './readTensors.js';
import { resolveAdapter } from './resolveAdapter.js';

/** An adapter that fits a model, about to be put on it. */
export interface NewAdapter {
  readonly plan: AdapterPlan;
  /** From a file; without, it starts as its method says. */
  readonly tensors?: ReadonlyMap<string, HostTensorData>;
  /** The config's file, number for number. */
  readonly source?: JsonValue;
}

/** Reads and checks an adapter's files; the model is not changed. */
export async function readAdapter(
  model: LanguageModel,
  nameOrPath: string,
  options: LoadAdapterOptions,
): Promise<NewAdapter> {
  checkLoadAdapter(options);
  const folder = await resolveAdapter(nameOrPath, options);
  const { path, fields, source } = await readAdapterConfig(folder);
  const plan = planFrom(model, { ...fields, ...options.config }, { label: path, isFile: true });
  const tensors = await readAdapterTensors(folder, plan, model);
  const broken = [...tensors].filter(([, { data, dtype }]) => hasNonFinite(data, dtype));
  if (broken.length > 0)
    model.attune.logger.warn(
      `${folder}: ${broken.length} of ${tensors.size} tensors of the adapter are not finite (NaN or infinity), among them "${broken[0]![0]}". What the model computes with it will not be either.`,
    );
  const encoder = options.isTrainable ? await readEncoder(folder, plan) : [];
  return { plan, tensors: new Map([...tensors, ...encoder]), source };
}
