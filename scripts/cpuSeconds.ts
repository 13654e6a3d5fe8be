import { readdirSync, readFileSync } from 'node:fs';
import type { Reporter, TestCase, TestModule } from 'vitest/node';

/**
 * Prints the CPU seconds (user and system, of every thread and child process) of each test file and
 * of each test above half a second: what a file costs however loaded the machine is. On Linux, with
 * one worker:
 *
 *     npx vitest run --project tests --no-file-parallelism --reporter=./scripts/cpuSeconds.ts
 */
export default class CpuSeconds implements Reporter {
  private readonly started = now();
  private last = 0;
  private readonly files: { path: string; seconds: number; tests: [string, number][] }[] = [];
  private tests: [string, number][] = [];

  private lap(): number {
    const elapsed = now() - this.started;
    const seconds = elapsed - this.last;
    this.last = elapsed;
    return seconds;
  }

  private fileSeconds = 0;

  onTestCaseResult(test: TestCase): void {
    if ((test.diagnostic()?.duration ?? 0) < 100) return; // counted with the next one
    const seconds = this.lap();
    this.fileSeconds += seconds;
    if (seconds >= 0.5) this.tests.push([test.fullName, seconds]);
  }

  onTestModuleEnd(module: TestModule): void {
    this.fileSeconds += this.lap();
    this.files.push({
      path: module.relativeModuleId,
      seconds: this.fileSeconds,
      tests: this.tests,
    });
    this.fileSeconds = 0;
    this.tests = [];
  }

  onTestRunEnd(): void {
    this.files.sort((a, b) => b.seconds - a.seconds);
    for (const { path, seconds, tests } of this.files) {
      console.log(`${seconds.toFixed(2).padStart(8)}  ${path}`);
      for (const [name, of] of tests) console.log(`${of.toFixed(2).padStart(16)}  ${name}`);
    }
    console.log(`${(now() - this.started).toFixed(2).padStart(8)}  all ${this.files.length} files`);
  }
}

/** CPU seconds of this process and of those below it, ended or not. */
function now(): number {
  const processes = new Map<string, { parent: string; ticks: number }>();
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      // utime, stime and those of the children that were waited for
      const ticks = fields.slice(11, 15).reduce((sum, each) => sum + Number(each), 0);
      processes.set(pid, { parent: fields[1] as string, ticks });
    } catch {} // ended in between: its parent counts it
  }
  const own = `${process.pid}`;
  const isBelow = (pid: string): boolean => {
    for (let at: string | undefined = pid; at; at = processes.get(at)?.parent)
      if (at === own) return true;
    return false;
  };
  let sum = 0;
  for (const [pid, { ticks }] of processes) if (isBelow(pid)) sum += ticks;
  return sum / 100;
}
