import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AutoTokenizer, loadDataset, type Tokenizer } from '@attune/core';
import { tokenizeSft } from '@attune/core/text';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSftRow } from '../../src/text/formats.js';
import { fixture, fixtureJson } from '../models/support.js';

let tokenizer: Tokenizer;
let scratch: string;
beforeAll(async () => {
  tokenizer = await AutoTokenizer.fromPretrained(fixture('tokenizers/bpe-llama3'));
  scratch = await mkdtemp(join(tmpdir(), 'attune-messages-'));
});
afterAll(() => rm(scratch, { recursive: true }));

const options = () => ({
  tokenizer,
  vocabSize: tokenizer.vocabSize,
  maxLength: 4096,
  completionOnlyLoss: null,
  assistantOnlyLoss: false,
});
const textOf = (row: unknown, chatTemplate: string): string => {
  tokenizer.chatTemplate = chatTemplate;
  const { tokens } = tokenizeSft(row, 'a.jsonl:1', options());
  return tokenizer.decode(tokens.inputIds, { skipSpecialTokens: false });
};

describe('row 120: null keys and parts, as TRL prepares them', () => {
  const { cases } = fixtureJson('row120-messages.json') as {
    cases: { name: string; chatTemplate: string; rows: object[]; ids: number[][] }[];
  };

  it.each(cases.map((c) => [c.name, c] as const))('%s', (_, { chatTemplate, rows, ids }) => {
    tokenizer.chatTemplate = chatTemplate;
    const made = rows.map((row) => tokenizeSft(row, 'a.jsonl:1', options()));
    expect(made.map(({ tokens }) => Array.from(tokens.inputIds))).toEqual(ids);
  });
});

describe('content as parts', () => {
  const row = {
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'one ' },
          { type: 'text', text: 'two' },
        ],
      },
      { role: 'assistant', content: [{ type: 'text', text: 'three' }] },
    ],
  };

  it('is its text for a template that takes texts alone', () => {
    const texts = '{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}';
    expect(textOf(row, texts)).toBe('[user]one two[assistant]three');
    const added = "{% for m in messages %}{{ '[' + m.role + ']' + m.content }}{% endfor %}";
    expect(textOf(row, added)).toBe('[user]one two[assistant]three');
  });

  it('reaches a template that takes parts as parts', () => {
    const parts =
      '{% for m in messages %}{% for p in m.content %}({{ p.text }}){% endfor %}{% endfor %}';
    expect(textOf(row, parts)).toBe('(one )(two)(three)');
  });

  it('that is not text is refused where the template takes texts alone', () => {
    const table = { messages: [{ role: 'user', content: [{ type: 'table' }] }] };
    expect(() => textOf(table, "{{ 'a' + messages[0].content }}")).toThrow(/TypeError/);
  });

  it('is masked as texts are', () => {
    tokenizer.chatTemplate =
      '{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}';
    const { inputIds, assistantMasks } = tokenizer.applyChatTemplate(row.messages, {
      returnAssistantTokensMask: true,
    });
    expect(tokenizer.decode(inputIds.filter((_, i) => assistantMasks[i]))).toBe('three');
  });
});

describe('a row', () => {
  it('may have null columns beside its own', () => {
    const row = { messages: null, conversations: null, text: 'a', prompt: null, input_ids: null };
    expect(readSftRow(row, 'x')).toEqual({ kind: 'text', text: 'a' });
  });

  it.each([
    { role: 'assistant' },
    { role: 'assistant', contents: 'a' },
    { role: null, content: 'a' },
    { role: 'user', content: 5 },
    { role: 'user', content: [5] },
    'text',
    null,
  ])('with the message %j is refused', (message) => {
    expect(() => readSftRow({ messages: [message] }, 'a.jsonl:3')).toThrow(
      /ROW_FORMAT: a\.jsonl:3: "messages"\[0\]/,
    );
  });

  it('from a file keeps the spelling of numbers and the order of keys for the template', async () => {
    const path = join(scratch, 'rows.jsonl');
    const args = '{"b":1.0,"10":1e-05,"2":12345678901234567890,"a":1}';
    await writeFile(
      path,
      `{"messages":[{"role":"user","content":"x","args":${args},"weight":1.0}]}\n`,
    );
    const rows = await loadDataset('json', { dataFiles: path, split: 'train' });
    expect((rows.at(0) as { messages: [{ weight: number }] }).messages[0].weight).toBe(1);
    expect(textOf(rows.at(0), '{{ messages[0].args | tojson }}|{{ messages[0].weight }}')).toBe(
      '{"b": 1.0, "10": 1e-05, "2": 12345678901234567890, "a": 1}|1.0',
    );
  });
});
