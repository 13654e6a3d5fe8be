/**
 * A preference loss in one file: DPO (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290). The
 * reference is the model with its adapter off. It shows how little an objective needs; for use,
 * take `DPOTrainer` of @attune/align. From the repository root: npx tsx examples/dpoObjective.ts
 */
import { dawn } from '@attune/backend-dawn';
import * as core from '@attune/core';
import { peft } from '@attune/peft';

type Pair = Readonly<Record<'chosen' | 'rejected', core.TokenExample>>;

/** -log sigmoid(margin), margin = beta times the log-ratio of chosen less that of rejected. */
export function dpo(beta: number, maxLength: number): core.Objective<Pair> {
  const rows = core.causalLmRows({ maxLength, completionOnlyLoss: true });
  return {
    name: 'dpo',
    fingerprint: { ...rows.fingerprint, beta },
    rows: {
      encode(row, context) {
        const { prompt, ...pair } = row as Record<'prompt' | keyof Pair, string>;
        const tokens = (completion: string) =>
          rows.encode!({ prompt, completion }, context).example;
        const [chosen, rejected] = [tokens(pair.chosen), tokens(pair.rejected)];
        return { example: chosen && rejected && { chosen, rejected } };
      },
    },
    collate(pairs) {
      const texts = [...pairs.map((pair) => pair.chosen), ...pairs.map((pair) => pair.rejected)];
      return core.collatePredictions(texts, maxLength);
    },
    countItems: ({ inputIds }) => inputIds!.shape[0]! / 2,
    loss(model, batch) {
      const logProbs = () => core.sequenceLogProbs(model, batch).sums; // [2 B]
      const reference = () => core.inference(model, logProbs);
      const ratios = logProbs().sub(model.adapters!.withAdaptersDisabled(reference));
      const count = ratios.size / 2;
      const [chosen, rejected] = [ratios.slice(0, 0, count), ratios.slice(0, count, 2 * count)];
      const margins = chosen.sub(rejected).mul(beta); // [B]
      const metrics = { 'rewards/margins': { sum: margins.detach().sum() } };
      return { loss: margins.logSigmoid().sum().neg(), metrics };
    },
  };
}

if (import.meta.filename === process.argv[1]) {
  await using attune = await core.createAttune({ plugins: [dawn(), peft()] });
  const [folder, file] = ['examples/demo/base', 'examples/demo/data/preferences.train.jsonl'];
  const trainer = new core.Trainer({
    model: await core.AutoModelForCausalLM.fromPretrained(folder, { attune }),
    tokenizer: await core.AutoTokenizer.fromPretrained(folder),
    trainDataset: await core.loadDataset('json', { dataFiles: file }),
    objective: dpo(0.1, 256),
    peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16 },
    args: { outputDir: 'out/dpo', maxSteps: 30, learningRate: 5e-4, loggingSteps: 5 },
  });
  trainer.on('log', ({ step, logs }) => console.log(step, logs.loss, logs['rewards/margins']));
  await trainer.train();
  await trainer.saveModel('out/dpo/final');
}
