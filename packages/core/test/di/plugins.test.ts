import {
  Backends,
  createAttune,
  definePlugin,
  type ExtensionPoint,
  extensionPoint,
  inject,
  injectable,
  type Logger,
  PLUGIN_API_VERSION,
  type PluginContext,
  silentLogger,
  TOKENS,
  token,
} from '@attune/core';
import { ReferenceBackend } from '@attune/core/backend';
import { describe, expect, it } from 'vitest';

interface Greeter {
  readonly name: string;
  greet(): string;
}
const Greeters: ExtensionPoint<Greeter> = extensionPoint('greeter', (g) => g.name);

const plugin = (name: string, register: (context: PluginContext) => void) =>
  definePlugin({ name, version: '1.0.0', apiVersion: PLUGIN_API_VERSION, register });
const greeter = (name: string): Greeter => ({ name, greet: () => `hello from ${name}` });
const open = (...plugins: ReturnType<typeof plugin>[]) =>
  createAttune({ plugins, backend: 'reference', logger: silentLogger });

@injectable()
class PoliteGreeter implements Greeter {
  readonly name = 'polite';
  constructor(@inject(TOKENS.Logger) readonly logger: Logger) {}
  greet(): string {
    return this.logger === silentLogger ? 'good day' : 'who am I talking to?';
  }
}

describe('extension points', () => {
  it('hold what plugins add, by name', async () => {
    await using attune = await open(
      plugin('one', (context) => context.add(Greeters, greeter('ada'))),
      plugin('two', (context) => context.add(Greeters, greeter('bob'))),
    );
    const registry = attune.registry(Greeters);
    expect(registry.names).toEqual(['ada', 'bob']);
    expect(registry.get('bob').greet()).toBe('hello from bob');
    expect(registry.values()).toHaveLength(2);
    expect(registry.has('eve')).toBe(false);
  });

  it('are empty without a plugin', async () => {
    await using attune = await open();
    expect(attune.registry(Greeters).names).toEqual([]);
    expect(() => attune.registry(Greeters).get('ada')).toThrow('Known: none.');
  });

  it('build a contributed class with its dependencies, a new one each time', async () => {
    await using attune = await open(
      plugin('polite', (c) => c.add(Greeters, { name: 'polite', useClass: PoliteGreeter })),
    );
    const registry = attune.registry(Greeters);
    expect(registry.get('polite').greet()).toBe('good day');
    expect(registry.get('polite')).not.toBe(registry.get('polite'));
  });

  it('suggest a name for a misspelt one', async () => {
    await using attune = await open(plugin('one', (c) => c.add(Greeters, greeter('charlotte'))));
    expect(() => attune.registry(Greeters).get('charlote')).toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: UNKNOWN_NAME: unknown greeter "charlote".
        Fix: Known: charlotte. Did you mean "charlotte"? More come with plugins: createAttune({ plugins: [...] }).]
    `);
  });

  it('two of one name are an error that names both plugins', async () => {
    await using attune = await open(
      plugin('one', (c) => c.add(Greeters, greeter('ada'))),
      plugin('two', (c) => c.add(Greeters, greeter('ada'))),
    );
    expect(() => attune.registry(Greeters)).toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: DUPLICATE_NAME: plugins "one" and "two" both add a greeter "ada".
        Fix: Leave one of them out, or rename its contribution.]
    `);
  });

  it('one class serves under two names', async () => {
    await using attune = await open(
      plugin('polite', (c) => {
        c.add(Greeters, { name: 'polite', useClass: PoliteGreeter });
        c.add(Greeters, { name: 'courteous', useClass: PoliteGreeter });
      }),
    );
    expect(attune.registry(Greeters).get('courteous').greet()).toBe('good day');
  });

  it('of one Attune are not those of another', async () => {
    await using first = await open(plugin('one', (c) => c.add(Greeters, greeter('ada'))));
    await using second = await open();
    expect(first.registry(Greeters).names).toEqual(['ada']);
    expect(second.registry(Greeters).names).toEqual([]);
  });
});

describe('services', () => {
  const Clock = token<{ now(): number }>('test.Clock');

  it('are provided under a token, as an object or as a class built once', async () => {
    class SystemClock {
      now() {
        return 7;
      }
    }
    await using attune = await open(plugin('clock', (c) => c.provide(Clock, SystemClock)));
    expect(attune.service(Clock)!.now()).toBe(7);
    expect(attune.service(Clock)).toBe(attune.service(Clock));
  });

  it('a class may inject what core provides', async () => {
    const Polite = token<PoliteGreeter>('test.Polite');
    await using attune = await open(plugin('polite', (c) => c.provide(Polite, PoliteGreeter)));
    expect(attune.service(Polite)!.greet()).toBe('good day');
  });

  it('have one provider: two are an error that names both plugins', async () => {
    const clock = (name: string) => plugin(name, (c) => c.provide(Clock, { now: () => 7 }));
    await expect(open(clock('one'), clock('two'))).rejects.toThrow(
      'DUPLICATE_SERVICE: plugins "one" and "two" both provide Symbol(attune.test.Clock).',
    );
    const own = plugin('own', (c) => c.provide(TOKENS.Logger, silentLogger));
    await expect(open(own)).rejects.toThrow('plugins "core" and "own" both provide');
  });

  it('are undefined where no plugin provides them', async () => {
    await using attune = await open();
    expect(attune.service(Clock)).toBeUndefined();
    expect(attune.service(TOKENS.Engine)).toBe(attune.engine);
  });
});

describe('plugins', () => {
  it('of another API version are refused where they are defined', () => {
    expect(() =>
      definePlugin({ name: 'old', version: '0.3.0', apiVersion: 0, register: () => {} }),
    ).toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: PLUGIN_API_VERSION: plugin "old" 0.3.0 was written for plugin API 0; this is 1.
        Fix: Install a version of "old" for API 1.]
    `);
  });

  it('of another API version are refused by the core that loads them, too', async () => {
    const defined = { ...plugin('old', () => {}), apiVersion: 0 }; // with a definePlugin of its own
    await expect(open(defined)).rejects.toThrow('PLUGIN_API_VERSION: plugin "old"');
  });

  it('listed twice are refused', async () => {
    const twice = plugin('one', () => {});
    await expect(open(twice, twice)).rejects.toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: PLUGIN_TWICE: plugin "one" is listed twice.
        Fix: List each plugin once in createAttune({ plugins }).]
    `);
  });

  it('without a backend: the message says what to install', async () => {
    await expect(createAttune()).rejects.toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: NO_BACKEND: no plugin brings a device to compute on.
        Fix: npm install @attune/backend-dawn, then createAttune({ plugins: [dawn(), ...] }). Or pass backend: "reference" for the slow exact one.]
    `);
  });

  it('an unknown backend is named with those that are known', async () => {
    await expect(createAttune({ backend: 'referense' })).rejects.toThrow(
      'Did you mean "reference"?',
    );
  });

  it('an unknown option is refused with the nearest', async () => {
    await expect(createAttune({ plugin: [] } as object)).rejects.toThrow(
      'UNKNOWN_OPTION: createAttune: there is no option "plugin". Did you mean "plugins"?',
    );
  });
});

it('disposing frees the backend once', async () => {
  const attune = await open();
  await attune.dispose();
  await attune.dispose();
});

it('an Attune that cannot be made closes its backend', async () => {
  let closed = 0;
  const backend = new ReferenceBackend();
  backend[Symbol.asyncDispose] = async () => void closed++;
  const device = plugin('device', (context) => {
    context.add(Backends, { name: 'mine', create: async () => backend });
    context.provide(TOKENS.Backend, backend);
  });
  await expect(createAttune({ plugins: [device], logger: silentLogger })).rejects.toThrow(
    /DUPLICATE_SERVICE/,
  );
  expect(closed).toBe(1);
});
