import type { KitCheck } from '@attune/core/testing';
import {
  checkLLMRequest,
  defineLLMProvider,
  defineQualityCheck,
  type LLMCompletion,
  type LLMRequest,
} from '@attune/data';
import { llmProviderKit, qualityCheckKit } from '@attune/data/testing';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { builtinChecks } from '../../src/quality/builtinChecks.js';

const rows = Array.from({ length: 40 }, (_, n) => ({
  prompt: `Which number comes after ${n}?`,
  completion: n % 8 === 7 ? 'TODO: write to ana.lee@river-mail.net' : `It is ${n + 1}.`,
}));

const code = rows.map((row, n) => ({
  ...row,
  completion: n % 2 ? '```json\n{"a": 1\n```' : '```json\n{"a": 1}\n```',
}));

/** What failed, of all checks of a kit. */
async function failures(checks: readonly KitCheck[]): Promise<string> {
  const failed: string[] = [];
  for (const { name, run } of checks)
    try {
      await run();
    } catch (error) {
      failed.push(`${name}: ${(error as Error).message}`);
    }
  return failed.join('\n');
}

describe('qualityCheckKit', () => {
  const streaming = builtinChecks.filter(({ name }) =>
    ['accuracy', 'completeness', 'harmlessness'].includes(name),
  );
  describe.each(streaming)('$name', (check) => {
    const given = check.name === 'accuracy' ? code : rows;
    for (const { name, run } of qualityCheckKit(check, { rows: given })) test(name, run);
  });

  const mine = (start: Parameters<typeof defineQualityCheck>[0]['start'], more: object = {}) =>
    defineQualityCheck({ name: 'mine', options: z.strictObject({}), start, ...more });
  const isShort = (answer: string | null) => (answer?.length ?? 0) < 12;

  test('a right check passes', async () => {
    const right = mine(
      () =>
        ({ answer }) =>
          isShort(answer) ? { score: 0.2, reason: 'short' } : { score: 1 },
    );
    expect(await failures(qualityCheckKit(right, { rows }))).toBe('');
  });

  test.each([
    [
      'a score of 2',
      mine(() => ({ answer }) => ({ score: isShort(answer) ? 2 : 1 })),
      /score/,
    ],
    [
      'no reason',
      mine(() => ({ answer }) => ({ score: isShort(answer) ? 0.9 : 1 })),
      /no reason|reason/,
    ],
    ['one score for all', mine(() => () => ({ score: 1 })), /tells rows apart/],
    [
      'any option',
      mine(() => () => ({ score: 1 }), { options: z.looseObject({}) }),
      /does not know/,
    ],
    ['no word', mine(() => () => ({ score: 1 }), { name: 'My check' }), /no word/],
  ])('%s is seen', async (_what, check, message) => {
    expect(await failures(qualityCheckKit(check, { rows }))).toMatch(message);
  });
});

describe('llmProviderKit', () => {
  const answer = ({ n = 1, seed = 0 }: LLMRequest): LLMCompletion => ({
    texts: Array.from({ length: n }, (_, i) => `River ${seed + i}`),
    finishReasons: new Array(n).fill('stop'),
    usage: null,
    model: 'rivers',
    cost: null,
    isCached: false,
  });
  type Complete = (request: LLMRequest, signal: AbortSignal | null) => Promise<LLMCompletion>;
  const right: Complete = async (request, signal) => {
    signal?.throwIfAborted();
    checkLLMRequest(request);
    return answer(request);
  };
  const mine = (complete: Complete, more: object = {}) =>
    defineLLMProvider({
      type: 'mine',
      options: z.strictObject({}),
      create: () => ({
        name: 'rivers',
        maxConcurrent: 2,
        fingerprint: () => ({ kind: 'rivers' }),
        complete: (request, { signal = null } = {}) => complete(request, signal),
      }),
      ...more,
    });

  test('a right kind passes', async () => {
    expect(await failures(llmProviderKit(mine(right), { isDeterministic: true }))).toBe('');
  });

  let calls = 0;
  test.each([
    [
      'one answer for three',
      mine((request, signal) => right({ ...request, n: 1 }, signal)),
      /n = 3/,
    ],
    [
      'no look at the request',
      mine(async (request, signal) => {
        signal?.throwIfAborted();
        return answer(request);
      }),
      /no request is refused/,
    ],
    ['no look at the signal', mine((request) => right(request, null)), /a signal ends it/],
    [
      'another answer each time',
      mine((request, signal) => right({ ...request, seed: calls++ }, signal)),
      /the same seed/,
    ],
    ['any option', mine(right, { options: z.looseObject({}) }), /does not know/],
  ])('%s is seen', async (_what, kind, message) => {
    expect(await failures(llmProviderKit(kind, { isDeterministic: true }))).toMatch(message);
  });
});
