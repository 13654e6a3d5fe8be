// What `selectDiverse` costs: 1,000 of 20,000 rows, by both methods, with TF-IDF of the words and
// with vectors of 384 numbers that are given. `ms` is the whole stage, `cpuMs` its processor time:
// on a machine that others use as well it says more. No device takes part.
import { Rng } from '@attune/core/util';
import { type Embedder, type SelectDiverseOptions, selectDiverse } from '@attune/data';
import { printLine } from './harness/lines.js';
import { median } from './harness/measure.js';
import { optionsOrExit } from './harness/options.js';

const ROWS = 20_000;
const COUNT = 1000;
const NUMBERS = 384;
const WORDS = 5000;

const { reps } = optionsOrExit();
const rng = new Rng(1);
const rows = Array.from({ length: ROWS }, (_, id) => ({
  id,
  score: rng.uniform(),
  text: Array.from({ length: 20 }, () => `word${rng.below(WORDS)}`).join(' '),
}));

/** Vectors at random, made before the clock runs. */
const vectors = new Map(
  rows.map(({ text }) => [text, Float32Array.from({ length: NUMBERS }, () => rng.uniform() - 0.5)]),
);
const given: Embedder = {
  name: 'given',
  fingerprint: () => 'given',
  embed: async (texts) => texts.map((text) => vectors.get(text)!),
};

const methods = ['k-center', 'repr-filter'] as const;
const embedders: Readonly<Record<string, SelectDiverseOptions['embedder']>> = {
  'TF-IDF': 'tf-idf',
  [`${NUMBERS} numbers`]: given,
};
for (const method of methods)
  for (const [name, embedder] of Object.entries(embedders)) {
    const runs: { readonly ms: number; readonly cpuMs: number }[] = [];
    for (let rep = 0; rep < reps; rep++) {
      const [start, before] = [performance.now(), process.cpuUsage()];
      await selectDiverse(rows, { method, embedder, count: COUNT, by: 'score' });
      const { user, system } = process.cpuUsage(before);
      runs.push({ ms: performance.now() - start, cpuMs: (user + system) / 1000 });
    }
    printLine({
      bench: 'data-select',
      case: `${COUNT} of ${ROWS} rows, ${method}, ${name}`,
      ms: Math.round(median(runs.map(({ ms }) => ms))),
      cpuMs: Math.round(median(runs.map(({ cpuMs }) => cpuMs))),
    });
  }
