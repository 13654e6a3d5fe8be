import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { AttuneError, type Plugin } from '@attune/core';

/**
 * Plugins by their packages: `acme-attune` for what it exports by default, `acme-attune#acme` for
 * an export by its name; `./acme.js` for a file. What is exported is a plugin, or a function that
 * gives one. Names are looked up from the working folder.
 *
 * @throws CLI_PLUGIN
 */
export const loadPlugins = (names: readonly string[]): Promise<readonly Plugin[]> =>
  Promise.all(names.map(loadPlugin));

async function loadPlugin(name: string): Promise<Plugin> {
  const [path, wanted = 'default'] = name.split('#', 2) as [string, string?];
  const module = await importFrom(path).catch((cause: unknown) => {
    throw wrong(
      name,
      `cannot be imported: ${(cause as Error).message.split('\n')[0]}`,
      `npm install it into ${process.cwd()}, or give the path of its file.`,
    );
  });
  const others = Object.keys(module).filter((key) => typeof module[key] === 'function');
  const listed =
    others.length === 0 ? 'It exports no function.' : `It exports ${others.join(', ')}.`;
  if (!Object.hasOwn(module, wanted))
    throw wrong(name, `has no export "${wanted}"`, `${listed} Name one: --plugin ${path}#NAME.`);
  const found = module[wanted];
  const plugin: unknown =
    typeof found === 'function' ? await made(name, found as () => unknown) : found;
  if (isPlugin(plugin)) return plugin;
  throw wrong(
    name,
    `is no plugin: "${wanted}" gives none`,
    `${listed} A plugin is what definePlugin gives.`,
  );
}

async function made(name: string, make: () => unknown): Promise<unknown> {
  try {
    return await make();
  } catch (cause) {
    if (AttuneError.isInstance(cause)) throw cause;
    throw wrong(
      name,
      `failed: ${(cause as Error).message}`,
      'What is exported is a function without arguments that gives a plugin.',
    );
  }
}

async function importFrom(path: string): Promise<Readonly<Record<string, unknown>>> {
  if (/^\.{0,2}[/\\]/.test(path)) return import(pathToFileURL(resolve(path)).href);
  try {
    const { resolve: find } = createRequire(join(process.cwd(), 'any.js'));
    return await import(pathToFileURL(find(path)).href);
  } catch (cause) {
    // Packages for `import` alone are not found so.
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'MODULE_NOT_FOUND' && code !== 'ERR_PACKAGE_PATH_NOT_EXPORTED') throw cause;
    return import(path);
  }
}

const isPlugin = (value: unknown): value is Plugin =>
  typeof value === 'object' &&
  value !== null &&
  typeof (value as Partial<Plugin>).register === 'function';

const wrong = (name: string, what: string, remedy: string): AttuneError =>
  new AttuneError('CLI_PLUGIN', `the plugin "${name}" ${what}.`, { remedy });
