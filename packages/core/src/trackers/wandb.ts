import { z } from 'zod';
import { appendFile, hostname, join, mkdir, writeFile } from '#platform';
import type { Tracker } from '../callbacks/points.js';
import type { CallbackContext, Logs } from '../training/callback.js';
import { concatBytes } from '../util/byteArrays.js';
import { writing } from '../util/diskError.js';
import { camelToSnake, keysToSnake } from '../util/json.js';
import { type OptionsInput, type OptionsOutput, parseOptions } from '../util/options.js';
import { crc32 } from './crc.js';
import { ProtoMessage } from './protobuf.js';
import { rewriteLogs } from './rewriteLogs.js';
import { trackerFolder } from './runFolder.js';

// Field numbers of W&B's wandb_internal.proto.
const RECORD = { num: 1, history: 2, summary: 3, metric: 12, run: 17, exit: 18, header: 21 };
const RUN = {
  runId: 1,
  entity: 2,
  project: 3,
  config: 4,
  displayName: 8,
  tags: 10,
  host: 13,
  startTime: 17,
};
const ITEM = { key: 1, nestedKey: 2, valueJson: 16 };
const METRIC = { name: 1, globName: 2, stepMetric: 4, options: 6 };
const OPTIONS = { stepSync: 1, defined: 3 };

/** The log of LevelDB: blocks of 32 KiB; a record that crosses a border is cut there. */
const BLOCK = 32768;
const RECORD_HEADER = 7;
const FULL = 1;
const FIRST = 2;
const MIDDLE = 3;
const LAST = 4;
/** ":W&B", a magic number, a version. */
const FILE_HEADER = Uint8Array.from([0x3a, 0x57, 0x26, 0x42, 0xe1, 0xbe, 0x00]);
/** Version of the client whose file format this is. Readers compare it with their own. */
const PRODUCER = '0.31.0';
const MIN_CONSUMER = '0.70.0';

/** What transformers keeps out of the curves and puts into the run's summary. */
const SUMMARY_ONLY = new Set([
  'train_runtime',
  'train_samples_per_second',
  'train_steps_per_second',
  'train_loss',
  'total_flos',
]);

const wandbShape = {
  /** The project that the run belongs to. Default "huggingface", as in transformers. */
  project: z.string().min(1).default('huggingface').meta({ aka: 'projectname' }),
  /** User or team. Default: the one who syncs. */
  entity: z.string().min(1).optional().meta({ aka: 'team user' }),
  /** What the run is called. Default: `runName` of the arguments. */
  name: z.string().min(1).optional().meta({ aka: 'runname' }),
  /** Tags of the run. Default none. */
  tags: z.array(z.string()).readonly().default([]),
  /** Folder above the runs. Default: `wandb` in `loggingDir`, else in `outputDir`. */
  dir: z.string().min(1).optional().meta({ aka: 'logdir loggingdir folder' }),
};
const wandbOptions = z.strictObject(wandbShape);

/** Options of {@link WandbCallback}. */
export type WandbOptions = OptionsInput<typeof wandbShape>;

/**
 * Writes a run for Weights & Biases as its client does in offline mode: a folder
 * `offline-run-<time>-<id>`, which `wandb sync <folder>` uploads. Nothing is sent from here. Names
 * are those of transformers' own integration (`train/loss`, `eval/loss`, `train/global_step` as the
 * x-axis).
 */
export class WandbCallback implements Tracker {
  readonly name = 'WandbCallback';
  readonly firstRankOnly = true;
  readonly #options: OptionsOutput<typeof wandbOptions>;
  #file: string | null = null;
  /** Bytes in the file: records are framed by their place in it. */
  #size = 0;
  #records = 0;
  #step = 0;
  #startedMs = 0;

  /** @throws UNKNOWN_OPTION, INVALID_OPTION */
  constructor(options: WandbOptions = {}) {
    this.#options = parseOptions(wandbOptions, options, { where: 'WandbCallback' });
  }

  async onTrainBegin({ args, model }: CallbackContext): Promise<void> {
    const { project, entity, name = args.runName, tags, dir } = this.#options;
    const id = runId();
    const now = new Date();
    const stamp = now.toISOString().replace(/[-:]/g, '').replace('T', '_').slice(0, 15);
    const folder = join(dir ?? join(trackerFolder(args), 'wandb'), `offline-run-${stamp}-${id}`);
    await writing(folder, () => mkdir(join(folder, 'files'), { recursive: true }));
    this.#file = join(folder, `run-${id}.wandb`);
    this.#size = FILE_HEADER.length;
    this.#records = 0;
    this.#step = 0;
    this.#startedMs = now.getTime();
    const file = this.#file;
    await writing(file, () => writeFile(file, FILE_HEADER));

    const version = new ProtoMessage().text(1, PRODUCER).text(2, MIN_CONSUMER);
    await this.#record(RECORD.header, new ProtoMessage().message(1, version));
    const config = new ProtoMessage();
    const values = { _wandb: {}, ...model.config.raw, ...keysToSnake({ ...args }) };
    for (const [key, value] of Object.entries(values)) config.message(1, item(key, value));
    const run = new ProtoMessage()
      .text(RUN.runId, id)
      .text(RUN.project, project)
      .message(RUN.config, config)
      .text(RUN.host, hostname())
      .message(RUN.startTime, new ProtoMessage().int(1, Math.floor(now.getTime() / 1000)));
    if (entity) run.text(RUN.entity, entity);
    if (name) run.text(RUN.displayName, name);
    for (const tag of tags) run.text(RUN.tags, tag);
    await this.#record(RECORD.run, run);
    const defined = new ProtoMessage().int(OPTIONS.defined, 1);
    await this.#record(
      RECORD.metric,
      new ProtoMessage().text(METRIC.name, 'train/global_step').message(METRIC.options, defined),
    );
    await this.#record(
      RECORD.metric,
      new ProtoMessage()
        .text(METRIC.globName, '*')
        .text(METRIC.stepMetric, 'train/global_step')
        .message(
          METRIC.options,
          new ProtoMessage().int(OPTIONS.stepSync, 1).int(OPTIONS.defined, 1),
        ),
    );
  }

  async onLog({ state }: CallbackContext, logs: Logs): Promise<void> {
    const named = Object.entries(logs).map(([name, value]) => [camelToSnake(name), value] as const);
    const summary = named.filter(([name]) => SUMMARY_ONLY.has(name));
    if (summary.length > 0) await this.#summary(Object.fromEntries(summary));
    const curves = Object.fromEntries(named.filter(([name]) => !SUMMARY_ONLY.has(name)));
    await this.#history({ ...rewriteLogs(curves), 'train/global_step': state.globalStep });
  }

  async onPredict(_: CallbackContext, metrics: Logs): Promise<void> {
    await this.#history(rewriteLogs(metrics));
  }

  async onTrainEnd(): Promise<void> {
    const runtime = Math.floor((Date.now() - this.#startedMs) / 1000);
    await this.#record(RECORD.exit, new ProtoMessage().int(2, runtime));
    this.#file = null;
  }

  /** A row of curves, and what the run's page shows as their latest values. */
  async #history(values: Readonly<Record<string, number>>): Promise<void> {
    const now = Date.now();
    const row = {
      ...values,
      _timestamp: now / 1000,
      _runtime: (now - this.#startedMs) / 1000,
      _step: this.#step,
    };
    const history = new ProtoMessage();
    for (const [key, value] of Object.entries(row)) history.message(1, item(key, value, true));
    const step = this.#step === 0 ? new ProtoMessage() : new ProtoMessage().int(1, this.#step);
    await this.#record(RECORD.history, history.message(2, step));
    await this.#summary(row, true);
    this.#step++;
  }

  async #summary(values: Readonly<Record<string, number>>, nested = false): Promise<void> {
    const summary = new ProtoMessage();
    for (const [key, value] of Object.entries(values)) summary.message(1, item(key, value, nested));
    await this.#record(RECORD.summary, summary);
  }

  async #record(field: number, message: ProtoMessage): Promise<void> {
    if (this.#file === null) return; // outside of a run
    const record = new ProtoMessage().int(RECORD.num, ++this.#records).message(field, message);
    const bytes = frame(record.encode(), this.#size);
    this.#size += bytes.length;
    const file = this.#file;
    await writing(file, () => appendFile(file, bytes));
  }
}

/**
 * A key with its value as JSON. Keys with dots or slashes go as nested ones, which are taken whole.
 */
function item(key: string, value: unknown, nested = false): ProtoMessage {
  const json =
    typeof value === 'number' && !Number.isFinite(value)
      ? String(value) // NaN, Infinity: Python's JSON has them
      : (JSON.stringify(value) ?? 'null');
  return new ProtoMessage()
    .text(nested ? ITEM.nestedKey : ITEM.key, key)
    .text(ITEM.valueJson, json);
}

/** Eight letters and digits, as W&B makes them. */
const runId = (): string =>
  Array.from(crypto.getRandomValues(new Uint32Array(8)), (n) => (n % 36).toString(36)).join('');

/**
 * A record of a LevelDB log, to be appended at `offset`: checksum (CRC-32 of the kind and the
 * bytes), length, kind, bytes; cut where a block ends.
 *
 * @see https://github.com/google/leveldb/blob/main/doc/log_format.md
 */
export function frame(data: Uint8Array, offset: number): Uint8Array {
  const out: Uint8Array[] = [];
  let at = offset;
  let done = 0;
  do {
    const left = BLOCK - (at % BLOCK);
    if (left < RECORD_HEADER) {
      out.push(new Uint8Array(left));
      at += left;
      continue;
    }
    const length = Math.min(left - RECORD_HEADER, data.length - done);
    const isFirst = done === 0;
    const isLast = done + length === data.length;
    const kind = isFirst ? (isLast ? FULL : FIRST) : isLast ? LAST : MIDDLE;
    const part = data.subarray(done, done + length);
    const header = new DataView(new ArrayBuffer(RECORD_HEADER));
    header.setUint32(0, crc32([kind, ...part]), true);
    header.setUint16(4, length, true);
    header.setUint8(6, kind);
    out.push(new Uint8Array(header.buffer), part);
    at += RECORD_HEADER + length;
    done += length;
  } while (done < data.length);
  return concatBytes(out);
}
