import { AttuneError } from '../util/errors.js';
import type { Contribution, ExtensionPoint } from './extensionPoint.js';
import type { Token } from './tokens.js';

/** The version of this contract. A plugin says which one it was written for. */
export const PLUGIN_API_VERSION = 1;

/** What a plugin registers with. */
export interface PluginContext {
  /**
   * Adds one thing to an extension point: a value, or `{ name, useClass }` for the container to
   * build. What the point asks to know beforehand stands beside it.
   */
  add<T, Facts extends object>(
    point: ExtensionPoint<T, Facts>,
    contribution: Contribution<NoInfer<T>, NoInfer<Facts>>,
  ): void;
  /** Provides a service under a token: an object, or a class that the container builds once. */
  provide<T>(
    token: Token<T>,
    service: NoInfer<T> | (new (...dependencies: never[]) => NoInfer<T>),
  ): void;
}

/** What `definePlugin` makes and `createAttune({ plugins })` takes. */
export interface Plugin {
  /** The name in messages; two plugins of one name are an error. */
  readonly name: string;
  readonly version: string;
  readonly apiVersion: number;
  register(context: PluginContext): void;
}

/** Checks a plugin where it is written, not where it is used. @throws PLUGIN_API_VERSION */
export function definePlugin(plugin: Plugin): Plugin {
  checkApiVersion(plugin);
  return plugin;
}

/** Also asked where a plugin is loaded: it may have been defined with another copy of core. */
export function checkApiVersion(plugin: Plugin): void {
  if (plugin.apiVersion !== PLUGIN_API_VERSION)
    throw new AttuneError(
      'PLUGIN_API_VERSION',
      `plugin "${plugin.name}" ${plugin.version} was written for plugin API ${plugin.apiVersion}; this is ${PLUGIN_API_VERSION}.`,
      { remedy: `Install a version of "${plugin.name}" for API ${PLUGIN_API_VERSION}.` },
    );
}
