import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { camelToSnake } from '@attune/core/util';
import { describe, expect, test } from 'vitest';
import { parseMergeYaml } from '../src/config/index.js';
import { defaultOf } from '../src/config/parameterValues.js';
import type { MergeMethod, ParameterScope } from '../src/contract/mergeMethod.js';
import { builtinMethods } from '../src/methods/index.js';

const docs = fileURLToPath(new URL('../../../docs/', import.meta.url));
const read = (name: string): string => readFileSync(docs + name, 'utf8');

const SCOPES: Readonly<Record<string, ParameterScope>> = {
  shared: 'shared',
  'per input': 'perInput',
  'per model': 'perModel',
};

/** What a page says of parameters, one entry for each row of its table. */
const tableOf = (page: string) =>
  [...page.matchAll(/^\| `(\w+)` \| ([\w ]+) \| (?:`(.+?)`|(\w+)) \|/gm)].map(
    ([, name, scope, value, word]) => ({
      name,
      scope: SCOPES[scope!],
      default: value === undefined ? word : JSON.parse(value),
    }),
  );

const parametersOf = (method: MergeMethod) =>
  Object.entries(method.parameters).map(([name, parameter]) => {
    const fallback = defaultOf(parameter);
    return {
      name: camelToSnake(name),
      scope: parameter.scope,
      default: fallback ? (fallback.value ?? 'none') : 'required',
    };
  });

interface Named {
  readonly name: string | undefined;
}
const byName = (a: Named, b: Named) => (a.name! < b.name! ? -1 : 1);

describe('each method has a page with its parameters, their scopes and defaults', () => {
  test.each(builtinMethods.map((method) => [method.name, method] as const))(
    '%s',
    (name, method) => {
      const page = read(`merge-methods/${name}.md`);
      expect(tableOf(page).sort(byName)).toEqual(parametersOf(method).sort(byName));
      expect(page).toContain(`merge_method: ${name}\n`);
    },
  );
});

test('each page is about a method that is there', () => {
  const known = new Set(builtinMethods.map(({ name }) => name));
  const pages = readdirSync(`${docs}merge-methods`).map((name) => name.replace(/\.md$/, ''));
  expect(pages.filter((name) => !known.has(name) && name !== 'greedy_soup')).toEqual([]);
});

const pages = [
  ...readdirSync(docs).filter((name) => name.endsWith('.md')),
  ...readdirSync(`${docs}merge-methods`).map((name) => `merge-methods/${name}`),
  '../packages/merge/README.md',
  '../README.md',
].filter((name) => existsSync(docs + name));

const blocks = pages.flatMap((name) => {
  const text = read(name);
  return [...text.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(
    (match) => [`${name}:${text.slice(0, match.index).split('\n').length + 1}`, match[1]!] as const,
  );
});

describe('every YAML in the documentation is a config that is right', () => {
  test.each(blocks)('%s', (where, text) => {
    expect(parseMergeYaml(text, { file: where }).warnings).toEqual([]);
  });
});
