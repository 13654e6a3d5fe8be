import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { main } from '@attune/cli';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fixture, fixtures } from '../../core/test/models/support.js';

let folder: string;
let rows: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-cli-'));
  rows = join(folder, 'rows.jsonl');
  await writeFile(
    rows,
    ['a', 'b', 'c', 'd']
      .map((p) => JSON.stringify({ prompt: `Say ${p}`, completion: p }))
      .join('\n'),
  );
});
afterAll(() => rm(folder, { recursive: true }));

async function attune(...args: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const status = await main(args, { out: (t) => out.push(t), err: (t) => err.push(t) });
  return { status, out: out.join('\n'), err: err.join('\n') };
}
const model = fixture('tokenizers/bpe-llama3');
const chatml = resolve(fixtures, '../chat_templates/chatml.jinja');

describe('attune', () => {
  test('--help names the commands', async () => {
    expect(await attune('--help')).toMatchObject({
      status: 0,
      out: expect.stringMatching(/inspect/),
    });
    expect(await attune()).toMatchObject({ status: 2, out: expect.stringMatching(/Usage/) });
    expect(await attune('inspect', '--help')).toMatchObject({
      status: 0,
      out: expect.stringMatching(/--assistant-only-loss/),
    });
    expect(await attune('inspekt')).toMatchObject({
      status: 2,
      err: expect.stringMatching(/Did you mean "inspect"/),
    });
  });
});

describe('attune inspect', () => {
  test('shows the rows without a model', async () => {
    const { status, out } = await attune(
      'inspect',
      '--model',
      model,
      '--data',
      rows,
      '--rows',
      '2',
    );
    expect(status).toBe(0);
    expect(out).toMatch(/^4 training rows\n/);
    expect(out).toContain(`${rows}:1: `);
    expect(out).toContain('    | <s>Say a⟦a</s>⟧');
    expect(out).not.toContain('Say c');
  });

  test('options change what is trained', async () => {
    const chat = join(folder, 'chat.json');
    const messages = [
      { role: 'user', content: 'hi' },
      { role: 'assistant', content: 'yo' },
    ];
    await writeFile(chat, JSON.stringify([{ messages }]));
    const base = ['inspect', '--model', model, '--data', chat, '--chat-template', chatml];
    const only = await attune(...base, '--assistant-only-loss');
    expect(only.out).toContain('    | ⟦yo<|im_end|>↵⟧');
    expect((await attune(...base)).out).not.toContain('⟦yo');
    const prompts = ['inspect', '--model', model, '--data', rows, '--no-completion-only-loss'];
    expect((await attune(...prompts)).out).toContain('    | <s>⟦Say aa</s>⟧');
    const cut = await attune('inspect', '--model', model, '--data', rows, '--max-length', '5');
    expect(cut.out).toMatch(/after being cut off at 5|cut off after 5/);
  });

  test('a part of the rows, several files, lines of text, JSON', async () => {
    const text = join(folder, 'text.txt');
    await writeFile(text, 'one\ntwo\n');
    const json = await attune(
      ...[
        'inspect',
        '--model',
        model,
        '--data',
        rows,
        '--data',
        rows,
        '--split',
        'train[:6]',
        '--json',
      ],
    );
    expect(JSON.parse(json.out)).toMatchObject({ rows: 6, stopShare: 1, problems: [] });
    expect((await attune('inspect', '--model', model, '--data', text)).out).toMatch(
      /^2 training rows/,
    );
  });

  test('exits with 1 where training would be refused', async () => {
    const doubled = join(folder, 'doubled.jsonl');
    await writeFile(doubled, JSON.stringify({ text: '<s>hello' }));
    const { status, out } = await attune('inspect', '--model', model, '--data', doubled);
    expect(status).toBe(1);
    expect(out).toMatch(/REFUSED: 1 row begins with two BOS tokens.*\n {4}Fix: /);
  });

  test.each([
    ['a missing option', ['--model', model], /--data is missing/],
    ['an option that is none', ['--model', model, '--dat', 'x'], /CLI_ARGUMENTS.*--dat/],
    [
      'a number that is none',
      ['--model', model, '--data', 'x', '--rows', 'all'],
      /--rows is "all"/,
    ],
    ['a file that is not there', ['--model', model, '--data', '/no/such.jsonl'], /DATASET_FILE/],
    ['a folder that is not there', ['--model', './no/such', '--data', 'x'], /MODEL_FOLDER_MISSING/],
  ])('%s', async (_, args, message) => {
    expect(await attune('inspect', ...args)).toMatchObject({
      status: 2,
      err: expect.stringMatching(message),
    });
  });
});
