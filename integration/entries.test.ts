import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, test } from 'vitest';

// What each entry of each package exports, as the compiler sees it.

const root = fileURLToPath(new URL('..', import.meta.url));

interface Manifest {
  readonly name: string;
  readonly exports: Readonly<Record<string, { readonly 'attune-source'?: unknown }>>;
}

/**
 * "@attune/core/nn" -> its source file. Not `/platform`, which has two: what its names do is said
 * in `platform/types.ts`.
 */
const entries = new Map<string, string>();
for (const folder of readdirSync(`${root}packages`)) {
  const file = `${root}packages/${folder}/package.json`;
  if (!existsSync(file)) continue;
  const { name, exports } = JSON.parse(readFileSync(file, 'utf8')) as Manifest;
  for (const [path, conditions] of Object.entries(exports)) {
    const source = conditions['attune-source'];
    if (typeof source === 'string')
      entries.set(name + path.slice(1), `${root}packages/${folder}/${source}`);
  }
}

const { config } = ts.readConfigFile(`${root}tsconfig.base.json`, ts.sys.readFile);
const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
const program = ts.createProgram([...entries.values()], options);
const checker = program.getTypeChecker();

interface Export {
  readonly name: string;
  readonly isValue: boolean;
  readonly hasText: boolean;
  readonly file: string;
}

function exportsOf(file: string): Export[] {
  const symbol = checker.getSymbolAtLocation(program.getSourceFile(file)!);
  if (!symbol) return []; // a package without exports yet
  return checker.getExportsOfModule(symbol).map((alias) => {
    const isAlias = (alias.flags & ts.SymbolFlags.Alias) !== 0;
    const found = isAlias ? checker.getAliasedSymbol(alias) : alias;
    const source = found.declarations?.[0]?.getSourceFile();
    return {
      name: alias.name,
      isValue: (found.flags & ts.SymbolFlags.Value) !== 0,
      hasText:
        found.getDocumentationComment(checker).length > 0 ||
        (found.flags & ts.SymbolFlags.ValueModule) !== 0, // `export * as ops`
      file: source?.fileName.slice(root.length) ?? '',
    };
  });
}

test('the names of every entry are the listed ones', async () => {
  const text = [...entries].map(([entry, file]) => {
    const named = exportsOf(file).map(({ name, isValue }) => (isValue ? name : `type ${name}`));
    const sorted = named.sort((a, b) => (a.replace('type ', '') < b.replace('type ', '') ? -1 : 1));
    return `${entry}: ${sorted.length}\n${sorted.map((name) => `  ${name}\n`).join('')}`;
  });
  await expect(text.join('\n')).toMatchFileSnapshot('__snapshots__/entries.txt');
});

test('every export says what it is', () => {
  const silent = [...entries].flatMap(([entry, file]) =>
    exportsOf(file)
      .filter(({ hasText }) => !hasText)
      .map(({ name, file: declared }) => `${entry}: ${name} (${declared})`),
  );
  expect(silent).toEqual([]);
});
