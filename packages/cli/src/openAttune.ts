import { type Attune, AttuneError, createAttune, type Plugin } from '@attune/core';
import { isPlainObject, snakeToCamel } from '@attune/core/util';
import { data } from '@attune/data';

/** Options by which stages name a model that is loaded here. */
const MODEL_OPTIONS = ['model', 'rewardModel', 'embedder'];

/** Whether options name a model to load: not one behind an endpoint, and not plain words. */
export function namesModel(options: unknown): boolean {
  if (Array.isArray(options)) return options.some(namesModel);
  if (!isPlainObject(options)) return false;
  const entries = Object.entries(options).map(
    ([key, value]) => [snakeToCamel(key), value] as const,
  );
  const isEndpoint = entries.some(([key]) => key === 'baseUrl');
  return entries.some(([key, value]) =>
    typeof value === 'string'
      ? !isEndpoint && MODEL_OPTIONS.includes(key) && value !== 'tf-idf'
      : namesModel(value),
  );
}

/** An Attune that computes nothing: it has the stages, and costs nothing to open. */
export const openForStages = (): Promise<Attune> =>
  createAttune({ plugins: [data()], backend: 'reference' });

/** The plugin of the device. It is a package of its own, which may not be installed. */
const loadDawn = async (): Promise<Plugin> => (await import('@attune/backend-dawn')).dawn();

/**
 * An Attune that computes: on the device that Dawn finds, else on the processor in float64, which
 * takes tens of times as long, and says so.
 */
export async function openForModels(
  warn: (message: string) => void,
  load: () => Promise<Plugin> = loadDawn,
): Promise<Attune> {
  try {
    return await createAttune({ plugins: [data(), await load()] });
  } catch (error) {
    const isMissing = (error as { code?: unknown }).code === 'ERR_MODULE_NOT_FOUND';
    if (!isMissing && !(AttuneError.isInstance(error) && error.code === 'NO_ADAPTER')) throw error;
    warn(
      `models run on the processor in float64, which is slow: ${isMissing ? '@attune/backend-dawn is not installed.' : (error as Error).message}`,
    );
    return openForStages();
  }
}
