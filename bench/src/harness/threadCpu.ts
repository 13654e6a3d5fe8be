import { readFileSync } from 'node:fs';

/**
 * Milliseconds of CPU time that this thread has had, drivers' and other threads' left out;
 * undefined where the system does not tell (Linux does).
 */
export function threadCpuMs(): number | undefined {
  process.cpuUsage(); // the kernel brings the counter up to date
  try {
    const [nanoseconds] = readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(
      ' ',
    );
    return Number(nanoseconds) / 1e6;
  } catch {
    return undefined;
  }
}
