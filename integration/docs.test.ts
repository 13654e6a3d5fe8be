import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

// The words are true today: every TypeScript block in them compiles against the sources, every link
// leads somewhere, and a block that shows an example file is that file.
//
// ```ts            checked, as a module of its own
// ```ts no-check   not checked: a fragment
// <!-- file: x --> before a block: the block is that file without its head comment

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

const pages = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`),
  ...readdirSync(join(root, 'docs/data')).map((name) => `docs/data/${name}`),
  ...readdirSync(join(root, 'docs/merge-methods')).map((name) => `docs/merge-methods/${name}`),
  ...readdirSync(join(root, 'packages')).map((name) => `packages/${name}/README.md`),
  'examples/plugin-acme/README.md',
  'examples/plugin-template/README.md',
].filter((path) => path.endsWith('.md') && existsSync(join(root, path)));

interface Block {
  /** "README.md:47": where the first line of the code stands. */
  readonly where: string;
  readonly code: string;
  readonly checked: boolean;
  /** The example file that the block shows. */
  readonly file: string | undefined;
}

function blocksOf(page: string): Block[] {
  const text = read(page);
  const fences = text.matchAll(/(?:<!-- file: (\S+) -->\n)?^```ts( no-check)?\n([\s\S]*?)^```$/gm);
  return [...fences].map((match) => {
    const [whole, file, unchecked, code] = match;
    const line = text.slice(0, match.index + whole.indexOf('```ts')).split('\n').length + 1;
    return { where: `${page}:${line}`, code: code!, checked: !unchecked, file };
  });
}

const blocks = pages.flatMap(blocksOf);

/** What a page may use without declaring it: the things that every script has. */
const givens = `
import type { Attune, CausalLM, Dataset, Engine, SFTTrainer, Tokenizer } from '@attune/core';
declare global {
  const attune: Attune;
  const engine: Engine;
  const model: CausalLM;
  const tokenizer: Tokenizer;
  const trainDataset: Dataset;
  const evalDataset: Dataset;
  const trainer: SFTTrainer;
  const inputIds: number[];
}`;

/** Compiles the blocks as files of one program, without writing them to disk. */
function diagnose(checked: readonly Block[]): string[] {
  const virtual = new Map<string, string>();
  const nameOf = (i: number) => join(root, 'docs', `block-${i}.ts`);
  const givensFile = join(root, 'docs', 'givens.ts');
  virtual.set(givensFile, givens);
  checked.forEach(({ code }, i) => {
    virtual.set(nameOf(i), `${code}\nexport {};`);
  });
  const { config } = ts.readConfigFile(join(root, 'tsconfig.base.json'), ts.sys.readFile);
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  options.paths = {
    '@attune/core/testing': ['./packages/core/src/testing/index.ts'],
    '@attune/data/testing': ['./packages/data/src/testing/index.ts'],
    '@attune/merge/testing': ['./packages/merge/src/testing/index.ts'],
    '@attune/peft/testing': ['./packages/peft/src/testing/index.ts'],
    '@attune/*': ['./packages/*/src/index.ts'],
    'attune-plugin-acme': ['./examples/plugin-acme/src/index.ts'],
    'attune-plugin-template': ['./examples/plugin-template/src/index.ts'],
    zod: ['./packages/core/node_modules/zod'],
    vitest: ['./node_modules/vitest'],
  };
  options.typeRoots = [join(root, 'node_modules/@types')];
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.getCurrentDirectory = () => root;
  host.fileExists = (name) => virtual.has(name) || fileExists(name);
  host.readFile = (name) => virtual.get(name) ?? readFile(name);
  host.getSourceFile = (name, languageVersion, ...rest) => {
    const text = virtual.get(name);
    return text === undefined
      ? getSourceFile(name, languageVersion, ...rest)
      : ts.createSourceFile(name, text, languageVersion);
  };
  const program = ts.createProgram([...virtual.keys()], options, host);
  return [givensFile, ...checked.map((_, i) => nameOf(i))].flatMap((name, i) => {
    const source = program.getSourceFile(name)!;
    const found = [
      ...program.getSyntacticDiagnostics(source),
      ...program.getSemanticDiagnostics(source),
    ];
    return found.map(({ messageText, start = 0 }) => {
      const { line } = source.getLineAndCharacterOfPosition(start);
      const where = checked[i - 1]?.where ?? 'the givens of this test:1';
      const [page, first] = where.split(':');
      return `${page}:${Number(first) + line}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
    });
  });
}

describe('the documentation', () => {
  it('has blocks to check', () => {
    expect(blocks.filter((block) => block.checked).length).toBeGreaterThan(10);
  });

  it('compiles', () => {
    expect(diagnose(blocks.filter((block) => block.checked))).toEqual([]);
  });

  it('shows example files as they are', () => {
    for (const { where, file, code } of blocks)
      if (file) expect(code, where).toBe(read(file).replace(/^\/\*\*[\s\S]*?\*\/\n/, ''));
  });

  it.each(pages)('%s: its links lead to files', (page) => {
    const prose = read(page).replace(/^```[\s\S]*?^```$/gm, '');
    const targets = [...prose.matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g)].map((m) => m[1]!);
    const dead = targets.filter((target) => !existsSync(join(root, dirname(page), target)));
    expect(dead).toEqual([]);
  });
});
