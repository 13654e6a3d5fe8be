/**
 * Row 57: portable folders of adapters that PEFT saved, for PEFT to read them. From the repository root,
 * before `python parity/make.py portable`:
 *
 *   npx tsx --conditions attune-source parity/portable.ts
 */
import { join } from 'node:path';
import { AutoModelForCausalLM, createAttune } from '../packages/core/src/index.js';
import { PeftModel, peft } from '../packages/peft/src/index.js';

const fixture = (name: string) => join('parity/fixtures', name);

await using attune = await createAttune({ plugins: [peft()], backend: 'reference' });
for (const [name, adapter, base] of [
  ['rslora-qv', 'adapters/rslora-qv', 'tiny-llama'],
  ['patterns', 'adapters/patterns', 'tiny-llama'],
  ['pissa', 'lora-variants/pissa-saved/raw', 'tiny-qwen2'],
  ['olora-rslora', 'lora-variants/olora-saved/raw', 'tiny-qwen2'],
] as const) {
  const model = await AutoModelForCausalLM.fromPretrained(fixture(base), { attune });
  const adapted = await PeftModel.fromPretrained(model, fixture(adapter));
  await adapted.savePretrained(fixture(`row57-portable/${name}`), { portable: true });
}
