import { AttuneError, nearest } from '../util/errors.js';
import type { ExtensionPoint } from './extensionPoint.js';

/** Where names are looked up that plugins may have added: an Attune. */
export interface PluginRegistries {
  /** @throws DUPLICATE_NAME when two plugins add the same name */
  registry<T>(point: ExtensionPoint<T>): Registry<T>;
}

/** What plugins added to one extension point, by name. */
export class Registry<T> {
  readonly #entries: ReadonlyMap<string, () => T>;

  constructor(
    /** e.g. "peft method": how messages call an entry. */
    readonly kind: string,
    entries: ReadonlyMap<string, () => T>,
  ) {
    this.#entries = entries;
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
    const make = this.#entries.get(name);
    if (!make) {
      const near = nearest(name, this.names);
      throw new AttuneError('UNKNOWN_NAME', `unknown ${this.kind} "${name}".`, {
        remedy: `Known: ${this.names.join(', ') || 'none'}.${near ? ` Did you mean "${near}"?` : ''} More come with plugins: createAttune({ plugins: [...] }).`,
      });
    }
    return make();
  }

  values(): T[] {
    return [...this.#entries.values()].map((make) => make());
  }
}
