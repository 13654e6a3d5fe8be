import { z } from 'zod';
import type { Backend } from './backend/backend.js';
import { builtins } from './builtins.js';
import { Services } from './di/container.js';
import type { ExtensionPoint } from './di/extensionPoint.js';
import type { Plugin } from './di/plugin.js';
import type { Registry } from './di/registry.js';
import { TOKENS, type Token } from './di/tokens.js';
import { type Communicator, localCommunicator } from './distributed/communicator.js';
import { Backends } from './points.js';
import { Engine } from './tensor/engine.js';
import { describeValue } from './util/describeValue.js';
import { AttuneError } from './util/errors.js';
import { consoleLogger, type Logger } from './util/logger.js';
import { type OptionsInput, parseOptions } from './util/options.js';
import type { OptionNotes } from './util/unknownOptions.js';

/** What `createAttune` takes. */
const createShape = {
  /**
   * What this Attune can do beyond core: a backend, PEFT methods, your own, e.g.
   * `[dawn(), peft()]`. Default none.
   */
  plugins: z
    .custom<readonly Plugin[]>()
    .default(() => [])
    .meta({ aka: 'plugin' }),
  /**
   * Which backend, or "reference" for the slow exact one. Default: that of the first plugin with
   * one.
   */
  backend: z.string().optional().meta({ aka: 'device' }),
  /** Seed of dropout and of adapter initialisation outside of a Trainer. Default 0. */
  seed: z
    .int('expected a whole number from 0')
    .min(0, 'expected a whole number from 0')
    .default(0)
    .meta({ aka: 'randomseed' }),
  /** Where messages go. Default: the console. */
  logger: z
    .custom<Logger>(
      (value) => typeof (value as Partial<Logger> | null)?.info === 'function',
      'expected a Logger, such as silentLogger',
    )
    .default(() => consoleLogger)
    .meta({ aka: 'log' }),
  /**
   * How this Attune, one rank of several, reaches the others. Its trainers then take their share of
   * the rows, and all ranks make the same updates. It is no argument of a run, because an Attune is
   * one device and so one rank, whatever it trains. Default: that of a plugin
   * (`TOKENS.Communicator`), else one rank.
   */
  communicator: z
    .custom<Communicator>(
      (value) => typeof (value as Partial<Communicator> | null)?.allReduce === 'function',
      'expected a Communicator, such as localCommunicator',
    )
    .optional(),
};
const createOptions = z.strictObject(createShape);

/** Options of {@link createAttune}. */
export type CreateAttuneOptions = OptionsInput<typeof createShape>;

const notes: OptionNotes = {
  rank: 'a rank is known by its communicator: createAttune({ communicator })',
  worldsize: 'a rank is known by its communicator: createAttune({ communicator })',
  adapter: 'the device is chosen where the plugin is made: dawn({ adapter })',
  gpu: 'the device is chosen where the plugin is made: dawn({ adapter })',
  model: 'models are loaded afterwards: AutoModelForCausalLM.fromPretrained(path, { attune })',
  verbose: 'logger says where messages go; silentLogger is one that keeps them',
};

/** @throws PLUGIN_INVALID for what is no plugin: a function that was not called, above all */
function checkPlugins(plugins: unknown): void {
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
 * One device with its plugins. It owns everything that `fromPretrained`, trainers and adapters
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

  /** How the ranks of a run reach one another. `localCommunicator` where there is one rank. */
  get communicator(): Communicator {
    return this.service(TOKENS.Communicator) ?? localCommunicator;
  }

  /** What plugins added to an extension point. @throws DUPLICATE_NAME */
  registry<T, Facts extends object>(point: ExtensionPoint<T, Facts>): Registry<T, Facts> {
    return this.services.registry(point);
  }

  /** A service, if a plugin provides it. */
  service<T>(token: Token<T>): T | undefined {
    return this.services.has(token) ? this.services.get(token) : undefined;
  }

  /**
   * Takes the Attune for one run. Draws of dropout, the memory limit and the pace of the device
   * belong to the whole Attune, so two runs at once would change each other's numbers.
   *
   * @param by who takes it, for the error of the next one: "SFTTrainer.train()"
   * @returns to be disposed when the run is over
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
 * Loads plugins and opens the device.
 *
 * @example await using attune = await createAttune({ plugins: [dawn(), peft()] });
 * @throws NO_BACKEND when no plugin brings a device; PLUGIN_TWICE; PLUGIN_API_VERSION;
 * PLUGIN_INVALID; ATTUNE_OPTION; DUPLICATE_NAME; DUPLICATE_SERVICE; UNKNOWN_NAME; UNKNOWN_OPTION
 */
export async function createAttune(options: CreateAttuneOptions = {}): Promise<Attune> {
  const {
    plugins,
    logger,
    seed,
    communicator,
    backend: wanted,
  } = parseOptions(createOptions, options, {
    where: 'createAttune',
    code: 'ATTUNE_OPTION',
    notes,
  });
  checkPlugins(plugins);
  const services = new Services();
  services.provide(TOKENS.Logger, logger);
  if (communicator) services.provide(TOKENS.Communicator, communicator);
  services.load(builtins);
  for (const plugin of plugins) services.load(plugin);
  const backends = services.registry(Backends);
  const added = backends.names.filter((name) => name !== 'reference');
  const name = wanted ?? added[0];
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
