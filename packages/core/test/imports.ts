import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const packagesFolder = fileURLToPath(new URL('../..', import.meta.url));

export interface Import {
  /** Path below packages/, with slashes: "core/src/nn/linear.ts". */
  readonly file: string;
  readonly specifier: string;
  /** `import type`: gone after the build, so it binds nobody at run time. */
  readonly typeOnly: boolean;
}

export function parseImports(file: string, text: string): Import[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const statements = code.matchAll(
    /(?:^|[;\n])\s*(?:import|export)\b(\s+type\b)?[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]|(?:^|[;\n])\s*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/g,
  );
  return [...statements].map((match) => ({
    file,
    specifier: (match[2] ?? match[3] ?? match[4])!,
    typeOnly: match[1] !== undefined,
  }));
}

/** Those of every source file of every package. */
export const imports = readdirSync(packagesFolder).flatMap((name) => {
  const source = join(packagesFolder, name, 'src');
  if (!existsSync(source)) return [];
  return readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .flatMap((path) => {
      const file = relative(packagesFolder, join(source, path)).split(sep).join('/');
      return parseImports(file, readFileSync(join(source, path), 'utf8'));
    });
});

export const say = ({ file, specifier }: Import) => `${file} imports ${specifier}`;
export const packageOf = (file: string) => file.split('/')[0]!;
