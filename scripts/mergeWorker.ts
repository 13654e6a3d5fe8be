import { fileURLToPath } from 'node:url';
import type { Options } from 'tsup';

const merge = new URL('../packages/merge/', import.meta.url);
const pathOf = (name: string) => fileURLToPath(new URL(name, merge));

/**
 * The worker of a merge with all that it runs in one file: a thread that loads the packages takes
 * ten times as long to start.
 *
 * @param outDir folder of worker.js
 */
export const mergeWorker = (outDir: string): Options => ({
  entry: { worker: pathOf('src/execute/worker.ts') },
  outDir,
  tsconfig: pathOf('tsconfig.json'),
  format: ['esm'],
  target: 'node20',
  platform: 'node',
  splitting: false,
  noExternal: [/./],
  outExtension: () => ({ js: '.js' }),
  esbuildOptions: (options) => {
    options.conditions = ['attune-source', 'import', 'node'];
    options.alias = { zod: pathOf('src/execute/noSchemas.ts') };
  },
});
