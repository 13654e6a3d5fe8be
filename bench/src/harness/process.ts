import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** What a process did. */
export interface ProcessRun {
  /** From its start to its end. */
  readonly wholeMs: number;
  /** Its last line on standard output, as JSON. */
  readonly answer: Readonly<Record<string, number>>;
  /** Anonymous memory (RssAnon of Linux) at its peak; null: the system does not tell. */
  readonly anonymousBytes: number | null;
}

/** How often the memory of a process is looked at, in milliseconds. */
const EVERY_MS = 5;

/** Runs a process to its end and watches its memory. @throws where it fails */
export function runProcess(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<ProcessRun> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    let output = '';
    let errors = '';
    let peak: number | null = null;
    const watch = setInterval(() => {
      const bytes = anonymousBytes(child.pid);
      if (bytes !== null) peak = Math.max(peak ?? 0, bytes);
    }, EVERY_MS);
    child.stdout.on('data', (text) => {
      output += text;
    });
    child.stderr.on('data', (text) => {
      errors += text;
    });
    child.on('error', reject);
    child.on('close', (code) => {
      clearInterval(watch);
      if (code !== 0)
        return reject(new Error(`${command} ended with ${code}: ${errors.slice(-2000)}`));
      const answer = JSON.parse(output.trim().split('\n').at(-1)!) as Record<string, number>;
      resolve({ wholeMs: performance.now() - began, answer, anonymousBytes: peak });
    });
  });
}

function anonymousBytes(pid: number | undefined): number | null {
  try {
    const [, kilobytes] = /^RssAnon:\s*(\d+) kB/m.exec(
      readFileSync(`/proc/${pid}/status`, 'utf8'),
    )!;
    return Number(kilobytes) * 1024;
  } catch {
    return null;
  }
}
