import { type Attune, AutoModelForCausalLM } from '@attune/core';
import { inverseFrequencies, RotaryTables } from '@attune/core/nn';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { fixtureJson, reference } from './support.js';

interface Found {
  readonly short: number[];
  readonly long: number[];
  readonly factor: number;
}

interface Case {
  readonly family: string;
  readonly keys: Record<string, unknown>;
  /** What transformers has for the layers of each kind. */
  readonly found?: Readonly<Record<string, Found>>;
  /** What transformers throws. */
  readonly refused?: string;
}

const { sizes, cases } = fixtureJson('row232-rope-configs.json') as {
  sizes: Record<string, unknown>;
  cases: Case[];
};

let attune: Attune;
beforeAll(async () => {
  attune = await reference();
});
afterAll(() => attune.dispose());

/** The tables that a model of this config makes: of Gemma 3 full, sliding. */
async function tablesOf({ family, keys }: Case): Promise<RotaryTables[]> {
  const made: RotaryTables[] = [];
  const at = RotaryTables.prototype.at;
  const spy = vi.spyOn(RotaryTables.prototype, 'at').mockImplementation(function (
    this: RotaryTables,
    length: number,
  ) {
    if (!made.includes(this)) made.push(this);
    return at.call(this, length);
  });
  try {
    const config = { model_type: family, ...sizes, ...keys };
    const model = await AutoModelForCausalLM.fromConfig(config, { attune, initialize: false });
    model.dispose();
  } finally {
    spy.mockRestore();
  }
  return made;
}

/** Relative to the largest: frequencies are powers, one float32 rounding off at most. */
const far = (ours: ArrayLike<number>, theirs: number[]): boolean =>
  ours.length !== theirs.length ||
  theirs.some((value, i) => !(Math.abs(ours[i]! - value) <= 1e-6 * Math.abs(value)));

type Options = Parameters<typeof inverseFrequencies>[0];

function equals(table: RotaryTables | undefined, theirs: Found): boolean {
  if (!table) return false;
  const { options } = table as unknown as { options: Options };
  const factor = 'attentionFactor' in options.scaling ? options.scaling.attentionFactor : 1;
  return (
    !far(inverseFrequencies(options, 4), theirs.short) &&
    !far(inverseFrequencies(options, 200), theirs.long) &&
    Math.abs(factor - theirs.factor) < 1e-9
  );
}

/**
 * The first files of Phi-3 say "su" with the original length beside it: read here, refused by
 * transformers 5.
 */
const isFirstPhi3 = ({ family, keys }: Case): boolean =>
  family === 'phi3' && /"(su|yarn)"/.test(JSON.stringify(keys));

it(`reads the rotary embeddings of ${cases.length} configs as transformers does`, async () => {
  const wrong: Case[] = [];
  for (const one of cases) {
    const tables = await tablesOf(one).catch((error: unknown) => {
      expect(String(error), JSON.stringify(one)).toMatch(/CONFIG_INVALID|ROPE_UNSUPPORTED/);
      return null;
    });
    const { found, refused } = one;
    if (!found) {
      expect(refused).toBeTruthy();
      if (tables && !isFirstPhi3(one)) wrong.push(one);
      continue;
    }
    // Gemma 3 makes both tables; transformers only those that a layer needs.
    const theirs = 'all' in found ? [found.all] : [found.full_attention, found.sliding_attention];
    if (!theirs.every((each, i) => !each || equals(tables?.[i], each))) wrong.push(one);
  }
  expect(wrong).toEqual([]);
});

it('refuses tables that no memory holds, before it makes them', async () => {
  const huge = { family: 'llama', keys: { max_position_embeddings: 1e9 } };
  await expect(tablesOf(huge)).rejects.toThrow(
    /CONFIG_INVALID.*max_position_embeddings is 1000000000/,
  );
});
