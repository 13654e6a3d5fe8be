import { describe, expect, it } from 'vitest';
import { formatJson } from '../../src/util/formatJson.js';
import { JsonNumber, parseJson, plainJson } from '../../src/util/losslessJson.js';

const config = `{
  "final_logit_softcapping": 30.0,
  "rms_norm_eps": 1e-05,
  "zero": -0.0,
  "big": 9007199254740993,
  "huge": 1E400,
  "id2label": {
    "10": "ten",
    "2": "two",
    "__proto__": "p"
  },
  "list": [
    1,
    1.0,
    [],
    {}
  ],
  "text": "a\\"b\\u00e9\\ud83d\\ude00"
}`;

describe('lossless JSON', () => {
  it('keeps how numbers are spelt and the order of keys that look like numbers', () => {
    const text = config.replace('\\u00e9\\ud83d\\ude00', 'é😀');
    expect(formatJson(parseJson(text))).toBe(text);
  });

  it('gives plain values as JSON.parse does', () => {
    const cases = [config, '[]', ' 1 ', '"x"', 'null', '{"a":{"a":[true,false]},"a":2}', '-0'];
    for (const text of cases) expect(plainJson(parseJson(text))).toEqual(JSON.parse(text));
    const plain = plainJson(parseJson('{"__proto__": {"x": 1}}')) as Record<string, unknown>;
    expect(Object.hasOwn(plain, '__proto__')).toBe(true);
    expect(plain.x).toBeUndefined();
  });

  it('accepts and refuses what JSON.parse does', () => {
    const parts = ['1', '-', '0', '.', 'e', '+', '"', '\\', 'u00', ',', '{', '}', '[', ']', ':'];
    const tokens = [...parts, ' ', '\n', 'true', 'null', '"a"', '\u00a0', '\t"', '01', 'NaN'];
    let state = 1;
    const next = () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return state >>> 8;
    };
    let read = 0;
    for (let i = 0; i < 20000; i++) {
      const text = Array.from(
        { length: 1 + (next() % 6) },
        () => tokens[next() % tokens.length],
      ).join('');
      let expected: unknown = SyntaxError;
      try {
        expected = JSON.parse(text);
        read++;
      } catch {}
      if (expected === SyntaxError) expect(() => parseJson(text), text).toThrow(SyntaxError);
      else expect(plainJson(parseJson(text)), text).toEqual(expected);
    }
    expect(read).toBeGreaterThan(300);
  });

  it('says where a mistake is', () => {
    expect(() => parseJson('{\n  "a": 1,\n  "b": nul\n}')).toThrow(
      '"n" where a value should be, at line 3, column 8',
    );
    expect(() => parseJson('[1 2]')).toThrow('"2" where "," or "]" should be');
    expect(() => parseJson('{"a": 1')).toThrow('nothing where "," or "}" should be');
  });

  it('ends nesting before the call stack does', () => {
    const deep = (n: number) => '['.repeat(n) + ']'.repeat(n);
    expect(() => parseJson(deep(1_000_000))).toThrow('nested more than 256 deep');
    expect(formatJson(parseJson(deep(256)), { indent: 0 })).toBe(deep(256));
    expect(() => parseJson(deep(5), { maxDepth: 4 })).toThrow('more than 4 deep');
  });

  it('refuses duplicate keys where asked to; else the last counts, as in Python', () => {
    const text = '{"a": 1, "b": 2, "a": 3}';
    expect(formatJson(parseJson(text), { indent: 0 })).toBe('{"a":3,"b":2}');
    expect(() => parseJson(text, { duplicateKeys: 'refuse' })).toThrow('"a" is there twice');
  });

  it('reads what Python writes for numbers that are not finite only where asked to', () => {
    const text = '[NaN,Infinity,-Infinity]';
    expect(() => parseJson(text)).toThrow(SyntaxError);
    const value = parseJson(text, { nonFinite: true });
    expect(plainJson(value)).toEqual([Number.NaN, Infinity, -Infinity]);
    expect(formatJson(value, { indent: 0 })).toBe(text);
  });

  it('tells an int from a float as Python does', () => {
    const isInteger = (text: string) => (parseJson(text) as JsonNumber).isInteger;
    expect(['0', '-7', '9007199254740993'].every(isInteger)).toBe(true);
    expect(['0.0', '1e5', '-0.0'].some(isInteger)).toBe(false);
  });
});

describe('formatJson', () => {
  it('writes plain values as JSON.stringify does', () => {
    const value = { a: [1, 'x', null, undefined, { b: Number.NaN }], c: undefined, d: {}, e: [] };
    expect(formatJson(value)).toBe(JSON.stringify(value, null, 2));
    expect(formatJson(value, { indent: 0 })).toBe(JSON.stringify(value));
  });

  it('keeps the spelling and the order of the file for what is still the same', () => {
    const like = parseJson(
      '{"10": 1.0, "2": 2.0, "gone": 1, "l": [1e1, 2.0], "big": 9007199254740993}',
    );
    const value = { ...(plainJson(like) as object), 2: 5, new: 0.5, gone: undefined };
    expect(formatJson(value, { like, indent: 0 })).toBe(
      '{"10":1.0,"2":5,"l":[1e1,2.0],"big":9007199254740993,"new":0.5}',
    );
    expect(formatJson({ n: 12345678901234567890n, m: new JsonNumber('1.50') }, { indent: 0 })).toBe(
      '{"n":12345678901234567890,"m":1.50}',
    );
  });
});
