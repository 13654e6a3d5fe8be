import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  adviseLabelWeights,
  collateUnpaired,
  mismatchedBatch,
  type PairExample,
  type PairRowOptions,
  pairRows,
  promptRows,
  unpairedRows,
  unpairPreferences,
} from '@attune/align';
import { AutoTokenizer, Dataset, type TokenExample, type Tokenizer } from '@attune/core';
import type { DeviceBatch, HostTensor } from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import { sharedMessages, sharedText } from '../src/rows/implicitPrompt.js';
import { encode, fixtures, template } from './rows.support.js';

// Every id is TRL 1.16's own (parity/rows_align_rows.py), but for what is said of it below.

interface Sequence {
  readonly ids: readonly number[];
  /** Tokens of the prompt. */
  readonly prompt: number;
}
type Made = readonly [chosen: Sequence, rejected: Sequence] | null;
interface Outputs {
  readonly dpo: Made;
  readonly cpo: Made | string;
  readonly reward: readonly [readonly number[], readonly number[]] | null;
}
interface Case extends Outputs {
  readonly name: string;
  readonly tokenizer: string;
  readonly chatTemplate: string | null;
  readonly row: Readonly<Record<string, unknown>>;
  readonly cut: readonly (Outputs & { readonly maxLength: number; readonly keepEnd: Made })[];
  readonly isOther?: boolean;
}
interface Group {
  readonly tokenizer: string;
  readonly chatTemplate?: string;
  readonly rows: readonly object[];
  readonly block: number;
  readonly maxLength: number | null;
  readonly own: readonly Sequence[];
  readonly kl: readonly Sequence[];
  readonly labels: readonly boolean[];
}

const { cases, extracted, unpaired, kto, prompts, advice } = JSON.parse(
  readFileSync(join(fixtures, 'row72-align-rows.json'), 'utf8'),
) as {
  readonly cases: readonly Case[];
  readonly extracted: readonly {
    name: string;
    row: Record<string, never>;
    output: { prompt: unknown };
  }[];
  readonly unpaired: readonly (readonly [string, number, number])[];
  readonly kto: readonly Group[];
  readonly advice: readonly {
    readonly desirable: number;
    readonly undesirable: number;
    readonly weights: readonly [number, number];
    readonly ranges: readonly number[] | null;
  }[];
  readonly prompts: readonly {
    tokenizer: string;
    chatTemplate?: string;
    prompt: unknown;
    ids: number[];
  }[];
};

const root = resolve(fixtures, '../..');
const folderOf = (name: string) =>
  name.startsWith('..') ? join(root, name) : join(fixtures, 'tokenizers', name);
const isThere = ({ tokenizer }: { readonly tokenizer: string }) => existsSync(folderOf(tokenizer));
const note = cases.every(isThere) ? '' : ' (some skipped: no ../shared)';

const loaded = new Map<string, Promise<Tokenizer>>();
async function tokenizerOf(name: string, chatTemplate?: string | null): Promise<Tokenizer> {
  const key = `${name} ${chatTemplate}`;
  const held = loaded.get(key) ?? AutoTokenizer.fromPretrained(folderOf(name));
  loaded.set(key, held);
  const tokenizer = await held;
  if (chatTemplate && chatTemplate !== 'its own') tokenizer.chatTemplate = template(chatTemplate);
  return tokenizer;
}

const sequence = ({ inputIds, labels }: TokenExample): Sequence => ({
  ids: Array.from(inputIds),
  prompt: Array.from(labels).filter((label) => label === -100).length,
});
const made = (example: PairExample | null): Made =>
  example && [sequence(example.chosen), sequence(example.rejected)];
/**
 * Deviation: a row whose answer has no token that something stands before is left out: one that
 * TRL's CPO and ORPO emptied (their loss is NaN, trl#6548), or one token alone (no gradient).
 */
const ours = (pair: Made): Made =>
  pair?.some(({ ids, prompt }) => ids.length <= Math.max(prompt, 1)) ? null : pair;
const anyLength = Number.POSITIVE_INFINITY;

describe(`pairs as TRL tokenises them${note}`, () => {
  const own = cases.filter(({ isOther }) => !isOther).filter(isThere);

  test.each(own)('$name', async ({ tokenizer: name, chatTemplate, row, dpo, cpo, reward, cut }) => {
    const tokenizer = await tokenizerOf(name, chatTemplate);
    const pair = (options: Partial<PairRowOptions>) =>
      made(encode(pairRows({ maxLength: anyLength, ...options }), row, tokenizer).example);
    const whole = (maxLength: number) => {
      const rules = pairRows({ maxLength, scored: 'texts' });
      const { example } = encode(rules, row, tokenizer);
      return (
        example && [example.chosen, example.rejected].map(({ inputIds }) => Array.from(inputIds))
      );
    };
    expect(pair({})).toEqual(ours(dpo));
    // Deviation: CPO and ORPO do not give the template the tools of a row.
    const isLikeCpo = typeof cpo !== 'string' && !('tools' in row);
    if (isLikeCpo) expect(pair({ tokenization: 'cpo' })).toEqual(ours(cpo));
    expect(whole(anyLength)).toEqual(reward);
    for (const one of cut) {
      const { maxLength } = one;
      expect(pair({ maxLength })).toEqual(ours(one.dpo));
      expect(pair({ maxLength, truncationMode: 'keep_end' })).toEqual(ours(one.keepEnd));
      expect(whole(maxLength)).toEqual(one.reward);
      if (isLikeCpo && typeof one.cpo !== 'string')
        expect(pair({ maxLength, tokenization: 'cpo' })).toEqual(ours(one.cpo));
    }
  });

  test('rows of every kind are there', () => {
    expect(own.length).toBeGreaterThan(90);
    expect(own.some(({ dpo, cpo }) => JSON.stringify(dpo) !== JSON.stringify(cpo))).toBe(true);
    expect(own.some(({ cut }) => cut.some(({ dpo }) => dpo === null))).toBe(true);
    const isEmptied = (pair: Made | string) =>
      typeof pair !== 'string' && pair !== null && ours(pair) === null;
    expect(own.some(({ cut }) => cut.some(({ cpo }) => isEmptied(cpo)))).toBe(true);
  });
});

describe('implicit prompts where extract_prompt is wrong', () => {
  const others = Object.fromEntries(
    extracted.map(({ name, row, output }) => [name, { row, theirs: output.prompt }]),
  );
  test.each(extracted)('$name', ({ name, row, output }) => {
    const { chosen, rejected } = row;
    const shared = Array.isArray(chosen)
      ? sharedMessages([chosen, rejected!])
      : sharedText([chosen!, rejected!]);
    const isWrong = [
      'one is the beginning of the other',
      'the other way round',
      'equal',
      'a space at the end',
    ].includes(name);
    if (isWrong) expect(shared.prompt).not.toEqual(output.prompt);
    else
      expect({
        prompt: shared.prompt,
        chosen: shared.answers[0],
        rejected: shared.answers[1],
      }).toEqual(output);
  });

  test('theirs and ours', () => {
    // One answer is the beginning of the other: theirs ends one character before it does.
    expect(others['one is the beginning of the other']!.theirs).toBe('The sky i');
    expect(sharedText(['The sky is', 'The sky is blue'])).toEqual({
      prompt: 'The sky is',
      answers: ['', ' blue'],
    });
    // They are equal: theirs keeps the last character as the answer.
    expect(others.equal!.theirs).toBe('The sk');
    expect(sharedText(['The sky', 'The sky'])).toEqual({ prompt: 'The sky', answers: ['', ''] });
    // They differ at once, and chosen ends in a space: theirs takes it for the one before them.
    expect(others['a space at the end']!.theirs).toBe('yes');
    expect(sharedText(['yes ', 'no'])).toEqual({ prompt: '', answers: ['yes ', 'no'] });
  });
});

describe(`labelled answers and their mismatched ones as TRL makes them${note}`, () => {
  const texts = ({
    inputIds,
    segments,
    labels,
  }: Readonly<Record<string, HostTensor>>): Sequence[] =>
    Array.from({ length: inputIds!.shape[0]! }, (_, row) => {
      const width = inputIds!.shape[1]!;
      const at = (array: HostTensor) =>
        Array.from(array.data.subarray(row * width, (row + 1) * width));
      const ids = at(inputIds!).filter((_, t) => at(segments!)[t] !== -1);
      const scored = at(labels!).filter((label) => label !== -100).length;
      return { ids, prompt: ids.length - scored };
    });

  test.each(kto.filter(isThere).map((group, i) => ({ ...group, i })))(
    'group $i: $rows.length rows, blocks of $block, at most $maxLength tokens',
    async ({ tokenizer: name, chatTemplate, rows, block, maxLength, own, kl, labels }) => {
      const tokenizer = await tokenizerOf(name, chatTemplate);
      const rules = unpairedRows({ maxLength: maxLength ?? anyLength });
      const examples = [...(unpairPreferences(Dataset.from(rows)) as Dataset)].flatMap(
        (row) => encode(rules, row, tokenizer).example ?? [],
      );
      const batch = collateUnpaired(examples, { maxLength: maxLength ?? 64, klBlock: block });
      // A first token has no label here: nothing is before it.
      const first = (all: readonly Sequence[]) =>
        all.map((s) => ({ ...s, prompt: Math.max(s.prompt, 1) }));
      expect(texts(batch)).toEqual(first(own));
      const others = mismatchedBatch(batch as unknown as DeviceBatch);
      expect(texts(others as unknown as Record<string, HostTensor>)).toEqual(first(kl));
      expect(Array.from(batch.isDesirable!.data, Boolean)).toEqual(labels);
    },
  );

  test.each(advice)(
    'weights of $desirable wanted and $undesirable unwanted answers at $weights',
    ({ weights: [desirableWeight, undesirableWeight], ranges, ...counts }) => {
      const found = adviseLabelWeights({ ...counts, desirableWeight, undesirableWeight });
      const ours = found && [...found.desirableWeight, ...found.undesirableWeight];
      expect(ours).toEqual(ranges);
    },
  );

  test('unpaired pairs come in their order', () => {
    const pairs = Array.from({ length: 1005 }, (_, i) => ({
      prompt: `p${i}`,
      chosen: `c${i}`,
      rejected: `r${i}`,
    }));
    const expected = unpaired.flatMap(([letter, start, count]) =>
      Array.from({ length: count }, (_, i) => `${letter}${start + i}`),
    );
    const made = [...(unpairPreferences(pairs) as Dataset)].map(({ completion }) => completion);
    expect(made).toEqual(expected);
  });
});

test.each(prompts.filter(isThere))(
  'a prompt as GRPO tokenises it: $tokenizer $chatTemplate',
  async ({ tokenizer: name, chatTemplate, prompt, ids }) => {
    const tokenizer = await tokenizerOf(name, chatTemplate);
    expect(Array.from(encode(promptRows(), { prompt }, tokenizer).example!.promptIds)).toEqual(ids);
  },
);
