import { describe, expect, it } from 'vitest';
import { createEngine, type Encoding } from '../../src/tokenizer/engine/engine.js';
import { fixtureJson } from '../models/support.js';

interface Case {
  readonly model: string;
  readonly parts: Record<string, unknown>;
  readonly ids: number[][];
  readonly offsets?: number[][];
  readonly text?: string[];
  readonly textWithoutSpecial?: string[];
}

const { models, texts, cases } = fixtureJson('row320-tokenizer-parts.json') as {
  models: Record<string, unknown>;
  texts: string[];
  cases: Case[];
};

/** Positions in UTF-16 units as positions in code points. */
function inCodePoints(text: string, offsets: Encoding['offsets']): number[] {
  return offsets.flat().map((unit) => Array.from(text.slice(0, unit)).length);
}

const name = ({ model, parts }: Case): string => {
  const named = Object.entries(parts).filter(([key, value]) => value && key !== 'added_tokens');
  const tokens = (parts.added_tokens as Record<string, unknown>[])[0];
  const flags = Object.keys(tokens ?? {}).filter((key) => tokens![key] === true);
  return `${model} ${JSON.stringify(Object.fromEntries(named)).slice(0, 90)} ${flags.join(' ')}`;
};

describe('row 320: parts of tokenizer.json give what Python tokenizers gives', () => {
  it.each(cases.map((c) => [name(c), c] as const))('%s', (_, expected) => {
    const engine = createEngine('tokenizer.json', {
      version: '1.0',
      ...expected.parts,
      model: models[expected.model],
    });
    for (const [i, text] of texts.entries()) {
      const label = JSON.stringify(text);
      const ids = engine.encode(text, true);
      expect(ids, label).toEqual(expected.ids[i]);
      const placed = engine.encodeWithOffsets(text, true);
      expect(placed.ids, label).toEqual(ids);
      if (expected.offsets)
        expect(inCodePoints(text, placed.offsets), label).toEqual(expected.offsets[i]);
      if (expected.text) expect(engine.decode(ids, false), label).toBe(expected.text[i]);
      if (expected.textWithoutSpecial)
        expect(engine.decode(ids, true), label).toBe(expected.textWithoutSpecial[i]);
    }
  });
});
