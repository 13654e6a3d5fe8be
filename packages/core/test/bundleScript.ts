import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'tsup';

/**
 * A script with all that it imports in one file, so that a process of its own starts in half a
 * second. Dawn's bindings are not in it: a script that needs them lies below backend-dawn.
 *
 * @returns the path of the file in `folder`
 */
export async function bundleScript(script: URL, folder: string): Promise<string> {
  const entry = fileURLToPath(script);
  await build({
    entry: [entry],
    outDir: folder,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    config: false,
    silent: true,
    external: ['webgpu'],
    noExternal: [/^(?!webgpu$)/],
    esbuildOptions: (options) => {
      options.conditions = ['attune-source', 'import', 'node'];
    },
    banner: {
      js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
    },
    outExtension: () => ({ js: '.mjs' }),
  });
  return join(folder, basename(entry).replace(/\.ts$/, '.mjs'));
}
