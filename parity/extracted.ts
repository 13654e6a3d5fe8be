/**
 * Row 107: adapters that Attune extracts, for PEFT to read them. From the repository root, before
 * `python parity/make.py merge_adapters`, which makes the tuned models in the folder that is given:
 *
 *   npx tsx --conditions attune-source parity/extracted.ts FOLDER
 */
import { join } from 'node:path';
import { extractAdapter } from '../packages/merge/src/index.js';

const tuned = process.argv[2]!;
const options = {
  qwen2: { rank: 4 },
  'qwen2-energy': { energy: 0.6, maxRank: 12 },
  'qwen2-whole': { rank: 32, modulesToSave: 'changed' },
  'llama-embed': { rank: 4, embedLora: true },
  gpt2: { rank: 4 },
} as const;
for (const [name, given] of Object.entries(options)) {
  const base = `parity/fixtures/tiny-${name.split('-')[0]}`;
  const outputDir = join('parity/fixtures/row107-extracted', name);
  const models = { baseModel: base, model: join(tuned, name.replace('-energy', '')) };
  await extractAdapter({ ...models, ...given, outputDir, overwrite: true });
}
