import { type Bind, Container, ContainerModule, type Newable } from 'inversify';
import { AttuneError } from '../util/errors.js';
import {
  type ClassContribution,
  type ExtensionPoint,
  isClassContribution,
} from './extensionPoint.js';
import { checkApiVersion, type Plugin } from './plugin.js';
import { Registry, type RegistryEntry } from './registry.js';
import type { Token } from './tokens.js';

interface Entry extends RegistryEntry<unknown> {
  readonly plugin: string;
  readonly key: string;
}

const isClass = (value: unknown): value is new () => never =>
  typeof value === 'function' && /^class\b/.test(Function.prototype.toString.call(value));

/**
 * The one place that knows inversify. Each plugin becomes a ContainerModule; an extension point is
 * a multi-binding of entries; services are singletons under their token.
 */
export class Services {
  readonly #container = new Container({ defaultScope: 'Singleton' });
  readonly #plugins = new Set<string>();
  /** Who provides which service. */
  readonly #providers = new Map<symbol, string>();

  /** @throws PLUGIN_API_VERSION, PLUGIN_TWICE, DUPLICATE_SERVICE */
  load(plugin: Plugin): void {
    checkApiVersion(plugin);
    if (this.#plugins.has(plugin.name))
      throw new AttuneError('PLUGIN_TWICE', `plugin "${plugin.name}" is listed twice.`, {
        remedy: 'List each plugin once in createAttune({ plugins }).',
      });
    this.#plugins.add(plugin.name);
    const module = new ContainerModule(({ bind }) => {
      plugin.register({
        add: (point, contribution) => {
          const entry = isClassContribution(contribution)
            ? { key: contribution.name, make: this.#factory(bind, contribution.useClass) }
            : { key: point.keyOf(contribution), make: () => contribution };
          bind<Entry>(point.id).toConstantValue({
            plugin: plugin.name,
            facts: contribution,
            ...entry,
          });
        },
        provide: (token, service) => {
          this.#claim(token, plugin.name);
          if (isClass(service)) bind<unknown>(token).to(service);
          else bind<unknown>(token).toConstantValue(service as never);
        },
      });
    });
    this.#container.load(module);
  }

  /** A binding of its own for each contribution: one class may serve under two names. */
  #factory(bind: Bind, useClass: ClassContribution<unknown>['useClass']): () => unknown {
    const id = Symbol(useClass.name);
    bind(id)
      .to(useClass as unknown as Newable<unknown>)
      .inTransientScope();
    return () => this.#container.get(id);
  }

  #claim(token: Token<unknown>, plugin: string): void {
    const owner = this.#providers.get(token);
    if (owner !== undefined)
      throw new AttuneError(
        'DUPLICATE_SERVICE',
        `plugins "${owner}" and "${plugin}" both provide ${String(token)}.`,
        { remedy: 'Leave one of them out; a service has one provider.' },
      );
    this.#providers.set(token, plugin);
  }

  /** @throws DUPLICATE_SERVICE when a plugin provides it already */
  provide<T>(token: Token<T>, service: T): void {
    this.#claim(token, 'core');
    this.#container.bind<unknown>(token).toConstantValue(service);
  }

  has(token: Token<unknown>): boolean {
    return this.#container.isBound(token);
  }

  get<T>(token: Token<T>): T {
    return this.#container.get<T>(token);
  }

  /** @throws DUPLICATE_NAME when two plugins add the same name. */
  registry<T, Facts extends object>(point: ExtensionPoint<T, Facts>): Registry<T, Facts> {
    const entries = new Map<string, RegistryEntry<T, Facts>>();
    const owners = new Map<string, string>();
    for (const { plugin, key, make, facts } of this.#container.getAll<Entry>(point.id)) {
      if (entries.has(key))
        throw new AttuneError(
          'DUPLICATE_NAME',
          `plugins "${owners.get(key)}" and "${plugin}" both add a ${point.name} "${key}".`,
          { remedy: 'Leave one of them out, or rename its contribution.' },
        );
      owners.set(key, plugin);
      entries.set(key, { make, facts } as RegistryEntry<T, Facts>);
    }
    return new Registry(point.name, entries);
  }

  async dispose(): Promise<void> {
    await this.#container.unbindAllAsync();
  }
}
