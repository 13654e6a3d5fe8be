import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { deadlines, stages } from '../bench/src/carried/stages.js';
import { bundleScript } from '../packages/core/test/bundleScript.js';
import { temporaryFolder } from './device/support.js';

describe('deadlines', () => {
  test('add up to the time given, the grace of the last stage included', () => {
    const found = deadlines(600);
    expect(found).toHaveLength(stages.length);
    expect(found.at(-1)!.seconds).toBeCloseTo(540);
    expect(found.at(-1)!.killAt).toBeCloseTo(600);
  });

  test('grow by the share of each stage, so that what one leaves the next one has', () => {
    const parts = [
      { bench: 'a', share: 1 },
      { bench: 'b', share: 3 },
    ];
    expect(deadlines(100, parts)).toEqual([
      { seconds: 22.5, killAt: 32.5 },
      { seconds: 90, killAt: 100 },
    ]);
  });
});

/** What stands for a bench in the run below: it says a line and ends as its name asks. */
const say = (line: object) =>
  `import { writeSync } from 'node:fs'; writeSync(3, ${JSON.stringify(`${JSON.stringify(line)}\n`)});`;
const benches: Readonly<Record<string, string>> = {
  adapter: say({ bench: 'adapter', adapter: 'none' }),
  conformance: `import { writeSync } from 'node:fs';
    const from = process.argv.indexOf('--from');
    const next = from < 0 ? 7 : Number(process.argv[from + 1]) + 1;
    writeSync(3, JSON.stringify({ bench: 'conformance', next, args: process.argv.slice(2) }) + '\\n');`,
  matmul: `${say({ bench: 'matmul', case: 'one' })} throw new Error('the device is lost');`,
  attention: `${say({ bench: 'attention', case: 'one' })} setInterval(() => {}, 1000);`,
  'lora-1b': `console.log('a word of the driver'); ${say({ bench: 'lora-1b' })}`,
  'train-step': say({ bench: 'train-step' }),
  generate: `${say({ bench: 'generate' })} process.kill(process.pid, 'SIGSEGV');`,
  recording: say({ bench: 'recording' }),
};

type Line = Readonly<Record<string, unknown>>;

describe('a run whose benches fail, hang and crash', () => {
  const MINUTES = 0.2;
  let printed: Line[];
  let kept: Line[];
  let status: number | null;
  let seconds: number;
  const of = (bench: string) => kept.filter((line) => line.bench === bench);

  beforeAll(async () => {
    const folder = await temporaryFolder();
    const script = new URL('../bench/src/carried/driver.ts', import.meta.url);
    const driver = await bundleScript(script, folder);
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
    for (const [name, text] of Object.entries(benches))
      await writeFile(join(folder, `${name}.js`), text);
    const began = performance.now();
    const out = join(folder, 'lines.jsonl');
    const child = spawn(process.execPath, [driver, String(MINUTES), out, '--reps', '3'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let text = '';
    child.stdout.on('data', (part: Buffer) => {
      text += part.toString();
    });
    status = await new Promise((resolve) => child.on('close', resolve));
    seconds = (performance.now() - began) / 1000;
    const parse = (lines: string) =>
      lines
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Line);
    printed = parse(text);
    kept = parse(await readFile(out, 'utf8'));
  });

  test('keeps each line that it prints, and nothing else', () => {
    expect(printed).toEqual(kept);
    expect(kept.map(({ bench }) => bench)).toEqual([
      'adapter',
      'conformance',
      'matmul',
      'matmul',
      'attention',
      'attention',
      'lora-1b',
      'train-step',
      'generate',
      'generate',
      'recording',
      'conformance',
      'run',
    ]);
  });

  test('says what became of each that did not end well, and goes on', () => {
    expect(of('matmul')[1]).toMatchObject({
      failed: 'ended with 1',
      said: expect.stringContaining('the device is lost'),
    });
    expect(of('attention')[1]!.failed).toMatch(/^ended after \d+ s: its time was over$/);
    expect(of('generate')[1]!.failed).toBe('ended by SIGSEGV');
    expect(of('run')[0]!.good).toBe(false);
    expect(status).toBe(1);
  });

  test('is over within its time, but for the start of processes', () => {
    expect(seconds).toBeLessThan(MINUTES * 60 + 3);
  });

  test('goes on with the conformance suite where its first turn ended', () => {
    const [first, second] = of('conformance');
    expect(first!.args).toEqual(['--alone', '--seconds', expect.any(String), '--reps', '3']);
    expect((second!.args as string[]).slice(-2)).toEqual(['--from', '7']);
    expect(second!.next).toBe(8);
  });
});
