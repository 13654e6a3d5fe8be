// What `selectDiverse` costs: 1,000 of 20,000 rows, by both methods, with TF-IDF of the words and
// with vectors of 384 numbers that are given, and 50 of 100,000 of such vectors. `ms` is the whole
// stage, `cpuMs` its processor time, `cpuMsEach` that of each row that is chosen: on a machine that
// others use as well it says more. No device takes part.
import { Rng } from '@attune/core/util';
import { type Embedder, type SelectDiverseOptions, selectDiverse } from '@attune/data';
import { printLine } from './harness/lines.js';
import { median } from './harness/measure.js';
import { optionsOrExit } from './harness/options.js';

const NUMBERS = 384;
const WORDS = 5000;

const { reps, only } = optionsOrExit();

/** Rows, and an embedder that has their vectors already. */
function randomRows(count: number) {
  const rng = new Rng(1);
  const rows = Array.from({ length: count }, (_, id) => ({
    id,
    score: rng.uniform(),
    text: Array.from({ length: 20 }, () => `word${rng.below(WORDS)}`).join(' '),
  }));
  const vectors = new Map(
    rows.map(({ text }) => [
      text,
      Float32Array.from({ length: NUMBERS }, () => rng.uniform() - 0.5),
    ]),
  );
  const given: Embedder = {
    name: 'given',
    fingerprint: () => 'given',
    embed: async (texts) => texts.map((text) => vectors.get(text)!),
  };
  return { rows, given };
}

async function measure(
  method: 'k-center' | 'repr-filter',
  count: number,
  [total, embedders]: readonly [number, readonly ('TF-IDF' | 'given')[]],
): Promise<void> {
  const { rows, given } = randomRows(total);
  for (const name of embedders) {
    const what = name === 'given' ? `${NUMBERS} numbers` : name;
    const title = `${count} of ${total} rows, ${method}, ${what}`;
    if (!title.includes(only)) continue;
    const options = {
      method,
      embedder: name === 'given' ? given : 'tf-idf',
      count,
      by: 'score',
    } satisfies SelectDiverseOptions;
    const runs: { readonly ms: number; readonly cpuMs: number }[] = [];
    for (let rep = 0; rep < reps; rep++) {
      const [start, before] = [performance.now(), process.cpuUsage()];
      await selectDiverse(rows, options);
      const { user, system } = process.cpuUsage(before);
      runs.push({ ms: performance.now() - start, cpuMs: (user + system) / 1000 });
    }
    const cpuMs = median(runs.map((run) => run.cpuMs));
    printLine({
      bench: 'data-select',
      case: title,
      ms: Math.round(median(runs.map(({ ms }) => ms))),
      cpuMs: Math.round(cpuMs),
      cpuMsEach: Math.round((10 * cpuMs) / count) / 10,
    });
  }
}

for (const method of ['k-center', 'repr-filter'] as const)
  await measure(method, 1000, [20_000, ['TF-IDF', 'given']]);
await measure('k-center', 50, [100_000, ['given']]);
