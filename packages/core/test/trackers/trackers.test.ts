import { readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import {
  Callbacks,
  createAttune,
  MlflowCallback,
  SFTTrainer,
  type SftTrainerOptions,
  TensorBoardCallback,
  Trackers,
  WandbCallback,
} from '@attune/core';
import { rewriteLogs } from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import { crc32, crc32c } from '../../src/trackers/crc.js';
import {
  resumeEvent,
  scalarEvent,
  textEvent,
  tfRecord,
  versionEvent,
} from '../../src/trackers/tensorBoard.js';
import { frame } from '../../src/trackers/wandb.js';
import {
  fixtureJson,
  float32Attune,
  idRows,
  ListLogger,
  minuteLlama,
  temporaryFolder,
} from '../trainer/support.js';

const fixture = fixtureJson('row305-trackers.json') as unknown as {
  tensorboard: { wallTime: number; file: string };
  wandb: { gzip: string };
};

/** A field of a message of Protocol Buffers: number, varint / bytes / little-endian number. */
interface Field {
  readonly number: number;
  readonly int?: number;
  readonly bytes?: Buffer;
}

/** Fields of a message, in their order. Written for these tests. */
function decode(data: Buffer): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = data[at++]!;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < data.length) {
    const key = varint();
    const number = Math.floor(key / 8);
    const kind = key % 8;
    if (kind === 0) fields.push({ number, int: varint() });
    else {
      const size = kind === 1 ? 8 : kind === 5 ? 4 : varint();
      fields.push({ number, bytes: data.subarray(at, at + size) });
      at += size;
    }
  }
  return fields;
}
const inside = (fields: Field[], number: number): Field[][] =>
  fields.filter((f) => f.number === number).map((f) => decode(f.bytes!));
const text = (fields: Field[], number: number): string | undefined =>
  fields.find((f) => f.number === number)?.bytes?.toString('utf8');

/** Scalars of an event file: [step, tag, value]. */
function scalarsOf(file: Buffer): [number, string, number][] {
  const out: [number, string, number][] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    const event = decode(file.subarray(at + 12, at + 12 + length));
    const step = event.find((f) => f.number === 2)?.int ?? 0;
    for (const summary of inside(event, 5))
      for (const value of inside(summary, 1)) {
        const scalar = value.find((f) => f.number === 2)?.bytes;
        if (scalar) out.push([step, text(value, 1)!, scalar.readFloatLE()]);
      }
    at += 12 + length + 4;
  }
  return out;
}

/** Records of a .wandb file, frames put together. */
function recordsOf(file: Buffer): Buffer[] {
  const records: Buffer[] = [];
  let parts: Buffer[] = [];
  for (let at = 7; at + 7 <= file.length; ) {
    const left = 32768 - (at % 32768);
    if (left < 7) {
      at += left;
      continue;
    }
    const length = file.readUInt16LE(at + 4);
    const kind = file[at + 6]!;
    parts.push(file.subarray(at + 7, at + 7 + length));
    at += 7 + length;
    if (kind !== 1 && kind !== 4) continue;
    records.push(Buffer.concat(parts));
    parts = [];
  }
  return records;
}

const train = async (options: Partial<SftTrainerOptions> = {}, logger = new ListLogger()) => {
  const attune = await float32Attune(logger);
  const outputDir = options.args?.outputDir ?? (await temporaryFolder());
  const trainer = new SFTTrainer({
    model: await minuteLlama(attune),
    trainDataset: idRows(8),
    evalDataset: idRows(3),
    ...options,
    args: {
      perDeviceTrainBatchSize: 2,
      maxSteps: 4,
      loggingSteps: 2,
      evalStrategy: 'steps',
      evalSteps: 4,
      saveStrategy: 'no',
      outputDir,
      ...options.args,
    },
  });
  const output = await trainer.train();
  return { trainer, outputDir, output, logger };
};

test('row 9.5: names as transformers gives them to trackers', () => {
  expect(
    rewriteLogs({
      loss: 1,
      gradNorm: 2,
      evalLoss: 3,
      evalMathLoss: 4,
      testLoss: 5,
      'eval_rewards/margins': 6,
    }),
  ).toEqual({
    'train/loss': 1,
    'train/grad_norm': 2,
    'eval/loss': 3,
    'eval/math_loss': 4,
    'test/loss': 5,
    'eval/rewards/margins': 6,
  });
});

describe('TensorBoard', () => {
  test("events are byte for byte those of TensorBoard's own writer", () => {
    const { wallTime, file } = fixture.tensorboard;
    const events = [
      versionEvent(wallTime),
      scalarEvent(wallTime, 301, { 'train/loss': 1.25, 'train/grad_norm': Number.NaN }),
      textEvent(wallTime, 'args/text_summary', 'lr: 1e-4, μ'),
      resumeEvent(wallTime, 8),
    ];
    const ours = Buffer.concat(events.map((event) => tfRecord(event.encode())));
    expect(ours.toString('base64')).toBe(file);
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
    expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926);
  });

  test('a run has its log under runs/, a resumed one says from where', async () => {
    const first = await train({
      args: { reportTo: 'tensorboard', saveStrategy: 'steps', saveSteps: 2 },
    });
    const runs = join(first.outputDir, 'runs');
    const [folder] = await readdir(runs);
    const [name] = await readdir(join(runs, folder!));
    expect(name).toMatch(/^events\.out\.tfevents\.\d+\./);
    const scalars = scalarsOf(await readFile(join(runs, folder!, name!)));
    const { logHistory } = first.trainer.state;
    expect(scalars).toContainEqual([2, 'train/loss', Math.fround(logHistory[0]!.loss!)]);
    expect(scalars).toContainEqual([4, 'eval/loss', Math.fround(logHistory[2]!.evalLoss!)]);
    expect(scalars).toContainEqual([4, 'train/train_loss', Math.fround(first.output.trainingLoss)]);

    const logDir = await temporaryFolder();
    await train({
      callbacks: [new TensorBoardCallback({ logDir })],
      args: {
        outputDir: first.outputDir,
        reportTo: ['tensorboard'], // there already: not twice
        resumeFromCheckpoint: join(first.outputDir, 'checkpoint-2'),
      },
    });
    const files = await readdir(logDir);
    expect(files).toHaveLength(1);
    const resumed = await readFile(join(logDir, files[0]!));
    const length = Number(resumed.readBigUInt64LE(0));
    const second = decode(
      resumed.subarray(
        16 + length + 12,
        16 + length + 12 + Number(resumed.readBigUInt64LE(16 + length)),
      ),
    );
    expect(second.find((f) => f.number === 2)?.int).toBe(3);
    expect(second.some((f) => f.number === 7)).toBe(true);
    expect((await readdir(runs)).length).toBe(1);
  });
});

describe('Weights & Biases', () => {
  test('records are framed as its own client frames them, across blocks too', () => {
    const file = gunzipSync(Buffer.from(fixture.wandb.gzip, 'base64'));
    let ours = file.subarray(0, 7);
    for (const record of recordsOf(file)) ours = Buffer.concat([ours, frame(record, ours.length)]);
    expect(file.length).toBeGreaterThan(40_000);
    expect(ours.equals(file)).toBe(true);
  });

  test('a run is a folder that `wandb sync` takes, with the fields of its client', async () => {
    const dir = await temporaryFolder();
    const callback = new WandbCallback({ project: 'tuning', tags: ['a'], dir });
    const { trainer } = await train({ callbacks: [callback], args: { runName: 'run one' } });
    await trainer.predict(idRows(2)); // after the run: not written, no error
    const [folder] = await readdir(dir);
    const id = /^offline-run-\d{8}_\d{6}-([a-z0-9]{8})$/.exec(folder!)![1];
    const records = recordsOf(await readFile(join(dir, folder!, `run-${id}.wandb`))).map(decode);
    const theirs = recordsOf(gunzipSync(Buffer.from(fixture.wandb.gzip, 'base64'))).map(decode);
    const kinds = (all: Field[][], number: number) =>
      all.flatMap((record) => inside(record, number));

    expect(records.map((record) => record[0]!.int)).toEqual(records.map((_, i) => i + 1));
    expect(kinds(records, 21).map((header) => inside(header, 1)[0]!.length)).toEqual([2]);
    const [run] = kinds(records, 17);
    expect([text(run!, 1), text(run!, 3), text(run!, 8), text(run!, 10)]).toEqual([
      id,
      'tuning',
      'run one',
      'a',
    ]);
    const config = inside(inside(run!, 4)[0]!, 1).map((item) => [text(item, 1), text(item, 16)]);
    expect(config).toContainEqual(['learning_rate', '0.00002']);
    expect(config).toContainEqual(['model_type', '"llama"']);
    // The x-axis is defined by the same bytes.
    const metrics = (all: Field[][]) =>
      kinds(all, 12).map((metric) => metric.filter((f) => f.number < 200));
    expect(metrics(records)).toEqual(metrics(theirs));

    const rows = (all: Field[][]) =>
      kinds(all, 2).map((history) =>
        Object.fromEntries(inside(history, 1).map((item) => [text(item, 2), text(item, 16)])),
      );
    const { logHistory } = trainer.state;
    expect(rows(records)[0]).toMatchObject({
      'train/loss': String(logHistory[0]!.loss),
      'train/global_step': '2',
      _step: '0',
    });
    expect(rows(records)[2]).toMatchObject({
      'eval/loss': String(logHistory[2]!.evalLoss),
      _step: '2',
    });
    expect(Object.keys(rows(theirs)[0]!).sort()).toEqual([
      '_runtime',
      '_step',
      '_timestamp',
      'train/global_step',
      'train/loss',
    ]);
    // train_loss is of the summary alone, as in transformers; not finite is NaN.
    const summaries = kinds(records, 3).flatMap((summary) => inside(summary, 1));
    expect(summaries.map((item) => text(item, 1))).toContain('train_loss');
    expect(rows(records).flatMap(Object.keys)).not.toContain('train/train_loss');
    expect(rows(theirs)[1]!['train/loss']).toBe('NaN');
    expect(kinds(records, 18)).toHaveLength(1);
  });
});

describe('MLflow', () => {
  /** Answers as the tracking server does, and remembers. `broken` closes connections. */
  async function server() {
    const requests: { path: string; body: Record<string, unknown> }[] = [];
    const state = { broken: false };
    const http = createServer((request, response) => {
      let body = '';
      request.on('data', (part) => {
        body += part;
      });
      request.on('end', () => {
        const path = request.url!.replace('/api/2.0/mlflow/', '');
        if (state.broken && path === 'runs/log-batch') return request.socket.destroy();
        requests.push({ path, body: body ? JSON.parse(body) : {} });
        const [status, answer] = path.startsWith('experiments/get-by-name')
          ? [404, { error_code: 'RESOURCE_DOES_NOT_EXIST' }]
          : path === 'experiments/create'
            ? [200, { experiment_id: '7' }]
            : path === 'runs/create'
              ? [200, { run: { info: { run_id: 'r1' } } }]
              : [200, {}];
        response.writeHead(status as number).end(JSON.stringify(answer));
      });
    });
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    const { port } = http.address() as AddressInfo;
    const close = () => new Promise((resolve) => http.close(resolve).closeAllConnections());
    return { requests, state, close, trackingUri: `http://127.0.0.1:${port}` };
  }
  const sent = (requests: { path: string; body: Record<string, unknown> }[]) =>
    requests
      .filter(({ path }) => path === 'runs/log-batch')
      .flatMap(
        ({ body }) => (body.metrics ?? []) as { key: string; value: number; step: number }[],
      );

  test('gets an experiment, a run with parameters, metrics by step, and the end', async () => {
    const { requests, close, trackingUri } = await server();
    const callback = new MlflowCallback({
      trackingUri,
      experimentName: 'a b',
      tags: { team: 'x' },
    });
    const { trainer } = await train({ callbacks: [callback], args: { runName: 'one' } });
    await close();
    expect(requests[0]!.path).toBe('experiments/get-by-name?experiment_name=a%20b');
    expect(requests[1]).toEqual({ path: 'experiments/create', body: { name: 'a b' } });
    expect(requests[2]).toMatchObject({
      path: 'runs/create',
      body: { experiment_id: '7', run_name: 'one', tags: [{ key: 'team', value: 'x' }] },
    });
    const params = requests.flatMap(
      ({ body }) => (body.params ?? []) as { key: string; value: string }[],
    );
    expect(params).toContainEqual({ key: 'max_steps', value: '4' });
    for (const { body } of requests)
      expect(((body.params as []) ?? []).length).toBeLessThanOrEqual(100);
    const { logHistory } = trainer.state;
    expect(sent(requests)).toContainEqual(
      expect.objectContaining({ key: 'loss', value: logHistory[0]!.loss, step: 2 }),
    );
    expect(sent(requests)).toContainEqual(
      expect.objectContaining({ key: 'eval_loss', value: logHistory[2]!.evalLoss, step: 4 }),
    );
    expect(requests.at(-1)).toMatchObject({
      path: 'runs/update',
      body: { run_id: 'r1', status: 'FINISHED' },
    });
  });

  test('a server that is away for a while loses nothing and stops nothing', async () => {
    const { requests, state, close, trackingUri } = await server();
    const trainer = train({
      callbacks: [
        new MlflowCallback({ trackingUri }),
        {
          onStepBegin({ state: { globalStep } }) {
            state.broken = globalStep < 3;
          },
        },
      ],
      args: { loggingSteps: 1 },
    });
    state.broken = false;
    const { logger } = await trainer;
    await close();
    const losses = sent(requests).filter(({ key }) => key === 'loss');
    expect(losses.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
    expect(logger.lines.filter((line) => line.includes('tried again')).length).toBeLessThanOrEqual(
      1,
    );
  });

  test('one that is not there is an error before the first update', async () => {
    const { close, trackingUri } = await server();
    await close();
    await expect(train({ callbacks: [new MlflowCallback({ trackingUri })] })).rejects.toThrow(
      /CALLBACK_FAILED: callback "MLflowCallback" failed in onTrainBegin.*MLFLOW: .*runs|experiments[\s\S]*mlflow server/,
    );
  });
});

describe('log.jsonl', () => {
  test('is the log history, also after a resume; an earlier one is kept', async () => {
    const args = { reportTo: 'jsonl', saveStrategy: 'steps', saveSteps: 2 } as const;
    const first = await train({ args });
    const read = async (name: string) =>
      (await readFile(join(first.outputDir, name), 'utf8'))
        .trim()
        .split('\n')
        .map((l) => JSON.parse(l));
    const rows = await read('log.jsonl');
    expect(rows).toHaveLength(first.trainer.state.logHistory.length);
    expect(rows[0]).toMatchObject({
      step: 2,
      grad_norm: first.trainer.state.logHistory[0]!.gradNorm,
    });

    const resumeFromCheckpoint = join(first.outputDir, 'checkpoint-2');
    await train({ args: { ...args, outputDir: first.outputDir, resumeFromCheckpoint } });
    const again = await read('log.jsonl');
    expect(again.map((row) => row.loss)).toEqual(rows.map((row) => row.loss));

    await writeFile(join(first.outputDir, 'log.1.jsonl'), 'taken\n');
    await train({ args: { ...args, outputDir: first.outputDir } });
    expect(await read('log.2.jsonl')).toEqual(again);
  });
});

describe('reportTo', () => {
  test('all means the trackers that write files; none and null mean none', async () => {
    const { outputDir } = await train({ args: { reportTo: 'all' } });
    expect((await readdir(outputDir)).sort()).toEqual([
      'log.jsonl',
      'loss.svg',
      'report.html',
      'runs',
      'wandb',
    ]);
    for (const reportTo of ['none', null, [], ['none']] as const)
      expect(await readdir((await train({ args: { reportTo } })).outputDir)).toEqual([]);
  });

  test('loggingDir takes the files elsewhere', async () => {
    const loggingDir = await temporaryFolder();
    const { outputDir } = await train({ args: { reportTo: ['jsonl', 'tensorboard'], loggingDir } });
    expect((await readdir(loggingDir)).sort()).toEqual([
      expect.stringMatching(/^events/),
      'log.jsonl',
    ]);
    expect(await readdir(outputDir)).toEqual([]);
  });

  test('an unknown name is an error with the nearest one', async () => {
    await expect(train({ args: { reportTo: 'tensorbord' } })).rejects.toThrow(
      /UNKNOWN_NAME.*tensorbord[\s\S]*tensorboard/,
    );
    const attune = await createAttune({ backend: 'reference' });
    const trackers = ['tensorboard', 'wandb', 'mlflow', 'jsonl', 'html'];
    expect(attune.registry(Trackers).names).toEqual(trackers);
    expect(attune.registry(Callbacks).names).toEqual(['progress']);
  });
});

describe('other options of the log', () => {
  test('includeNumInputTokensSeen adds the count to each row', async () => {
    const { trainer } = await train({ args: { includeNumInputTokensSeen: true } });
    const [first, second] = trainer.state.logHistory;
    expect(first!.numInputTokensSeen).toBeGreaterThan(0);
    expect(second!.numInputTokensSeen).toBe(trainer.state.numInputTokensSeen);
  });
});
