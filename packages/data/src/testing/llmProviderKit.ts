import { isDeepStrictEqual } from 'node:util';
import { type Attune, AttuneError } from '@attune/core';
import { type KitCheck, kitOf } from '@attune/core/testing';
import { parseOptions } from '@attune/core/util';
import type { LLMRequest } from '../providers/llmProvider.js';
import type { LLMProviderKind } from '../providers/providerChoice.js';
import { providerKitSchema } from './kitOptions.js';

/** What {@link llmProviderKit} runs a kind of provider with. */
export interface LLMProviderKitOptions {
  /** Its options. Default: none. */
  readonly options?: object;
  /** What it is asked. Default: a short question. */
  readonly request?: LLMRequest;
  /** Whether the same seed gives the same answer. Default false: an endpoint cannot promise it. */
  readonly isDeterministic?: boolean;
  /** For a kind that loads models by their names. Default: none. */
  readonly attune?: Attune | null;
}

/**
 * What every kind of provider must do, as checks for any test framework:
 *
 *     for (const { name, run } of llmProviderKit(mine, { options })) test(name, run);
 *
 * As many answers come as were asked for, each with the reason of its end; several requests at once
 * do not meet; its fingerprint is JSON, and stays; what is no request is refused; a signal ends it;
 * options that it does not know are refused.
 */
export function llmProviderKit(kind: LLMProviderKind, kit: LLMProviderKitOptions = {}): KitCheck[] {
  parseOptions(providerKitSchema, kit, { where: 'llmProviderKit' });
  const { check, fail } = kitOf(`LLM provider "${kind.type}"`);
  const options = parseOptions(kind.options, kit.options ?? {}, { where: kind.type });
  const make = () => kind.create(options, kit.attune ?? null);
  const request: LLMRequest = {
    messages: [{ role: 'user', content: 'Name a river.' }],
    maxTokens: 16,
    seed: 1,
    ...kit.request,
  };

  return [
    check('its type can stand in a file, and it refuses options that it does not know', () => {
      if (!/^[a-z][a-zA-Z0-9]*(-[a-z0-9]+)*$/.test(kind.type))
        fail('its type is no word', 'Name it as `type:` of a provider is to name it.');
      if (kind.options.safeParse({ ...kit.options, 'no such option': 1 }).success)
        fail('it takes an option that it does not know', 'Make its schema by z.strictObject.');
    }),

    check('as many answers come as were asked for', async () => {
      const provider = make();
      for (const n of [1, 3]) {
        const { texts, finishReasons, usage, cost } = await provider.complete({ ...request, n });
        if (texts.length !== n || texts.some((text) => typeof text !== 'string'))
          fail(`${texts.length} texts came for n = ${n}`, 'Ask again for those that are missing.');
        if (finishReasons.length !== n)
          fail(`${finishReasons.length} reasons came for ${n} texts`, 'Give one for each text.');
        if (usage && !(usage.promptTokens >= 0 && usage.completionTokens >= 0))
          fail(`it counts ${JSON.stringify(usage)}`, 'Give null where nobody has counted.');
        if (cost !== null && !(cost >= 0)) fail(`it cost ${cost}`, 'Give null: it is not known.');
      }
    }),

    check('several requests at once do not meet', async () => {
      const provider = make();
      const counts = [1, 2, 3, 1];
      const all = await Promise.all(counts.map((n) => provider.complete({ ...request, n })));
      const wrong = all.findIndex(({ texts }, i) => texts.length !== counts[i]);
      if (wrong >= 0)
        fail(
          `request ${wrong} was for ${counts[wrong]} answers, and had ${all[wrong]!.texts.length}`,
          'Keep what belongs to a request within `complete`.',
        );
    }),

    ...(kit.isDeterministic
      ? [
          check('the same seed gives the same answer', async () => {
            const [first, second] = [
              await make().complete(request),
              await make().complete(request),
            ];
            if (!isDeepStrictEqual(first.texts, second.texts))
              fail('a second call answers otherwise', 'Draw from the seed of the request alone.');
          }),
        ]
      : []),

    check('its fingerprint is JSON, and stays', async () => {
      const provider = make();
      const first = await provider.fingerprint();
      await provider.complete(request);
      const second = await provider.fingerprint();
      if (!isDeepStrictEqual(JSON.parse(JSON.stringify(first)), first))
        fail('it is no plain JSON', 'Give strings, numbers, lists and objects.');
      if (!isDeepStrictEqual(first, second))
        fail('it is another one after a request', 'Put in what answers depend on, and no more.');
    }),

    check('what is no request is refused', async () => {
      const error = await make()
        .complete({ messages: [] })
        .then(() => null)
        .catch((reason: unknown) => reason);
      if (!AttuneError.isInstance(error))
        fail('it answers a request without messages', 'Begin with checkLLMRequest(request).');
    }),

    check('a signal ends it', async () => {
      const reason = new Error('enough');
      const error = await make()
        .complete(request, { signal: AbortSignal.abort(reason) })
        .then(() => null)
        .catch((thrown: unknown) => thrown);
      if (error !== reason)
        fail('it went on after its signal', 'Begin with signal?.throwIfAborted().');
    }),
  ];
}
