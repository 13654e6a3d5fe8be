import { type Attune, AttuneError, createAttune, type Plugin } from '@attune/core';
import { data } from '@attune/data';

/** An Attune that computes nothing: it has the stages, and costs nothing to open. */
export const openForStages = (plugins: readonly Plugin[]): Promise<Attune> =>
  openBackend('reference', plugins);

/** The plugin of the device. It is a package of its own, which may not be installed. */
const loadDawn = async (): Promise<Plugin> => (await import('@attune/backend-dawn')).dawn();

/**
 * An Attune on the backend that somebody asked for by its name.
 *
 * @throws NO_BACKEND, and what opening it throws
 */
export async function openBackend(backend: string, plugins: readonly Plugin[]): Promise<Attune> {
  const device = backend === 'dawn' ? [await loadDawn().catch(notInstalled)] : [];
  return createAttune({ plugins: [data(), ...device, ...plugins], backend });
}

/**
 * An Attune that computes: on the device that Dawn finds, else on the processor in float64, which
 * takes tens of times as long, and says so.
 */
export async function openForModels(
  plugins: readonly Plugin[],
  warn: (message: string) => void,
  load: () => Promise<Plugin> = loadDawn,
): Promise<Attune> {
  try {
    return await createAttune({ plugins: [data(), await load(), ...plugins] });
  } catch (error) {
    const isMissing = (error as { code?: unknown }).code === 'ERR_MODULE_NOT_FOUND';
    if (!isMissing && !(AttuneError.isInstance(error) && error.code === 'NO_ADAPTER')) throw error;
    warn(
      `models run on the processor in float64, which is slow: ${isMissing ? '@attune/backend-dawn is not installed.' : (error as Error).message}`,
    );
    return openForStages(plugins);
  }
}

function notInstalled(cause: unknown): never {
  throw new AttuneError('NO_BACKEND', 'the backend "dawn" cannot be loaded.', {
    remedy: 'npm install @attune/backend-dawn beside @attune/cli, or use --backend reference.',
    cause,
  });
}
