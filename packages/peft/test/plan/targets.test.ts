import { AttuneError } from '@attune/core';
import { describe, expect, test } from 'vitest';
import { commonConfig } from '../../src/contract/config.js';
import { patternValue } from '../../src/contract/patterns.js';
import { matchTargets } from '../../src/plan/targets.js';
import { fixture } from '../support.js';

interface Row39 {
  readonly models: Readonly<Record<string, readonly (readonly [path: string, type: string])[]>>;
  readonly cases: readonly {
    readonly name: string;
    readonly attrs: Readonly<Record<string, unknown>> & { readonly model: string };
    readonly outputs: {
      readonly applied?: readonly string[];
      readonly applyError?: object;
      readonly configError?: object;
    };
  }[];
}

const camel = (key: string) => key.replace(/_(.)/g, (_, c: string) => c.toUpperCase());

describe('row 39: the layers that PEFT adapts', () => {
  const { models, cases } = fixture<Row39>('row39-target-matching.json');
  for (const { name, attrs, outputs } of cases) {
    const { model, ...options } = attrs;
    // configError rows are those of parsePeftConfig: see config.test.ts.
    if (outputs.configError) continue;
    test(`${name} ${JSON.stringify(options)}`, () => {
      const config = commonConfig.parse({
        peftType: 'LORA',
        ...Object.fromEntries(Object.entries(options).map(([k, v]) => [camel(k), v])),
      });
      const candidates = models[model]!.map(([path, type]) => ({
        path,
        isLinear: type === 'Linear' || type === 'Conv1D',
      }));
      const match = () => matchTargets(candidates, config.targetModules!, config, model);
      if (outputs.applyError) expect(match).toThrow(AttuneError);
      else expect(match()).toEqual(outputs.applied);
    });
  }
});

test("Python's named groups", () => {
  const candidates = ['layers.0.q_proj', 'layers.1.q_proj', 'layers.1.v_proj'].map((path) => ({
    path,
    isLinear: true,
  }));
  const targetModules = String.raw`layers\.(?P<n>\d)\.(?P<kind>[qv])_proj(?P=n)?`;
  const config = commonConfig.parse({ peftType: 'LORA', targetModules });
  expect(matchTargets(candidates, targetModules, config, 'llama')).toHaveLength(3);
});

describe('errors', () => {
  const candidates = ['a.q_proj', 'a.v_proj', 'lm_head'].map((path) => ({ path, isLinear: true }));
  const match = (options: object) => {
    const config = commonConfig.parse({ peftType: 'LORA', ...options });
    return matchTargets(candidates, config.targetModules!, config, 'llama');
  };

  test('nothing matches: what there is, and the nearest name', () => {
    expect(() => match({ targetModules: ['qproj'] })).toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: PEFT_NO_TARGET: targetModules ["qproj"] match none of the 3 linear layers of llama.
        Fix: Nearest: "q_proj". Names: q_proj, v_proj, lm_head. Or pass "all-linear".]
    `);
  });

  test('everything is excluded', () => {
    expect(() =>
      match({ targetModules: ['q_proj'], excludeModules: ['q_proj'] }),
    ).toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: PEFT_NO_TARGET: targetModules ["q_proj"] match 1 modules of llama, and excludeModules ["q_proj"] or modulesToSave null leave out all of them.
        Fix: Exclude less, or target more.]
    `);
  });

  test('not a regular expression', () => {
    expect(() => match({ targetModules: '(q_proj' })).toThrow(/PEFT_BAD_REGEX: "\(q_proj"/);
  });
});

test('patternValue: the end of the path, the first key that fits', () => {
  const path = 'model.layers.1.self_attn.q_proj';
  expect(patternValue({ q_proj: 2, 'self_attn.q_proj': 4 }, path)).toBe(2);
  expect(patternValue({ proj: 2, 'layers\\.1\\..*': 4 }, path)).toBe(4);
  expect(patternValue({ '0.self_attn.q_proj': 2 }, path)).toBeUndefined();
});
