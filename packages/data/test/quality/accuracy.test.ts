import { quality } from '@attune/data';
import { describe, expect, test } from 'vitest';
import { scanJson } from '../../src/quality/accuracy/scanJson.js';

async function found(completion: string, prompt = 'Write it.', options: object = {}) {
  const { dropped } = await quality([{ prompt, completion }], {
    checks: [{ name: 'accuracy', ...options }],
  });
  const [lost] = dropped;
  return lost ? `${lost.reason}: ${lost.detail}` : null;
}
const block = (language: string, code: string) => `So:\n\`\`\`${language}\n${code}\n\`\`\`\nDone.`;

describe('code that parses as what it claims to be', () => {
  test.each([
    ['js', 'const a = await fetch(x);\nreturn a;'],
    ['javascript', 'import a from "a";\nexport const b = () => <div>{a}</div>;'],
    ['js', 'const a = 1;\nconst a = 2; // or so'],
    ['js', 'with (a) b;'],
    ['js', '// ...\nfoo(...);\n...\nbar();'],
    ['js', 'a: 1,\nb() { return 2; },'],
    ['js', '.then((x) => x)\n.catch(log)'],
    ['js', 'async load() {\n  await this.x;\n}'],
    ['js', '- const a = 1;\n+ const a = 2;\n  use(a);'],
    ['js', '> 1 + 1\n2'],
    ['tsx', 'const a = <T,>(x: T): T => x;\nconst b = <A b={1} />;'],
    ['ts', 'enum A { B }\nconst x = <string>y;'],
    ['ts', 'name: string;\nage?: number;'],
    ['typescript', '@Injectable()\nclass A { constructor(@Inject(X) private x: X) {} }'],
    ['python', 'print(f"{a!r:>{width}}")\nif (n := len(a)) > 1:\n    pass'],
    ['py', 'match x:\n    case [1, *rest] if rest:\n        print(rest)\n    case _:\n        ...'],
    ['python', '>>> a = 1\n>>> if a:\n...     print(a)\n1\n'],
    ['python', 'def f(a: int, /, *, b=1) -> int: ...'],
    ['python', '    return self.x\n'],
    ['python', 'def g():\n    x = yield\n    yield\n'],
    ['python', '%matplotlib inline\n!pip install x\nimport x'],
    ['python', 'foo(...)\n...\nx = [1, 2, ...]'],
    ['python', 'async def f():\n    async with a as b:\n        return [x async for x in b]'],
    ['python', 'x = 4.\ny = (4., 1./2.)\nmatch a:\n    case ast.B():\n        pass'],
    ['python', 'try:\n    pass\nexcept* ValueError as e:\n    raise X from e'],
    ['python', 'with (open("a") as f, open("b") as g):\n    pass'],
    ['python', 'type P[T] = list[T]\nclass A[T: int]:\n    ...\nprint(f"{d["a"]} {f"{x}"}")'],
    ['python', 'def f(x):\n    # your code\n\nclass A:\n    # TODO'],
    ['python', '"a": 1,\n"b": [2],'],
    ['python', 'x=1, y=2'],
    ['python', 'def f(x: int) -> int'],
    ['python', '@a.b(c)(d)\n@e[0].f\ndef g(): pass'],
    ['json', '{ "name": string, "age": number }'],
    ['json', 'POST /a HTTP/1.1\nAccept: */*\n\n{"a": 1}'],
    ['python', '# A session\n>>> add(1, 2)\n3'],
    ['python', 'In [1]: import os\n\nIn [2]: os.getcwd()\nOut[2]: "/home"'],
    ['python', 'files = !ls\nnp.sum?\n?df\nimport x'],
    ['python', 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: no'],
    ['js', "TypeError: Cannot read properties of undefined (reading 'a')"],
    ['js', '// @flow\nfunction f(x: ?number): string { return ""; }'],
    ['ts', 'class A { accessor b = 1; }\nusing c = f();'],
    ['json5', '{ ünï: \'a\\\nb\', "c": "\\x41" }'],
    ['json', '{ "id": <id>, "key": <your key> }'],
    ['json', '{"a": [1, -2.5e3, "\\u00e9", null]}'],
    ['json', '"name": "x",\n"version": "1.0.0"'],
    ['json', '{"a": 1}\n{"a": 2}'],
    ['json', '{\n  "a": 1,\n  ...\n}'],
    ['json', '[1, 2, ...]'],
    ['jsonc', '{ // so\n  "a": 1,\n}'],
    ['json5', "{a: 'x', b: +1, c: .5, d: Infinity}"],
    ['jsonl', '{"a": 1}\n{"a": 2}'],
    ['rust', 'fn main( {'],
    ['', 'if x then ( y'],
  ])('%s %j', async (language, code) => {
    expect(await found(block(language, code))).toBeNull();
  });
});

describe('code that does not parse', () => {
  test.each([
    ['js', 'const a = ;', 'js, line 3, column 11: Unexpected token'],
    ['js', 'function f( {\n  return 1;\n}', 'js, line 4, column 10'],
    ['js', 'let a = 5 let b = 6', 'js, line 3, column 10: Missing semicolon'],
    ['ts', 'interface A {\n  a: string\n', 'ts, line 5, column 1'],
    ['ts', 'const a: = 1;', 'ts, line 3, column 10'],
    ['python', 'def f(:\n    pass', 'python, line 3, column 7'],
    ['python', 'if x\n    pass', 'python, line 3, column 5'],
    ['python', 'def f():\n    a = 1\n   return a', 'python, line 5, column 4'],
    ['python', 'print("a"', 'python, line 3'],
    ['python', 'x = = 1', 'python, line 3, column 5'],
    ['json', '{"a": 1,, "b": 2}', 'json, line 3, column 9: unexpected ", "b": 2}"'],
    ['json', '{"a": [1, 2}', 'json, line 3, column 12'],
    ['json', '{"a": 1', 'json, line 3, column 8: it ends too early'],
    ['json', '{"a": undefined}', 'json, line 3, column 7'],
    ['json', '{"a" 1}', 'json, line 3, column 6'],
    ['json', '{"a": "\\x41"}', 'json, line 3, column 7: unexpected ""\\x41"}"'],
    ['python', 'def f():\nreturn 1', 'python, line 4, column 1: unexpected "return 1"'],
    ['python', '# all of them\nfor x in y:\nprint(x)', 'python, line 5, column 1'],
    ['tsx', 'const a = <div>;', 'tsx, line 3, column 16: Unexpected token'],
  ])('%s %j', async (language, code, detail) => {
    expect(await found(block(language, code))).toContain(`code does not parse: ${detail}`);
  });

  test('relatives of a language are told apart, and stay by default', async () => {
    const relatives = [
      ['python', 'print "a", b\ntry:\n    pass\nexcept A, e:\n    print e', 'it is Python 2'],
      ['js', 'const a: string = b as string;', 'it is TypeScript'],
      ['json', '{"a": 1 // x\n}', 'JSON has no comment'],
      ['json', '{"a": 1,}', 'JSON has no trailing comma'],
      ['json', "{'a': 1}", 'JSON has no single quotes'],
    ] as const;
    for (const [language, code, message] of relatives) {
      expect(await found(block(language, code))).toBeNull();
      expect(await found(block(language, code), 'x', { minScore: 1 })).toContain(message);
    }
  });

  test('languages that are not asked for, and blocks that stop, are left alone', async () => {
    expect(await found(block('js', 'const a = ;'), 'x', { languages: ['python'] })).toBeNull();
    expect(await found('```js\nconst a = ')).toBeNull();
  });

  test('a bare answer to a question for JSON', async () => {
    expect(await found('{"a": 1, "b" 2}', 'Answer in JSON.')).toContain('json, line 1, column 14');
    expect(await found('{"a": 1, "b": 2}', 'Answer in JSON.')).toBeNull();
    expect(await found('{"a": 1, "b" 2}', 'What is a set in Python?')).toBeNull();
  });
});

test('dead fences', async () => {
  expect(await found('Here:\n\n```python\n```\n')).toBe('empty code block: line 3');
  expect(await found('Here:\n\n```\n\n```\n')).toBe('empty code block: line 3');
});

test('dates that are past', async () => {
  const stale = 'As of 2021, the latest version is 3.9.';
  const told = 'As of 2021, the town had 5,000 people.';
  expect(await found('As of my last knowledge update in September 2021, so.')).toContain(
    'knowledge cutoff',
  );
  expect(await found('My training data only goes up to 2021.')).toContain('knowledge cutoff');
  expect(await found('截至我的知识更新，它是最新的。')).toContain('knowledge cutoff');
  expect(await found(stale)).toBe(`stale date: "${stale}"`);
  expect(await found('The mayor, as of May 3, 2019, is Jo.')).toContain('stale date');
  expect(await found(stale, 'x', { staleBefore: 2020 })).toBeNull();
  for (const fine of [
    told,
    'The law was passed in 2021. It is in force.',
    'As of now, the latest version is 3.9.',
    'The cutoff of the filter is 2021 Hz.',
  ])
    expect(await found(fine)).toBeNull();
  expect(await found(told, 'x', { minScore: 1 })).toContain('stale date');
});

test('JSON of any depth is scanned', () => {
  expect(scanJson(`${'['.repeat(100_000)}${']'.repeat(100_000)}`).errorAt).toBeNull();
  expect(scanJson('['.repeat(100_000)).errorAt).toBe(100_000);
  for (const text of ['{}', '[]', '1', '"a"', ' [ { } ] '])
    expect(scanJson(text)).toEqual({ errorAt: null, extras: new Set() });
  for (const text of [
    '{',
    ']',
    '[,]',
    '{,}',
    '{"a"}',
    '{"a":}',
    '[1 2]',
    '"\\x"',
    '01',
    '[1,,2]',
    'abc',
  ])
    expect(scanJson(text).errorAt, text).not.toBeNull();
});

test('long code of the worst kind costs no more than its length', async () => {
  const began = process.cpuUsage();
  for (const [language, unit] of [
    ['js', 'x = "'],
    ['python', 'if a:\n'],
    ['python', 'def f():\n# x\n'],
    ['json5', '{a:'],
  ] as const)
    await found(block(language, unit.repeat(150_000 / unit.length)));
  expect(process.cpuUsage(began).user / 1e6).toBeLessThan(5);
  const long = 'b();\n'.repeat(10_000);
  expect(await found(block('js', `const a = 1;\nconst a = 2;\n${long}`))).toBeNull();
  expect(await found(block('js', `${long}(`))).toContain('code does not parse');
}, 30_000);
