// How often the checks of `quality` are wrong on clean data, how long they take, and what lines of
// the worst kind cost. One JSON line a case.
//
//   node scripts/bench.mjs data-quality DATASETS     a folder with nl2bash, gsm8k, tinystories
//   ... --million diversity     a million short rows through these checks alone

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Rng } from '@attune/core/util';
import { detectLanguage, type QualityCheckOption, quality } from '@attune/data';
import { printLine } from './harness/lines.js';

type Rows = readonly Readonly<Record<string, unknown>>[];

const folder = process.argv.slice(2).find((word) => !word.startsWith('-'));
if (folder === undefined) {
  console.error('[bench] data-quality: no folder of data sets is given; nothing is measured.');
  process.exit(0);
}
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

const print: (line: Readonly<Record<string, unknown>>) => void = printLine;

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
  }
}

/** Texts that are cut off at a word, and how many of them `completeness` finds. */
async function recall(data: string, texts: readonly string[]): Promise<void> {
  const rng = new Rng(0);
  const rows = texts.flatMap((text) => {
    const words = text.split(' ');
    const cut = words.slice(0, 10 + rng.below(Math.max(1, words.length - 12))).join(' ');
    return /[.!?"”']$/.test(cut) ? [] : [{ text: cut }];
  });
  const { dropped } = await quality(rows, { checks: ['completeness'] });
  print({ data, cutOff: rows.length, found: dropped.length });
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
}

/** Time and memory of checks, named with commas between, on a million rows that all differ. */
async function million(names: string, rows: Rows): Promise<void> {
  const checks = names.split(',').map((name) => CHECKS.find((check) => nameOf(check) === name)!);
  async function* stream() {
    for (let i = 0; i < 1e6; i++) {
      const { prompt, completion } = rows[i % rows.length]!;
      yield { prompt: `${String(prompt)} Number ${i}.`, completion };
    }
  }
  const before = process.cpuUsage();
  let [left, resident] = [0, 0];
  for await (const _row of quality(stream(), { checks }))
    if (++left % 1000 === 0) resident = Math.max(resident, process.memoryUsage.rss());
  const { user, system } = process.cpuUsage(before);
  const cpuSeconds = Math.round((user + system) / 1e6);
  print({ checks: names, rows: 1e6, left, cpuSeconds, residentMB: Math.round(resident / 1e6) });
}

const nameOf = (check: QualityCheckOption): string =>
  typeof check === 'string' ? check : check.name;

const nl2bash = jsonl('nl2bash/train.jsonl');
const asked = process.argv.indexOf('--million');
if (asked > 0) {
  await million(process.argv[asked + 1]!, nl2bash);
  process.exit(0);
}
const gsm8k = jsonl('gsm8k/train-1500.jsonl');
const stories = lines('tinystories/valid-sample.txt').map((text) => ({ text }));
// Compiled before it is measured.
await quality(nl2bash.slice(0, 2000), { checks: CHECKS.slice(0, 6) });
await falseAlarms('nl2bash', nl2bash);
await falseAlarms('gsm8k', gsm8k);
await falseAlarms('tinystories', stories);
await falseAlarms('all three', [...nl2bash.slice(0, 3000), ...gsm8k, ...stories]);
await recall(
  'tinystories',
  stories.flatMap(({ text }) => Array.from({ length: 20 }, () => text)),
);
await recall(
  'gsm8k',
  gsm8k.map(({ question }) => String(question)),
);
await worstLines();
