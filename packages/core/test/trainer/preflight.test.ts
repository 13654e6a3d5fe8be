import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AutoTokenizer,
  causalLmObjective,
  type EvalDataset,
  IterableDataset,
  SFTTrainer,
  type SftArgumentsInput,
  type Tokenizer,
  Trainer,
} from '@attune/core';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fixture } from '../models/support.js';
import { float32Attune, idRows, ListLogger, minuteLlama } from './support.js';

let attune: Attune;
let logger: ListLogger;
let tokenizer: Tokenizer;
let folder: string;
beforeEach(async () => {
  logger = new ListLogger();
  attune = await float32Attune(logger);
  tokenizer = await AutoTokenizer.fromPretrained(fixture('tokenizers/bpe-llama3'));
  tokenizer.chatTemplate =
    "{% for m in messages %}{{ '[INST]' + m.content if m.role == 'user' else m.content + eos_token }}{% endfor %}";
  folder = await mkdtemp(join(tmpdir(), 'attune-preflight-'));
});
afterEach(async () => {
  await attune.dispose();
  await rm(folder, { recursive: true });
});

const sft = async (
  rows: object[] | IterableDataset<object>,
  args: SftArgumentsInput = {},
  evalDataset?: EvalDataset,
) =>
  new SFTTrainer({
    model: await minuteLlama(attune, 0, { vocab_size: tokenizer.vocabSize }),
    tokenizer,
    trainDataset: rows,
    evalDataset,
    args: { outputDir: folder, maxSteps: 1, maxLength: 32, saveStrategy: 'no', ...args },
  });
const good = [
  { prompt: 'Say a', completion: 'b' },
  { prompt: 'Say c', completion: 'd' },
];
const shown = () => logger.lines.filter((line) => line.includes('training rows\n'));

describe('train() shows what is trained on before its first step', () => {
  test('through the logger, without colours, once', async () => {
    const trainer = await sft(good);
    await trainer.train();
    expect(shown()).toHaveLength(1);
    expect(shown()[0]).toMatch(/^info: 2 training rows\n[\s\S]*\| <s>Say a⟦b<\/s>⟧/);
    expect(logger.lines.join()).not.toContain('\u001b');
  });

  test('as many rows as asked for, or nothing', async () => {
    await (await sft(good, { preflight: { rows: 1 } })).train();
    expect(shown()[0]).not.toContain('Say c');
    logger.lines.length = 0;
    await (await sft(good, { preflight: 'off' })).train();
    expect(shown()).toEqual([]);
  });

  test('of a stream, its first rows', async () => {
    const stream = IterableDataset.from(() => Array.from({ length: 150 }, () => good[0]!));
    const trainer = await sft(stream);
    await trainer.train();
    expect(logger.lines).toContainEqual(
      expect.stringMatching(/^info: a stream, its first \d+ training rows\n/),
    );
    const fresh = await (await sft(stream)).preview({ rows: 1 });
    expect(fresh.facts).toMatchObject({ rows: 100, isStart: true });
    const wrong = IterableDataset.from(() => [{ text: '<s>a b' }]);
    await expect((await sft(wrong)).train()).rejects.toMatchObject({ code: 'DOUBLED_BOS' });
  });

  test('of evaluation rows their counts, of each set, and only where they are used', async () => {
    const evalDataset = {
      math: [...good, { prompt: 'a', completion: 'word '.repeat(40) }],
      code: IterableDataset.from(() => [good[0]!, good[0]!]),
    };
    await (await sft(good, { evalStrategy: 'epoch' }, evalDataset)).train();
    const about = logger.lines.filter((line) => line.includes('evaluation rows'));
    expect(about).toHaveLength(3);
    expect(about[0]).toMatch(/^warn: 1 of 3 evaluation rows "math": cut off after 32 tokens/);
    expect(about[1]).toMatch(/^info: 3 evaluation rows "math"\n {2}trained +\d+ of \d+ tokens/);
    expect(about[2]).toMatch(/^info: a stream, its first 2 evaluation rows "code"\n/);
    expect(about.join()).not.toContain('Say a'); // no samples
    logger.lines.length = 0;
    await (await sft(good, {}, evalDataset)).train();
    expect(logger.lines.filter((line) => line.includes('evaluation rows'))).toEqual([]);
  });

  test('warnings that refuse nothing go on their own', async () => {
    await (await sft([...good, { prompt: 'a', completion: 'word '.repeat(40) }])).train();
    expect(logger.lines).toContainEqual(
      expect.stringMatching(/^warn: 1 of 3 answers do not teach/),
    );
  });
});

describe('train() refuses', () => {
  const masked = { input_ids: [30, 31, 32], labels: [-100, -100, -100] };

  test('before anything runs, and leaves the weights alone', async () => {
    const trainer = await sft([...good, masked]);
    await expect(trainer.train()).rejects.toMatchObject({ code: 'NO_TRAINED_TOKEN' });
    expect(trainer.state.globalStep).toBe(0);
    // The report was shown: it is the proof.
    expect(logger.lines.join()).toContain('3 training rows');
  });

  test('evaluation rows too, also of a stream, by the same checks but those of stopping', async () => {
    const untrained = { input_ids: [5, 6, 7], labels: [-100, -100, -100] };
    const evaluating = { evalStrategy: 'epoch' } as const;
    for (const rows of [[...good, untrained], IterableDataset.from(() => [...good, untrained])]) {
      const trainer = await sft(good, evaluating, { math: good, code: rows });
      const error = await trainer.train().catch((e: unknown) => e);
      expect(error).toMatchObject({
        code: 'NO_TRAINED_TOKEN',
        details: { inputIds: [5, 6, 7], labels: [-100, -100, -100] },
      });
      expect(trainer.state.globalStep).toBe(0);
    }
    const allowed = { ...evaluating, preflight: { allow: ['no-trained-token' as const] } };
    await (await sft(good, allowed, [...good, untrained])).train();
    await (await sft(good, { ...evaluating, preflight: 'off' }, [...good, untrained])).train();
    await expect((await sft(good, evaluating, [{ text: '<s>a b' }])).train()).rejects.toMatchObject(
      { code: 'DOUBLED_BOS' },
    );
    await expect((await sft(good, evaluating, [])).train()).rejects.toMatchObject({
      code: 'NO_ROWS',
    });
    // Cut off before its end token: nothing to refuse where nothing is taught.
    await (await sft(good, evaluating, [{ prompt: 'a', completion: 'word '.repeat(40) }])).train();
  });

  test('unless the check is allowed by its name: then such rows are left out', async () => {
    const trainer = await sft([...good, masked], { preflight: { allow: ['no-trained-token'] } });
    expect((await trainer.train()).globalStep).toBe(1);
    expect(logger.lines).toContainEqual(
      expect.stringMatching(/warn: 1 of 3 training rows: nothing to learn from/),
    );
    await (await sft([...good, masked], { preflight: 'off' })).train();
  });

  test('rows that all teach nothing, by what they are', async () => {
    await expect((await sft([masked])).train()).rejects.toMatchObject({
      code: 'NO_TRAINED_TOKEN',
      message: expect.stringMatching(/ids \[30, 31, 32\]/),
    });
    const off = await sft([masked], { preflight: 'off' });
    await expect(off.train()).rejects.toMatchObject({ code: 'NO_ROWS' });
  });

  test('two BOS tokens, and answers without an end', async () => {
    await expect((await sft([{ text: '<s>a b' }])).train()).rejects.toMatchObject({
      code: 'DOUBLED_BOS',
    });
    tokenizer.chatTemplate = '{% for m in messages %}{{ m.content }}{% endfor %}';
    const messages = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b c' },
    ];
    await expect((await sft([{ messages }])).train()).rejects.toMatchObject({
      code: 'NO_STOP_TOKEN',
    });
  });

  test('not rows of ids, with a tokenizer or without', async () => {
    const trainer = new SFTTrainer({
      model: await minuteLlama(attune),
      trainDataset: idRows(4),
      args: { outputDir: folder, maxSteps: 1, saveStrategy: 'no' },
    });
    await trainer.train();
    expect(shown()[0]).toContain('4 training rows');
    await (await sft(idRows(4))).train();
  });
});

describe('the option', () => {
  test.each([
    ['a check that is none', { allow: ['no-stop'] }, 'ARGUMENTS_INVALID'],
    ['too many rows', { rows: 1000 }, 'ARGUMENTS_INVALID'],
    ['a key that is none', { skip: true }, 'UNKNOWN_OPTION'],
    ['another word', 'maybe', 'ARGUMENTS_INVALID'],
  ])('%s', async (_, preflight, code) => {
    await expect(sft(good, { preflight } as never)).rejects.toMatchObject({
      code,
      message: expect.stringContaining('preflight'),
    });
  });
});

describe('preview()', () => {
  test('is the same report as data, prints like it, and trains nothing', async () => {
    const trainer = await sft(good);
    const report = await trainer.preview({ rows: 1 });
    expect(report.samples).toHaveLength(1);
    expect(report.facts).toMatchObject({ rows: 2, answersWithStop: 2 });
    expect(String(report)).toBe(report.format({ color: false }));
    await trainer.train();
    expect(shown()[0]).toContain(String(await trainer.preview()));
  });

  test('shows what would be refused instead of throwing', async () => {
    const report = await (await sft([{ input_ids: [30, 31], labels: [-100, -100] }])).preview();
    expect(report.refusal()?.code).toBe('NO_TRAINED_TOKEN');
    expect(String(report)).toContain('REFUSED: 1 row has no trained token');
  });

  test('needs rows, and an objective that says what it trains', async () => {
    const model = await minuteLlama(attune);
    await expect(
      new SFTTrainer({ model, args: { outputDir: folder } }).preview(),
    ).rejects.toMatchObject({ code: 'NO_ROWS' });
    await expect((await sft([])).preview()).rejects.toMatchObject({ code: 'NO_ROWS' });
    const { rows, ...objective } = causalLmObjective({ maxLength: 8 });
    const { preflight: _, ...unwatched } = rows!;
    const trainer = new Trainer({
      model,
      objective: { ...objective, rows: unwatched },
      trainDataset: idRows(2),
    });
    await expect(trainer.preview()).rejects.toMatchObject({ code: 'PREVIEW_UNSUPPORTED' });
  });
});
