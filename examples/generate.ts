/**
 * Generation: greedy, sampled, streamed, in batches. From the repository root, after
 * `npm run setup`:
 *
 *   npx tsx examples/generate.ts [model folder] [prompt]
 */
import { dawn } from '@attune/backend-dawn';
import { AutoModelForCausalLM, AutoTokenizer, createAttune } from '@attune/core';

const [folder = 'examples/demo/base', prompt = 'function countOrders(orders) {'] =
  process.argv.slice(2);
await using attune = await createAttune({ plugins: [dawn()] });
const model = await AutoModelForCausalLM.fromPretrained(folder, { attune });
const tokenizer = await AutoTokenizer.fromPretrained(folder);
const inputIds = tokenizer.encode(prompt);

const greedy = await model.generate({ inputIds, maxNewTokens: 48 });
console.log(`--- greedy (ended by ${greedy.finishReasons[0]})`);
console.log(tokenizer.decode(greedy.sequences[0]!));

const { sequences } = await model.generate({
  inputIds,
  maxNewTokens: 48,
  doSample: true,
  temperature: 0.7,
  topP: 0.9,
  topK: 50,
  repetitionPenalty: 1.1,
  seed: 1, // the same seed, the same tokens
  stopStrings: ['\n\n'],
});
console.log(`--- sampled\n${tokenizer.decode(sequences[0]!)}`);

const batch = [prompt, prompt.slice(0, 9)].map((text) => tokenizer.encode(text));
const answers = await model.generate({ inputIds: batch, maxNewTokens: 16 });
console.log('--- a batch of two');
for (const ids of answers.sequences) console.log(JSON.stringify(tokenizer.decode(ids)));

process.stdout.write('--- streamed\n');
for await (const token of model.generateStream({ inputIds, maxNewTokens: 48 }))
  process.stdout.write(tokenizer.decodeStream(token));
console.log(tokenizer.decodeStream(null)); // what was held back of an unfinished character
