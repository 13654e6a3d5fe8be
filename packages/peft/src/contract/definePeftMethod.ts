import { AttuneError } from '@attune/core';
import type {
  ConfigSchema,
  LayerPart,
  MethodFacts,
  PeftMethod,
  PromptPart,
  SelectionPart,
} from './methodKinds.js';
import type { ParamSpecs, SharedSpecs } from './paramSpec.js';

/**
 * None of another kind's members: so that what is missing tells TypeScript which kind is written.
 */
type Without<Part> = { readonly [Name in keyof Part]?: undefined };
type AnyLayerPart = LayerPart<ConfigSchema, ParamSpecs, SharedSpecs>;
type AnySelectionPart = SelectionPart<ConfigSchema>;
type AnyPromptPart = PromptPart<ConfigSchema, ParamSpecs>;

/**
 * A PEFT method as its author writes it: it adapts layers (`params`, `forward`), trains copies of
 * the base's own parameters (`select`), or puts virtual tokens before the rows (`prompt`). See
 * {@link definePeftMethod}.
 */
export type PeftMethodDefinition<
  C extends ConfigSchema,
  P extends ParamSpecs,
  S extends SharedSpecs = Record<never, never>,
> = MethodFacts<C> &
  (
    | (LayerPart<C, P, S> & Without<AnySelectionPart & AnyPromptPart>)
    | (SelectionPart<C> & Without<AnyLayerPart & AnyPromptPart>)
    | (PromptPart<C, P> & Without<AnyLayerPart & AnySelectionPart>)
  );

/**
 * Makes a PEFT method. Everything around it is done once for all methods: matching layers, several
 * adapters, switching, disabling, casting, merging, saving, loading.
 *
 * @example
 * export const channelScale = definePeftMethod({
 *   peftType: 'CHANNEL_SCALE',
 *   config: z.object({ init: z.number().default(1) }),
 *   params: (layer, config) => ({ scale: { shape: [layer.outFeatures], init: { constant: config.init } } }),
 *   forward: (x, base, p) => base(x).mul(p.scale),
 *   mergedWeight: (weight, p) => weight.mul(p.scale.unsqueeze(1)),
 * });
 * @throws PEFT_METHOD_INVALID
 */
export function definePeftMethod<
  C extends ConfigSchema,
  P extends ParamSpecs,
  S extends SharedSpecs = Record<never, never>,
>(method: PeftMethodDefinition<C, P, S>): PeftMethod {
  const { peftType, config } = method;
  const invalid = (found: string, remedy: string) =>
    new AttuneError('PEFT_METHOD_INVALID', `definePeftMethod: ${found}`, { remedy });
  if (!/^[A-Z][A-Z0-9_]*$/.test(peftType))
    throw invalid(
      `peftType "${peftType}" is not written as PEFT writes them.`,
      'Use capitals, digits and underscores, e.g. "CHANNEL_SCALE".',
    );
  const kind = kindOf(method);
  if (kind === null)
    throw invalid(
      `${peftType} must have either params and forward, or select, or prompt.`,
      'params and forward adapt layers; select trains parameters of the base; prompt gives virtual tokens.',
    );
  if (kind === 'prompt' && !('numVirtualTokens' in config.shape))
    throw invalid(
      `${peftType} gives virtual tokens, but its config has no numVirtualTokens.`,
      'config: virtualTokenOptions.extend({ ... })',
    );
  // Only the method's own functions read these types, and they get what they declared.
  return { ...method, kind } as unknown as PeftMethod;
}

/** Which kind a definition is; null: none of them, or more than one. */
function kindOf(method: object): PeftMethod['kind'] | null {
  const has = (name: string) => (method as Record<string, unknown>)[name] !== undefined;
  const kinds: readonly [PeftMethod['kind'], boolean][] = [
    ['layers', ['params', 'forward', 'shared', 'mergedWeight'].some(has)],
    ['selection', has('select')],
    ['prompt', has('prompt')],
  ];
  const [first, ...others] = kinds.filter(([, is]) => is).map(([kind]) => kind);
  const isWhole = first !== 'layers' || (has('params') && has('forward'));
  return first !== undefined && others.length === 0 && isWhole ? first : null;
}
