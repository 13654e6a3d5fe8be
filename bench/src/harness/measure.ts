import { faults } from '../peers/faults.js';
import type { BenchOptions } from './options.js';

/** One side of a comparison. */
export interface Contender {
  /**
   * One repetition, up to the moment at which the device has done it.
   *
   * @returns milliseconds, where the clock is elsewhere (another process); else the harness's own
   *   count
   */
  run(): Promise<number | undefined> | Promise<void>;
  dispose?(): void | Promise<void>;
}

export interface Case {
  readonly ours: Contender;
  /** Made one after the other; one that throws is reported and left out. */
  readonly peers?: Readonly<Record<string, (() => Contender | Promise<Contender>) | undefined>>;
  /** Not of our kind, e.g. OpenBLAS: printed beside the peers, no part of the ratio. */
  readonly yardsticks?: Case['peers'];
  /** What others published of the same work: printed beside ours, no part of the ratio. */
  readonly published?: Published;
  /** Times that the work is done in one repetition; times are divided by it. Default 1. */
  readonly inner?: number;
  /** Warm-up stops at the latest after this many repetitions. Default 10. */
  readonly maxWarmups?: number;
  /** Further numbers of ours, given its median in milliseconds. */
  readonly facts?: (ms: number) => Readonly<Record<string, number>>;
}

/** A figure that others published. */
export interface Published {
  /** Whose. */
  readonly by: string;
  /** The processor that it was taken on. */
  readonly on: string;
  readonly tokensPerSecond?: number;
  readonly msPerUpdate?: number;
}

interface Timing {
  readonly ms: number;
}

/** What is printed of a case. */
export interface Line {
  readonly bench: string;
  readonly case: string;
  readonly adapter: string;
  readonly software: boolean;
  readonly ours: Timing & Readonly<Record<string, number>>;
  readonly peers: Readonly<Record<string, Timing>>;
  /** Time of the fastest peer over ours: above 1 we are faster. */
  readonly ratio?: number;
  readonly yardsticks?: Readonly<Record<string, Timing>>;
  readonly published?: Published;
  /** Repetitions measured, where the time was over before there were as many as asked for. */
  readonly reps?: number;
}

interface Runner {
  readonly name: string;
  readonly kind: 'ours' | 'peer' | 'yardstick';
  readonly contender: Contender;
  readonly times: number[];
}

/** Seconds that the warm-up of one contender may take after its first, compiling repetition. */
const WARMUP_SECONDS = 3;

/**
 * Times a case: warm-up of each, then repetition i of ours, of each peer, in turn, so that whatever
 * else the machine does falls on all alike.
 */
export async function measure(facts: MeasureFacts, name: string, made: Case): Promise<Line> {
  const runners: Runner[] = [{ name: 'ours', kind: 'ours', contender: made.ours, times: [] }];
  try {
    return await timed(facts, name, made, runners);
  } catch (error) {
    // What it holds on the device would be missing in the next case.
    for (const { contender } of runners)
      await Promise.resolve(contender.dispose?.()).catch(() => undefined);
    throw error;
  }
}

async function timed(
  { options, software, device, until }: MeasureFacts,
  name: string,
  { peers = {}, yardsticks = {}, published, inner = 1, maxWarmups = 10, facts }: Case,
  runners: Runner[],
): Promise<Line> {
  const leaveOut = async (peer: string, error: unknown, contender?: Contender) => {
    console.error(`${options.bench} "${name}": ${peer} is left out: ${reason(error)}`);
    await contender?.dispose?.();
  };
  await warmUp(runners[0]!, maxWarmups, until);
  for (const [kind, group] of [
    ['peer', peers],
    ['yardstick', yardsticks],
  ] as const)
    for (const [peer, make] of Object.entries(group)) {
      if (!make) continue;
      let contender: Contender | undefined;
      try {
        contender = await make();
        const runner: Runner = { name: peer, kind, contender, times: [] };
        await warmUp(runner, maxWarmups, until);
        runners.push(runner);
      } catch (error) {
        await leaveOut(peer, error, contender);
      }
    }

  for (let rep = 0; rep < options.reps && (rep === 0 || performance.now() < until); rep++)
    for (const runner of [...runners])
      try {
        runner.times.push((await timeOnce(runner)) / inner);
      } catch (error) {
        if (runner.kind === 'ours') throw error;
        runners.splice(runners.indexOf(runner), 1);
        await leaveOut(runner.name, error, runner.contender);
      }
  for (const { contender } of runners) await contender.dispose?.();

  const timings = (kind: Runner['kind']) =>
    Object.fromEntries(
      runners.filter((r) => r.kind === kind).map((r) => [r.name, { ms: round(median(r.times)) }]),
    );
  const reps = runners[0]!.times.length;
  const ms = median(runners[0]!.times);
  const best = Math.min(...runners.filter((r) => r.kind === 'peer').map((r) => median(r.times)));
  const extra = Object.entries(facts?.(ms) ?? {}).map(([key, value]) => [key, round(value)]);
  const beside = timings('yardstick');
  return {
    bench: options.bench,
    case: name,
    adapter: device,
    software,
    ours: { ms: round(ms), ...Object.fromEntries(extra) },
    peers: timings('peer'),
    ...(best < Number.POSITIVE_INFINITY && { ratio: round(best / ms) }),
    ...(Object.keys(beside).length > 0 && { yardsticks: beside }),
    ...(published && { published }),
    ...(reps < options.reps && { reps }),
  };
}

export interface MeasureFacts {
  readonly options: BenchOptions;
  readonly software: boolean;
  readonly device: string;
  /** When the time of the bench is over, on the clock of `performance.now()`. */
  readonly until: number;
}

/**
 * Until a repetition is no longer clearly faster than the one before: shaders are compiled and
 * memory is pooled.
 */
async function warmUp(runner: Runner, most: number, until: number): Promise<void> {
  let before = await timeOnce(runner);
  const end = Math.min(performance.now() + WARMUP_SECONDS * 1000, until);
  for (let i = 1; i < most && performance.now() < end; i++) {
    const ms = await timeOnce(runner);
    if (ms > 0.8 * before) return;
    before = ms;
  }
}

async function timeOnce({ contender }: Runner): Promise<number> {
  const start = performance.now();
  const own = await contender.run();
  const ms = own ?? performance.now() - start;
  faults.check();
  return ms;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Four significant digits: more would be noise. */
const round = (value: number): number => Number(value.toPrecision(4));

export const reason = (error: unknown): string =>
  error instanceof Error ? error.message.split('\n')[0]!.slice(0, 300) : String(error);
