import type { Backend } from './backend/backend.js';
import { builtins } from './builtins.js';
import { Services } from './di/container.js';
import type { ExtensionPoint } from './di/extensionPoint.js';
import type { Plugin } from './di/plugin.js';
import type { Registry } from './di/registry.js';
import { TOKENS, type Token } from './di/tokens.js';
import { Backends } from './points.js';
import { Engine } from './tensor/engine.js';
import { describeValue } from './util/describeValue.js';
import { AttuneError } from './util/errors.js';
import { consoleLogger, type Logger } from './util/logger.js';
import { checkOptionNames, type OptionHints } from './util/unknownOptions.js';

export interface CreateAttuneOptions {
  /** What this Attune can do beyond core: a backend, PEFT methods, your own, e.g. `[dawn(), peft()]`. Default none. */
  readonly plugins?: readonly Plugin[];
  /** Which backend, or "reference" for the slow exact one. Default: that of the first plugin with one. */
  readonly backend?: string;
  /** Seed of dropout and of adapter initialisation outside of a Trainer. Default 0. */
  readonly seed?: number;
  /** Where messages go. Default: the console. */
  readonly logger?: Logger;
}

const optionNames: Record<keyof CreateAttuneOptions, true> = {
  plugins: true,
  backend: true,
  seed: true,
  logger: true,
};

const hints: Omit<OptionHints, 'known'> = {
  synonyms: { plugin: 'plugins', device: 'backend', log: 'logger', randomseed: 'seed' },
  notes: {
    adapter: 'the device is chosen where the plugin is made: dawn({ adapter })',
    gpu: 'the device is chosen where the plugin is made: dawn({ adapter })',
    model: 'models are loaded afterwards: AutoModelForCausalLM.fromPretrained(path, { attune })',
    verbose: 'logger says where messages go; silentLogger is one that keeps them',
  },
};

/** @throws PLUGIN_INVALID for what is no plugin: a function that was not called, above all */
function checkPlugins(plugins: unknown = []): void {
  const invalid = (what: string, remedy: string) =>
    new AttuneError('PLUGIN_INVALID', `createAttune: ${what}.`, { remedy });
  if (!Array.isArray(plugins))
    throw invalid(
      `plugins: expected a list, found ${describeValue(plugins)}`,
      'Pass plugins: [dawn(), peft()].',
    );
  plugins.forEach((plugin: unknown, i) => {
    if (typeof (plugin as Partial<Plugin> | null | undefined)?.register === 'function') return;
    const name = typeof plugin === 'function' ? plugin.name || 'plugin' : '';
    throw invalid(
      `plugins[${i}] is ${describeValue(plugin)}, expected a plugin`,
      name ? `Call it: ${name}().` : 'Pass what a plugin package gives: dawn(), peft(), ...',
    );
  });
}

/**
 * One device with its plugins: the owner of everything that `fromPretrained`, trainers and adapters
 * allocate. Two Attunes in one process share nothing.
 */
export class Attune implements AsyncDisposable {
  readonly engine: Engine;
  #occupant: string | null = null;
  #disposed = false;

  constructor(
    readonly backend: Backend,
    readonly logger: Logger,
    private readonly services: Services,
    seed: number,
  ) {
    this.engine = new Engine(backend, seed);
    services.provide(TOKENS.Backend, backend);
    services.provide(TOKENS.Engine, this.engine);
    services.provide(TOKENS.Attune, this);
  }

  /** Whether it has given its device back: nothing can be loaded or computed any more. */
  get isDisposed(): boolean {
    return this.#disposed;
  }

  /** What plugins added to an extension point. @throws DUPLICATE_NAME */
  registry<T>(point: ExtensionPoint<T>): Registry<T> {
    return this.services.registry(point);
  }

  /** A service, if a plugin provides it. */
  service<T>(token: Token<T>): T | undefined {
    return this.services.has(token) ? this.services.get(token) : undefined;
  }

  /**
   * One run at a time: dropout's draws, the memory limit and the pace of the device are of the whole
   * Attune, so that two runs would change each other's numbers.
   *
   * @param by who, for the error of the next: "SFTTrainer.train()"
   * @returns disposed when the run is over
   * @throws ATTUNE_BUSY
   */
  occupy(by: string): Disposable {
    if (this.#occupant !== null)
      throw new AttuneError(
        'ATTUNE_BUSY',
        `${by}: ${this.#occupant} of another trainer is running on this Attune.`,
        { remedy: 'Await it first, or give each trainer an Attune of its own (createAttune).' },
      );
    this.#occupant = by;
    return {
      [Symbol.dispose]: () => {
        this.#occupant = null;
      },
    };
  }

  /** Frees the device and everything on it. Also called by `await using`. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    try {
      await this.services.dispose();
    } finally {
      await this.backend[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

/**
 * Loads plugins, opens the device.
 *
 * @example await using attune = await createAttune({ plugins: [dawn(), peft()] });
 * @throws NO_BACKEND when no plugin brings a device; PLUGIN_TWICE; PLUGIN_API_VERSION;
 * PLUGIN_INVALID; ATTUNE_OPTION; DUPLICATE_NAME; DUPLICATE_SERVICE; UNKNOWN_NAME; UNKNOWN_OPTION
 */
export async function createAttune(options: CreateAttuneOptions = {}): Promise<Attune> {
  checkOptionNames('createAttune', options, optionNames, 'UNKNOWN_OPTION', hints);
  checkPlugins(options.plugins);
  const { plugins = [], logger = consoleLogger, seed = 0 } = options;
  const wrong = (name: string, value: unknown, expected: string) =>
    new AttuneError(
      'ATTUNE_OPTION',
      `createAttune: ${name} is ${describeValue(value)}, expected ${expected}.`,
      { remedy: `Pass ${expected}, or leave ${name} out.` },
    );
  if (!Number.isSafeInteger(seed) || seed < 0) throw wrong('seed', seed, 'a whole number from 0');
  if (typeof (logger as Partial<Logger> | null)?.info !== 'function')
    throw wrong('logger', logger, 'a Logger, such as silentLogger');
  const services = new Services();
  services.provide(TOKENS.Logger, logger);
  services.load(builtins);
  for (const plugin of plugins) services.load(plugin);
  const backends = services.registry(Backends);
  const added = backends.names.filter((name) => name !== 'reference');
  const name = options.backend ?? added[0];
  if (!name)
    throw new AttuneError('NO_BACKEND', 'no plugin brings a device to compute on.', {
      remedy:
        'npm install @attune/backend-dawn, then createAttune({ plugins: [dawn(), ...] }). Or pass backend: "reference" for the slow exact one.',
    });
  const backend = await backends.get(name).create();
  try {
    return new Attune(backend, logger, services, seed);
  } catch (error) {
    await backend[Symbol.asyncDispose]();
    throw error;
  }
}
