import { type Attune, type ExtensionPoint, extensionPoint } from '@attune/core';
import { AttuneError, isPlainObject, nearest, parseOptions, snakeToCamel } from '@attune/core/util';
import { z } from 'zod';
import { inFiles } from '../contract/inFiles.js';
import { isLLMProvider, type LLMProvider } from './llmProvider.js';
import { type LocalProviderOptions, localOptions, localProvider } from './local/localProvider.js';
import { type OpenAIProviderOptions, openaiOptions } from './openai/openaiOptions.js';
import { openaiProvider } from './openai/openaiProvider.js';

/** What `defineLLMProvider` takes. */
export interface LLMProviderDefinition<S extends z.ZodObject> {
  /** What options and YAML call it: `provider: { type: openai, ... }`. */
  readonly type: string;
  /** Checks and completes its options. */
  readonly options: S;
  /** @param attune loads models that options name; null: there is none */
  create(options: z.output<S>, attune: Attune | null): LLMProvider;
}

/** A kind of provider as the SDK uses it. {@link defineLLMProvider} makes one. */
export type LLMProviderKind = LLMProviderDefinition<z.ZodObject>;

/**
 * Makes a kind of provider that options can name, YAML too.
 *
 * @example
 * export const recorded = defineLLMProvider({
 *   type: 'recorded',
 *   options: z.strictObject({ folder: z.string() }),
 *   create: ({ folder }) => new RecordedProvider(folder),
 * });
 */
export const defineLLMProvider = <S extends z.ZodObject>(
  definition: LLMProviderDefinition<S>,
): LLMProviderKind => definition as unknown as LLMProviderKind;

/** Kinds of providers that options can name. A plugin adds its own. */
export const LLMProviders: ExtensionPoint<LLMProviderKind> = extensionPoint(
  'LLM provider',
  (kind) => kind.type,
);

const openai = defineLLMProvider({
  type: 'openai',
  options: openaiOptions,
  create: (options) => openaiProvider(options as OpenAIProviderOptions),
});

const local = defineLLMProvider({
  type: 'local',
  options: localOptions,
  create: (options, attune) =>
    localProvider({ ...(options as LocalProviderOptions), attune: options.attune ?? attune }),
});

/** The kinds of this package. */
export const builtinProviders: readonly LLMProviderKind[] = [openai, local];

/** A provider, or its type with its options: `{ type: 'openai', baseUrl, model, apiKeyEnv }`. */
export type ProviderChoice =
  | LLMProvider
  | ({ readonly type: 'openai' } & OpenAIProviderOptions)
  | ({ readonly type: 'local' } & LocalProviderOptions)
  // A plugin's. An editor still offers the names above.
  | ({ readonly type: string & Record<never, never> } & Readonly<Record<string, unknown>>);

/** For shapes of options. */
export const providerChoice = inFiles(
  z.custom<ProviderChoice>(
    (value) => isLLMProvider(value) || (isPlainObject(value) && typeof value.type === 'string'),
    "expected a provider, as openaiProvider({ baseUrl, model }), or { type: 'openai', ... }",
  ),
  {
    read: (value, attune) => checkedChoice(value, attune),
    needsDevice: (value) => isPlainObject(value) && value.type !== openai.type,
  },
);

/** A choice of a file: its options in camelCase, and checked. */
function checkedChoice(value: unknown, attune: Attune | null): unknown {
  if (!isPlainObject(value) || typeof value.type !== 'string') return value;
  const { type, ...rest } = value;
  const options = Object.fromEntries(
    Object.entries(rest).map(([key, item]) => [snakeToCamel(key), item]),
  );
  const kind = kindNamed(type as string, attune, 'provider');
  parseOptions(kind.options, options, { where: type as string });
  return { type, ...options };
}

/**
 * Makes what is named, and takes what is there.
 *
 * @param where who asks, for messages
 * @throws DATA_PROVIDER_UNKNOWN; UNKNOWN_OPTION, INVALID_OPTION
 */
export function resolveProvider(
  choice: ProviderChoice,
  attune: Attune | null,
  where: string,
): LLMProvider {
  if (isLLMProvider(choice)) return choice;
  const { type, ...options } = choice as { readonly type: string };
  const kind = kindNamed(type, attune, where);
  return kind.create(parseOptions(kind.options, options, { where: type }), attune);
}

/** @throws DATA_PROVIDER_UNKNOWN */
function kindNamed(type: string, attune: Attune | null, where: string): LLMProviderKind {
  const registry = attune?.registry(LLMProviders);
  const kind = registry?.names.includes(type)
    ? registry.get(type)
    : builtinProviders.find((builtin) => builtin.type === type);
  if (kind) return kind;
  const known = [
    ...new Set([...builtinProviders.map((builtin) => builtin.type), ...(registry?.names ?? [])]),
  ];
  const near = nearest(type, known);
  throw new AttuneError(
    'DATA_PROVIDER_UNKNOWN',
    `${where}: there is no provider "${type}".${near === undefined ? '' : ` Did you mean "${near}"?`}`,
    {
      remedy: `Providers: ${known.sort().join(', ')}. A plugin's are found through { attune }, or --plugin of the command.`,
    },
  );
}
