import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Template } from '../../src/jinja/index.js';
import { parseRemembering, remembering } from '../../src/util/readAs.js';
import { fixture } from '../models/support.js';

const { variables, cases } = parseRemembering(
  readFileSync(fixture('row119-jinja.json'), 'utf8'),
) as { variables: Record<string, unknown>; cases: [template: string, text: string | null][] };

const render = (template: string): string => {
  const given = { add_generation_prompt: false, tools: null, documents: null, ...variables };
  const now = () => new Date(2025, 2, 7, 9, 5, 3);
  return new Template(template).render(remembering(given, variables), { now }).text;
};

describe("row 119: templates mean what they mean in transformers' Jinja2", () => {
  it('about a thousand, of every filter, test, method, operator and statement', () => {
    expect(cases.length).toBeGreaterThan(1000);
  });

  it('text where Jinja2 renders', () => {
    const found = cases.filter(([, text]) => text !== null).map(([t]) => [t, attempt(t)]);
    expect(found).toEqual(cases.filter(([, text]) => text !== null));
  });

  it('an error where it refuses', () => {
    for (const [template, text] of cases)
      if (text === null) expect(attempt(template), template).toBe(null);
  });

  function attempt(template: string): string | null {
    try {
      return render(template);
    } catch (error) {
      expect((error as Error).name).toBe('JinjaError');
      return null;
    }
  }
});
