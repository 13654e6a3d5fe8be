import { AttuneError, nearest } from '../util/errors.js';
import type { ExtensionPoint } from './extensionPoint.js';

/** Where names are looked up that plugins may have added: an Attune. */
export interface PluginRegistries {
  /** @throws DUPLICATE_NAME when two plugins add the same name */
  registry<T, Facts extends object>(point: ExtensionPoint<T, Facts>): Registry<T, Facts>;
}

/** One thing that was added: how it is made, and what is known of it before that. */
export interface RegistryEntry<T, Facts extends object = object> {
  readonly make: () => T;
  readonly facts: Facts;
}

/** What plugins added to one extension point, by name. */
export class Registry<T, Facts extends object = object> {
  readonly #entries: ReadonlyMap<string, RegistryEntry<T, Facts>>;

  constructor(
    /** e.g. "peft method": how messages call an entry. */
    readonly kind: string,
    entries: ReadonlyMap<string, RegistryEntry<T, Facts>>,
  ) {
    this.#entries = entries;
  }

  /** The values of a program without plugins. */
  static of<T>({ name, keyOf }: ExtensionPoint<T>, values: readonly T[]): Registry<T> {
    const entries = values.map(
      (value) => [keyOf(value), { make: () => value, facts: {} }] as const,
    );
    return new Registry(name, new Map(entries));
  }

  get names(): readonly string[] {
    return [...this.#entries.keys()];
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /**
   * The value, or a new instance of a contributed class.
   *
   * @throws UNKNOWN_NAME with the known names.
   */
  get(name: string): T {
    return this.#entry(name).make();
  }

  /**
   * What its contribution says of itself; nothing is made for it.
   *
   * @throws UNKNOWN_NAME with the known names.
   */
  facts(name: string): Facts {
    return this.#entry(name).facts;
  }

  #entry(name: string): RegistryEntry<T, Facts> {
    const entry = this.#entries.get(name);
    if (!entry) {
      const near = nearest(name, this.names);
      throw new AttuneError('UNKNOWN_NAME', `unknown ${this.kind} "${name}".`, {
        remedy: `Known: ${this.names.join(', ') || 'none'}.${near ? ` Did you mean "${near}"?` : ''} More come with plugins: createAttune({ plugins: [...] }).`,
      });
    }
    return entry;
  }

  values(): T[] {
    return [...this.#entries.values()].map(({ make }) => make());
  }
}
