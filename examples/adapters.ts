/**
 * Adapters by hand: make, train, save, load, switch, switch off, merge. From the repository root,
 * after `npm run setup`:
 *
 *   npx tsx examples/adapters.ts
 */
import { dawn } from '@attune/backend-dawn';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  createAttune,
  loadDataset,
  SFTTrainer,
} from '@attune/core';
import type { GenerativeModel } from '@attune/core/models';
import { getPeftModel, PeftModel, peft } from '@attune/peft';

await using attune = await createAttune({ plugins: [dawn(), peft()] });
const base = 'examples/demo/base';
const model = await AutoModelForCausalLM.fromPretrained(base, { attune, dtype: 'float32' });
const tokenizer = await AutoTokenizer.fromPretrained(base);
const trainDataset = await loadDataset('json', { dataFiles: 'examples/demo/data/sft.train.jsonl' });
const [row] = await loadDataset('json', { dataFiles: 'examples/demo/data/sft.eval.jsonl' });
const inputIds = tokenizer.encode(row!.prompt as string);

/** The first words that a model adds to the prompt. */
async function answer(of: GenerativeModel): Promise<string> {
  const { sequences } = await of.generate({ inputIds, maxNewTokens: 16 });
  return JSON.stringify(tokenizer.decode(sequences[0]!.slice(inputIds.length)));
}

// Two adapters on one frozen base, trained one after the other and saved as PEFT saves them.
for (const [adapterName, maxSteps] of [
  ['short', 4],
  ['long', 12],
] as const) {
  const lora = getPeftModel(
    model,
    {
      peftType: 'LORA',
      r: 16,
      loraAlpha: 32,
      targetModules: 'all-linear',
      loraDropout: 0.05,
    },
    adapterName,
  );
  lora.printTrainableParameters();
  const trainer = new SFTTrainer({
    model: lora,
    tokenizer,
    trainDataset,
    args: { maxSteps, learningRate: 5e-3, maxLength: 160, saveStrategy: 'no' },
  });
  const { trainingLoss } = await trainer.train();
  console.log(`${adapterName}: mean loss ${trainingLoss.toFixed(3)} over ${maxSteps} updates`);
  // An adapter that is not called "default" goes into a subfolder of its name.
  await lora.savePretrained('out/adapters', { selectedAdapters: [adapterName] });
}
PeftModel.on(model).unload();
console.log('base:', await answer(model));

const both = await PeftModel.fromPretrained(model, 'out/adapters/short', { adapterName: 'short' });
await both.loadAdapter('out/adapters/long', { adapterName: 'long' });
console.log('short:', await answer(both));
both.setAdapter('long'); // no copy of the base
console.log('long:', await answer(both));
console.log('off:', await both.withAdaptersDisabled(() => answer(both)));

const merged = await both.mergeAndUnload();
console.log('merged:', await answer(merged));
await merged.savePretrained('out/adapters/merged'); // a whole model: config.json + model.safetensors
await tokenizer.savePretrained('out/adapters/merged');
