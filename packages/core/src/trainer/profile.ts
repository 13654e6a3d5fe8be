import { z } from 'zod';
import type { Backend, OpTiming } from '../backend/backend.js';
import { bytesPerElement } from '../backend/dtype.js';
import { writeFileAtomic } from '../io/atomic.js';
import type { Engine } from '../tensor/engine.js';
import { opTable } from '../tensor/opTable.js';
import { numel } from '../tensor/shape.js';
import { AttuneError } from '../util/errors.js';
import type { OptionsInput, OptionsOutput } from '../util/options.js';

const profileShape = {
  /** Updates that are measured. Default 3. */
  steps: z.int().min(1).default(3).meta({ aka: 'updates active' }),
  /** Updates before them, which compile and allocate. Default 2. */
  warmupSteps: z.int().min(0).default(2).meta({ aka: 'warmup wait' }),
  /**
   * A trace for chrome://tracing or ui.perfetto.dev. Default: profile.trace.json in outputDir;
   * null: none.
   */
  traceFile: z.string().min(1).nullable().optional().meta({ aka: 'trace file path' }),
};
export const profileOptions = z.strictObject(profileShape);

/** Options of `trainer.profile`. */
export type ProfileOptions = OptionsInput<typeof profileShape>;

/** What one op took, per update. */
export interface ProfileRow {
  readonly op: string;
  /** Kernels that ran. */
  readonly dispatches: number;
  readonly ms: number;
  /** Part of the device's time, 0 to 1. */
  readonly share: number;
  /** Bytes of all operands: the least that must move. */
  readonly bytes: number;
  /**
   * Billions of multiplications and additions a second; null for ops where they do not dominate.
   */
  readonly gflops: number | null;
  readonly gigabytesPerSecond: number;
  /** The least time that the limits allow, divided by the time taken; 0 to 1. */
  readonly shareOfLimit: number;
}

/** What this device reached on a large product and on a large addition, just before the profile. */
export interface DeviceLimits {
  readonly gflops: number;
  readonly gigabytesPerSecond: number;
}

/** Where the time of an update went, as `trainer.profile` measured it. */
export interface TrainingProfile {
  readonly device: string;
  readonly steps: number;
  /** Milliseconds that an update takes without the clock. */
  readonly stepMs: number;
  /** Those of them in which the host is busy recording. */
  readonly hostMs: number;
  /** Milliseconds of kernels in an update. */
  readonly deviceMs: number;
  readonly dispatches: number;
  readonly limits: DeviceLimits;
  /** By op, the costliest first. */
  readonly rows: readonly ProfileRow[];
  readonly traceFile: string | null;
  /** The table, for a terminal. */
  toString(): string;
}

/** Host time of one update under the clock, in milliseconds since the profile began. */
interface HostSpan {
  readonly startMs: number;
  readonly endMs: number;
}

/**
 * Measures updates: first as they are, then with a clock on every kernel.
 *
 * @param update records one update
 * @throws PROFILE_UNSUPPORTED
 */
export async function profileUpdates(
  engine: Engine,
  update: () => Promise<void>,
  { steps, warmupSteps, traceFile = null }: OptionsOutput<typeof profileOptions>,
): Promise<TrainingProfile> {
  const { backend } = engine;
  for (let i = 0; i < warmupSteps; i++) await update();
  await backend.sync();

  let hostMs = 0;
  const start = performance.now();
  for (let i = 0; i < steps; i++) {
    const before = performance.now();
    await update();
    hostMs += performance.now() - before;
  }
  await backend.sync();
  const stepMs = (performance.now() - start) / steps;

  const spans: HostSpan[] = [];
  const timings = await timed(backend, async () => {
    const origin = performance.now();
    for (let i = 0; i < steps; i++) {
      const startMs = performance.now() - origin;
      await update();
      spans.push({ startMs, endMs: performance.now() - origin });
    }
  });
  const limits = await measureLimits(engine);
  if (traceFile) await writeFileAtomic(traceFile, JSON.stringify(chromeTrace(timings, spans)));
  const rows = tabulate(timings, steps, limits);
  const profile = {
    device: backend.info.device,
    steps,
    stepMs,
    hostMs: hostMs / steps,
    deviceMs: sum(rows.map((row) => row.ms)),
    dispatches: sum(rows.map((row) => row.dispatches)),
    limits,
    rows,
    traceFile,
  };
  return { ...profile, toString: () => formatProfile(profile) };
}

async function timed(backend: Backend, work: () => Promise<void>): Promise<readonly OpTiming[]> {
  if (!backend.profile)
    throw new AttuneError(
      'PROFILE_UNSUPPORTED',
      `backend "${backend.info.name}" cannot time its work.`,
      { remedy: 'Profile on WebGPU: createAttune({ plugins: [dawn()] }).' },
    );
  return backend.profile(work);
}

/** Rates of one large product and one large addition: what a kernel can hope for on this device. */
async function measureLimits(engine: Engine): Promise<DeviceLimits> {
  const { software } = engine.backend.info;
  const side = software ? 512 : 4096;
  const length = software ? 2 ** 21 : 2 ** 25;
  const timings = await timed(engine.backend, async () => {
    engine.noGrad(() =>
      engine.scope('limits', () => {
        const square = engine.ones([side, side]);
        const long = engine.ones([length]);
        for (let i = 0; i < 4; i++) {
          square.matmul(square, { transposeB: true });
          long.add(long);
        }
      }),
    );
  });
  const best = (op: string) =>
    Math.min(...timings.filter((timing) => timing.op === op).map(durationUs));
  return {
    gflops: (2 * side ** 3) / best('matmul') / 1000,
    gigabytesPerSecond: (12 * length) / best('add') / 1000,
  };
}

const sum = (values: readonly number[]): number => values.reduce((total, v) => total + v, 0);
const durationUs = ({ kernels }: OpTiming): number => sum(kernels.map((k) => k.durationUs));
const bytesOf = ({ inputs, outputs }: OpTiming): number =>
  sum([...inputs, ...outputs].map((o) => numel(o.shape) * bytesPerElement[o.dtype]));

function flopsOf({ op, inputs, attrs }: OpTiming): number | undefined {
  return opTable.find((def) => def.name === op)?.flops?.(inputs, attrs);
}

function tabulate(timings: readonly OpTiming[], steps: number, limits: DeviceLimits): ProfileRow[] {
  const byOp = new Map<string, OpTiming[]>();
  for (const timing of timings) byOp.set(timing.op, [...(byOp.get(timing.op) ?? []), timing]);
  const totalUs = sum(timings.map(durationUs));
  const rows = [...byOp].map(([op, calls]): ProfileRow => {
    const us = sum(calls.map(durationUs));
    const bytes = sum(calls.map(bytesOf));
    const flops = calls.map(flopsOf);
    const known = flops.every((f) => f !== undefined);
    const atBest = sum(
      calls.map((call, i) =>
        Math.max((flops[i] ?? 0) / limits.gflops, bytesOf(call) / limits.gigabytesPerSecond),
      ),
    );
    return {
      op,
      dispatches: sum(calls.map((call) => call.kernels.length)) / steps,
      ms: us / 1000 / steps,
      share: us / totalUs,
      bytes: bytes / steps,
      gflops: known ? sum(flops as number[]) / us / 1000 : null,
      gigabytesPerSecond: bytes / us / 1000,
      shareOfLimit: Math.min(1, atBest / 1000 / us),
    };
  });
  return rows.sort((a, b) => b.ms - a.ms);
}

/** With so many decimals, fewer where the number would have more than five digits. */
const fixed = (value: number, decimals: number): string => {
  const before = Math.trunc(value).toFixed(0).length;
  return value.toFixed(Math.max(0, Math.min(decimals, 5 - before)));
};

function formatProfile(profile: Omit<TrainingProfile, 'toString'>): string {
  const { device, steps, stepMs, hostMs, deviceMs, dispatches, limits, rows, traceFile } = profile;
  const head = ['op', 'dispatches', 'ms', 'share', 'MB', 'GFLOP/s', 'GB/s', 'of limit'];
  const cells = rows.map((row) => [
    row.op,
    row.dispatches.toFixed(0),
    fixed(row.ms, 2),
    `${(100 * row.share).toFixed(1)} %`,
    fixed(row.bytes / 1e6, 1),
    row.gflops === null ? '' : fixed(row.gflops, 1),
    fixed(row.gigabytesPerSecond, 1),
    `${(100 * row.shareOfLimit).toFixed(0)} %`,
  ]);
  const total = ['all', dispatches.toFixed(0), fixed(deviceMs, 2), '100.0 %', '', '', '', ''];
  const table = [head, ...cells, total];
  const widths = head.map((_, column) => Math.max(...table.map((line) => line[column]!.length)));
  const line = (texts: readonly string[]) =>
    texts
      .map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!)))
      .join('  ')
      .trimEnd();
  return [
    `${steps} updates on ${device}: ${fixed(stepMs, 1)} ms each, of which the host records ${fixed(hostMs, 1)} ms`,
    ...table.map(line),
    `limits, measured just now: ${fixed(limits.gflops, 1)} GFLOP/s, ${fixed(limits.gigabytesPerSecond, 1)} GB/s`,
    ...(traceFile ? [`trace: ${traceFile} (open in ui.perfetto.dev)`] : []),
  ].join('\n');
}

/**
 * Chrome's trace event format: complete events, microseconds; one track for the host, one for the
 * device.
 */
function chromeTrace(timings: readonly OpTiming[], spans: readonly HostSpan[]): object {
  const event = (tid: number, name: string, ts: number, dur: number, args: object = {}) => ({
    ph: 'X',
    pid: 1,
    tid,
    name,
    ts,
    dur,
    args,
  });
  const track = (tid: number, name: string) => ({
    ph: 'M',
    pid: 1,
    tid,
    name: 'thread_name',
    args: { name },
  });
  return {
    traceEvents: [
      track(1, 'host: recording'),
      track(2, 'device: kernels'),
      ...spans.map(({ startMs, endMs }, i) =>
        event(1, `update ${i + 1}`, startMs * 1000, (endMs - startMs) * 1000),
      ),
      ...timings.flatMap(({ op, inputs, outputs, kernels }) =>
        kernels.map(({ name, startUs, durationUs: dur }) =>
          event(2, op, startUs, dur, {
            kernel: name,
            inputs: inputs.map((i) => i.shape.join('x')),
            outputs: outputs.map((o) => o.shape.join('x')),
          }),
        ),
      ),
    ],
    displayTimeUnit: 'ms',
  };
}
