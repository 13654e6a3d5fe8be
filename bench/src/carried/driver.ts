// Runs the benches of the archive within a time, one process each: `node driver.js MINUTES FILE`.
// Each line is printed and appended to the file as it comes. A bench that fails or hangs leaves a
// line that says so, and the next one runs.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { type Deadline, deadlines, stages } from './stages.js';

const [minutesText = '10', file = 'results.jsonl', ...options] = process.argv.slice(2);
const minutes = Number(minutesText);
if (!(minutes > 0)) {
  console.error(`"${minutesText}" is no number of minutes. Use: ./run.sh [MINUTES [FILE]]`);
  process.exit(2);
}
const folder = dirname(fileURLToPath(import.meta.url));
const began = performance.now();
const elapsed = () => (performance.now() - began) / 1000;
const out = openSync(file, 'w');

type Line = Readonly<Record<string, unknown>>;

function keep(line: Line): void {
  const text = `${JSON.stringify(line)}\n`;
  writeSync(out, text);
  fsyncSync(out);
  writeSync(1, text);
}

/** @returns its last line, and whether it ended well */
async function run(bench: string, { seconds, killAt }: Deadline, more: readonly string[]) {
  const left = Math.max(1, Math.round(seconds - elapsed()));
  console.error(`[${elapsed().toFixed(0)} s] ${bench}, for ${left} s`);
  const args = [join(folder, `${bench}.js`), '--alone', '--seconds', String(left), ...more];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 2, 'pipe', 'pipe'],
    env: { ...process.env, ATTUNE_BENCH_FD: '3' },
  });
  const state = { last: {} as Line, said: '', killed: false };
  child.stderr!.on('data', (text: Buffer) => {
    writeSync(2, text);
    state.said = (state.said + text.toString()).slice(-1500);
  });
  const lines = createInterface({ input: child.stdio[3] as Readable });
  lines.on('line', (text) => {
    try {
      state.last = JSON.parse(text) as Line;
    } catch {
      return; // half a line of a process that was ended
    }
    keep(state.last);
  });
  const timer = setTimeout(
    () => {
      state.killed = true;
      child.kill('SIGKILL');
    },
    Math.max(1, killAt - elapsed()) * 1000,
  );
  const ended = await new Promise<string | null>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (status, signal) =>
      resolve(status === 0 ? null : signal ? `ended by ${signal}` : `ended with ${status}`),
    );
  });
  clearTimeout(timer);
  if (ended) {
    const why = state.killed ? `ended after ${Math.round(elapsed())} s: its time was over` : ended;
    keep({ bench, failed: why, said: state.said.trim() });
  }
  return { last: state.last, good: !ended };
}

let good = true;
let next = 0;
for (const [i, deadline] of deadlines(minutes * 60).entries()) {
  const { bench } = stages[i]!;
  const first = stages.findIndex((stage) => stage.bench === bench) === i;
  const result = await run(bench, deadline, first ? options : [...options, '--from', `${next}`]);
  good &&= result.good;
  if (bench === 'conformance' && typeof result.last.next === 'number') next = result.last.next;
}
const source = join(folder, '..', 'COMMIT');
const commit = existsSync(source) ? readFileSync(source, 'utf8').trim() : null;
keep({ bench: 'run', commit, seconds: Math.round(elapsed()), minutes, good });
closeSync(out);
process.exit(good ? 0 : 1);
