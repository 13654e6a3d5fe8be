import { Container, ContainerModule, type Newable } from 'inversify';
import { AttuneError } from '../util/errors.js';
import { type Contribution, type ExtensionPoint, isClassContribution } from './extensionPoint.js';
import type { Plugin } from './plugin.js';
import { Registry } from './registry.js';
import type { Token } from './tokens.js';

interface Entry {
  readonly plugin: string;
  readonly key: string;
  readonly contribution: Contribution<unknown>;
}

const isClass = (value: unknown): value is new () => never =>
  typeof value === 'function' && /^class\b/.test(Function.prototype.toString.call(value));

/**
 * The one place that knows inversify. Each plugin becomes a ContainerModule; an extension point is a
 * multi-binding of entries; services are singletons under their token.
 */
export class Services {
  readonly #container = new Container({ defaultScope: 'Singleton' });
  readonly #plugins = new Set<string>();

  load(plugin: Plugin): void {
    if (this.#plugins.has(plugin.name))
      throw new AttuneError('PLUGIN_TWICE', `plugin "${plugin.name}" is listed twice.`, {
        remedy: 'List each plugin once in createAttune({ plugins }).',
      });
    this.#plugins.add(plugin.name);
    const module = new ContainerModule(({ bind }) => {
      plugin.register({
        add: (point, contribution) => {
          const isClassEntry = isClassContribution(contribution);
          const key = isClassEntry ? contribution.name : point.keyOf(contribution);
          if (isClassEntry)
            bind(contribution.useClass as unknown as Newable<unknown>)
              .toSelf()
              .inTransientScope();
          bind<Entry>(point.id).toConstantValue({ plugin: plugin.name, key, contribution });
        },
        provide: (token, service) => {
          if (isClass(service)) bind<unknown>(token).to(service);
          else bind<unknown>(token).toConstantValue(service as never);
        },
      });
    });
    this.#container.load(module);
  }

  provide<T>(token: Token<T>, service: T): void {
    this.#container.bind<unknown>(token).toConstantValue(service);
  }

  has(token: Token<unknown>): boolean {
    return this.#container.isBound(token);
  }

  get<T>(token: Token<T>): T {
    return this.#container.get<T>(token);
  }

  /** @throws DUPLICATE_NAME when two plugins add the same name. */
  registry<T>(point: ExtensionPoint<T>): Registry<T> {
    const entries = new Map<string, () => T>();
    const owners = new Map<string, string>();
    for (const { plugin, key, contribution } of this.#container.getAll<Entry>(point.id)) {
      if (entries.has(key))
        throw new AttuneError(
          'DUPLICATE_NAME',
          `plugins "${owners.get(key)}" and "${plugin}" both add a ${point.name} "${key}".`,
          { remedy: 'Leave one of them out, or rename its contribution.' },
        );
      owners.set(key, plugin);
      entries.set(
        key,
        isClassContribution(contribution)
          ? () => this.#container.get(contribution.useClass as unknown as Newable<T>)
          : () => contribution as T,
      );
    }
    return new Registry(point.name, entries);
  }

  async dispose(): Promise<void> {
    await this.#container.unbindAllAsync();
  }
}
