import { z } from 'zod';
import { hostname, join, mkdir, open, processId } from '#platform';
import type { Tracker } from '../callbacks/points.js';
import type { CallbackContext, Logs } from '../training/callback.js';
import { concatBytes } from '../util/byteArrays.js';
import { writing } from '../util/diskError.js';
import { keysToSnake } from '../util/json.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { crc32c } from './crc.js';
import { ProtoMessage } from './protobuf.js';
import { rewriteLogs } from './rewriteLogs.js';
import { tensorBoardFolder } from './runFolder.js';

// Field numbers of tensorflow's event.proto, summary.proto and tensor.proto.
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 };
const VALUE = { tag: 1, simpleValue: 2, tensor: 8, metadata: 9 };
const TENSOR = { dtype: 1, shape: 2, stringVal: 8 };
const DT_STRING = 7;
const SESSION_START = 1;

const tensorBoardShape = {
  /**
   * Folder of the event file. Default: `loggingDir`, else `runs/<date>_<host>` below outputDir, as
   * transformers.
   */
  logDir: z.string().min(1).optional().meta({ aka: 'loggingdir dir folder' }),
};
const tensorBoardOptions = z.strictObject(tensorBoardShape);

/** Options of {@link TensorBoardCallback}. */
export type TensorBoardOptions = OptionsInput<typeof tensorBoardShape>;

/**
 * Writes event files for TensorBoard: `tensorboard --logdir out/runs` shows them. Scalars have
 * transformers' names (`train/loss`, `eval/loss`); the arguments and the model's config are texts.
 * A resumed run begins its file with a mark, at which TensorBoard forgets what an interrupted run
 * wrote beyond that step.
 */
export class TensorBoardCallback implements Tracker {
  readonly name = 'TensorBoardCallback';
  readonly firstRankOnly = true;
  readonly #logDir: string | undefined;
  #file: string | null = null;

  /** @throws UNKNOWN_OPTION, INVALID_OPTION */
  constructor(options: TensorBoardOptions = {}) {
    const place = { where: 'TensorBoardCallback' };
    this.#logDir = parseOptions(tensorBoardOptions, options, place).logDir;
  }

  async onTrainBegin({ args, state, model }: CallbackContext): Promise<void> {
    const now = new Date();
    const folder = this.#logDir ?? tensorBoardFolder(args, now);
    await writing(folder, () => mkdir(folder, { recursive: true }));
    const seconds = Math.floor(now.getTime() / 1000);
    this.#file = join(folder, `events.out.tfevents.${seconds}.${hostname()}.${processId}.0`);
    const wallTime = seconds;
    const json = (value: object) => `<pre>${JSON.stringify(value, null, 2)}</pre>`;
    await this.#write([
      versionEvent(wallTime),
      ...(state.globalStep > 0 ? [resumeEvent(wallTime, state.globalStep + 1)] : []),
      textEvent(wallTime, 'args/text_summary', json(keysToSnake({ ...args }))),
      textEvent(wallTime, 'model_config/text_summary', json(model.config.raw)),
    ]);
  }

  async onLog({ state }: CallbackContext, logs: Logs): Promise<void> {
    await this.#write([scalarEvent(Date.now() / 1000, state.globalStep, rewriteLogs(logs))]);
  }

  onTrainEnd(): void {
    this.#file = null;
  }

  /** Appended and closed at once: whatever happens next, the file has what was logged. */
  async #write(events: readonly ProtoMessage[]): Promise<void> {
    if (this.#file === null) return; // an evaluation by hand, outside of a run
    const records = events.map((event) => tfRecord(event.encode()));
    const path = this.#file;
    await writing(path, async () => {
      const file = await open(path, 'a');
      try {
        await file.writeFile(concatBytes(records));
      } finally {
        await file.close();
      }
    });
  }
}

/** @param wallTime seconds since 1970 */
const newEvent = (wallTime: number): ProtoMessage =>
  new ProtoMessage().double(EVENT.wallTime, wallTime);

/** The first event of every file. */
export const versionEvent = (wallTime: number): ProtoMessage =>
  newEvent(wallTime).text(EVENT.fileVersion, 'brain.Event:2');

/** From here on, what the folder's other files say about `step` and later ones is void. */
export const resumeEvent = (wallTime: number, step: number): ProtoMessage =>
  newEvent(wallTime)
    .int(EVENT.step, step)
    .message(EVENT.sessionLog, new ProtoMessage().int(1, SESSION_START));

export function scalarEvent(wallTime: number, step: number, scalars: Logs): ProtoMessage {
  const summary = new ProtoMessage();
  for (const [tag, value] of Object.entries(scalars))
    summary.message(1, new ProtoMessage().text(VALUE.tag, tag).float(VALUE.simpleValue, value));
  return newEvent(wallTime).int(EVENT.step, step).message(EVENT.summary, summary);
}

export function textEvent(wallTime: number, tag: string, text: string): ProtoMessage {
  const plugin = new ProtoMessage().message(1, new ProtoMessage().text(1, 'text'));
  const shape = new ProtoMessage().message(2, new ProtoMessage().int(1, 1)); // [1]
  const tensor = new ProtoMessage()
    .int(TENSOR.dtype, DT_STRING)
    .message(TENSOR.shape, shape)
    .text(TENSOR.stringVal, text);
  const value = new ProtoMessage()
    .text(VALUE.tag, tag)
    .message(VALUE.tensor, tensor)
    .message(VALUE.metadata, plugin);
  return newEvent(wallTime).message(EVENT.summary, new ProtoMessage().message(1, value));
}

/**
 * A record of a TFRecord file: length (uint64), its checksum, the bytes, their checksum.
 *
 * @see https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
 */
export function tfRecord(data: Uint8Array): Uint8Array {
  const out = new Uint8Array(12 + data.length + 4);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc32c(out.subarray(0, 8)), true);
  out.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc32c(data), true);
  return out;
}

/**
 * Rotated by 15 bits and shifted by a constant, so that a checksum of checksums differs from them.
 */
function maskedCrc32c(data: Uint8Array): number {
  const crc = crc32c(data);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
