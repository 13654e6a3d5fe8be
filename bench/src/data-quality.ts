// How often the checks of `quality` are wrong on clean data, how long they take, and what lines of
// the worst kind cost. One JSON line a case.
//
//   node scripts/bench.mjs data-quality DATASETS     a folder with nl2bash, gsm8k and tinystories

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { detectLanguage, findPii, type QualityCheckOption, quality } from '@attune/data';

type Rows = readonly Readonly<Record<string, unknown>>[];

const folder = process.argv[2] ?? '';
const lines = (file: string): string[] =>
  readFileSync(join(folder, file), 'utf8').trim().split('\n');
const jsonl = (file: string): Rows => lines(file).map((line) => JSON.parse(line));

const CHECKS: readonly QualityCheckOption[] = [
  'accuracy',
  'completeness',
  'harmlessness',
  'consistency',
  'diversity',
  { name: 'language', languages: ['en'] },
  { name: 'language', languages: ['en'], of: 'prompt' },
];

const print = (line: object): void => console.log(JSON.stringify(line));

/** Rows of clean data that are dropped by default, and rows a second of processor time. */
async function falseAlarms(data: string, rows: Rows): Promise<void> {
  for (const check of CHECKS) {
    const before = process.cpuUsage();
    const { dropped, report } = await quality(rows, { checks: [check] });
    const { user, system } = process.cpuUsage(before);
    print({
      check,
      data,
      rows: rows.length,
      dropped: dropped.length,
      percent: Number(((100 * dropped.length) / rows.length).toFixed(3)),
      reasons: report.dropped,
      rowsPerCpuSecond: Math.round(rows.length / ((user + system) / 1e6)),
    });
    if (process.env.SHOW)
      for (const { reason, detail, row } of dropped.slice(0, 12))
        print({ reason, detail, row: JSON.stringify(row).slice(0, 240) });
  }
}

/** The longest that a line of a million characters takes, over lines of the worst kind. */
async function worstLines(): Promise<void> {
  const units =
    'a,1,@,a@,a.,1.,1 ,-,+1,(,AA11,:,a:,1-,sk-,4111 ,12:,0.,((,"a" ,{"a":,[,。,あ,<a,`,$$,ab '.split(
      ',',
    );
  const checks = ['completeness', 'harmlessness', 'accuracy'] as const;
  for (const check of checks) {
    let worst = { unit: '', ms: 0 };
    for (const unit of units) {
      const text = unit.repeat(Math.ceil(1e6 / unit.length)).slice(0, 1e6);
      const before = process.cpuUsage();
      await quality([{ prompt: 'x', completion: text }], { checks: [check] });
      const ms = process.cpuUsage(before).user / 1000;
      if (ms > worst.ms) worst = { unit, ms: Math.round(ms) };
    }
    print({ check, characters: 1e6, worst });
  }
  for (const unit of ['a', 'a ', 'a.', '@', '/', '$', '`', '<a', 'あ', 'Ж ']) {
    const text = unit.repeat(Math.ceil(1e6 / unit.length)).slice(0, 1e6);
    const before = process.cpuUsage();
    detectLanguage(text);
    const ms = process.cpuUsage(before).user / 1000;
    if (ms > 100) print({ detectLanguage: unit, ms });
  }
  print({ findPii: findPii('a@b.co '.repeat(1000)).length });
}

const nl2bash = jsonl('nl2bash/train.jsonl');
const gsm8k = jsonl('gsm8k/train-1500.jsonl');
const stories = lines('tinystories/valid-sample.txt').map((text) => ({ text }));
// Compiled before it is measured.
await quality(nl2bash.slice(0, 2000), { checks: CHECKS.slice(0, 6) });
await falseAlarms('nl2bash', nl2bash);
await falseAlarms('gsm8k', gsm8k);
await falseAlarms('tinystories', stories);
await falseAlarms('all three', [...nl2bash.slice(0, 3000), ...gsm8k, ...stories]);
await worstLines();
