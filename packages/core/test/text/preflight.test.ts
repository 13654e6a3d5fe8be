import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { WriteStream } from 'node:tty';
import {
  AutoTokenizer,
  collateTokens,
  Dataset,
  type PreflightReport,
  type Tokenizer,
} from '@attune/core';
import { type InspectOptions, inspectRows, Preflight, tokenizeSft } from '@attune/core/text';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { fixture, fixtures } from '../models/support.js';

const template = (name: string): string =>
  readFileSync(resolve(fixtures, `../chat_templates/${name}.jinja`), 'utf8');

let tokenizer: Tokenizer;
let eos: number;
beforeEach(async () => {
  tokenizer = await AutoTokenizer.fromPretrained(fixture('tokenizers/bpe-llama3'));
  tokenizer.chatTemplate = template('llama3');
  eos = tokenizer.eosTokenId!;
});

const inspectOptions = (): InspectOptions => ({
  tokenizer,
  eosTokenIds: [eos],
  maxLength: 64,
  vocabSize: 1000,
  completionOnlyLoss: null,
  assistantOnlyLoss: false,
});
const inspect = (rows: object[], more: Partial<InspectOptions> = {}): PreflightReport =>
  inspectRows(Dataset.from(rows, 'rows'), { ...inspectOptions(), ...more });
const checks = (report: PreflightReport) => report.problems.map((p) => [p.check, p.refused]);
const plain = (report: PreflightReport) => report.format({ color: false });

const chat = [
  { role: 'user', content: 'hi' },
  { role: 'assistant', content: 'yo' },
];
/** A template that ends no turn with a token. */
const endless = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}";

describe('what is shown', () => {
  test('trained text in marks, counts, and the hash of the template', () => {
    const report = inspect(
      [{ messages: chat }, { prompt: chat.slice(0, 1), completion: chat.slice(1) }],
      {
        assistantOnlyLoss: true,
      },
    );
    expect(report.facts).toMatchObject({ rows: 2, leftOut: 0, answers: 2, answersWithStop: 2 });
    expect(report.facts.templateHash).toMatch(/^[0-9a-f]{64}$/);
    expect(report.stopTokens).toEqual([
      { id: tokenizer.tokenToId('<|eot_id|>'), text: '<|eot_id|>', rows: 2 },
    ]);
    const text = plain(report);
    expect(text).toContain('    | ⟦yo<|eot_id|>⟧');
    expect(text).toMatch(/trained +\d+ of \d+ tokens \(\d+\.\d %\)/);
    expect(text).toContain(report.facts.templateHash!.slice(0, 16));
    for (const { segments, tokens, trainedTokens } of report.samples) {
      expect(segments.reduce((n, s) => n + s.tokens, 0)).toBe(tokens);
      expect(trainedTokens).toBeLessThan(tokens);
    }
  });

  test('with colours: no marks, each line painted by itself', () => {
    const text = inspect([{ prompt: 'a\nb', completion: 'c\nd' }]).format({ color: true });
    expect(text).not.toContain('⟦');
    expect(text).toContain('\u001b[32mc\u001b[0m\n');
    expect(text).toContain('    | \u001b[32md</s>\u001b[0m');
  });

  test('String() has no colours where standard output is no terminal', () => {
    expect(process.stdout.isTTY).not.toBe(true);
    expect(String(inspect([{ text: 'a' }]))).not.toContain('\u001b');
  });

  test('String() has colours on a terminal that has some, unless NO_COLOR or TERM=dumb is set', () => {
    const { hasColors, getColorDepth } = WriteStream.prototype;
    const terminal = { isTTY: true, hasColors, getColorDepth };
    const own = Object.getOwnPropertyDescriptors(process.stdout);
    const painted = (env: Record<string, string>): boolean => {
      // TMUX: what Node believes before it asks for the names of terminals and build machines.
      const able = { TERM: 'xterm', TMUX: '1', NO_COLOR: undefined, FORCE_COLOR: undefined };
      const rest = { NODE_DISABLE_COLORS: undefined, ...env };
      for (const [name, value] of Object.entries({ ...able, ...rest })) vi.stubEnv(name, value);
      return String(inspect([{ text: 'a' }])).includes('\u001b');
    };
    try {
      for (const [name, value] of Object.entries(terminal))
        Object.defineProperty(process.stdout, name, { value, configurable: true });
      expect(painted({})).toBe(true);
      expect(painted({ NO_COLOR: '1' })).toBe(false);
      expect(painted({ TERM: 'dumb' })).toBe(false);
    } finally {
      for (const name of Object.keys(terminal)) {
        if (own[name]) Object.defineProperty(process.stdout, name, own[name]);
        else Reflect.deleteProperty(process.stdout, name);
      }
      vi.unstubAllEnvs();
    }
  });

  test('control characters of the data do not reach the terminal', () => {
    expect(plain(inspect([{ text: 'a\u001b[2Jb\r' }]))).toContain('\\x1b[2Jb\\r');
  });

  test('the middle of long text is left out, its ends stay', () => {
    const text = plain(
      inspect([{ prompt: 'x '.repeat(300), completion: 'end' }], { maxLength: 2000 }),
    );
    expect(text).toMatch(/ \.\.\. \d+ characters \.\.\. /);
    expect(text).toContain('⟦end</s>⟧');
  });

  test('characters of several tokens stay whole', () => {
    const text = plain(inspect([{ prompt: '日本', completion: '語 🙂' }]));
    expect(text).toContain('⟦語 🙂</s>⟧');
    expect(text).not.toContain('\ufffd');
  });

  test('as many rows as asked for', () => {
    const rows = ['a', 'b', 'c', 'd', 'e'].map((text) => ({ text }));
    expect(inspect(rows).samples).toHaveLength(3);
    expect(inspect(rows, { rows: 5 }).samples.map((s) => s.origin)).toEqual(
      [0, 1, 2, 3, 4].map((i) => `rows[${i}]`),
    );
    expect(inspect(rows, { rows: 0 }).samples).toEqual([]);
  });

  test('rows of ids without a tokenizer: the ids', () => {
    const report = inspect([{ input_ids: [5, 6, 7], labels: [-100, -100, 7] }], {
      tokenizer: null,
    });
    expect(plain(report)).toContain('    | 5 6 ⟦7⟧');
    expect(report.problems).toEqual([]);
  });

  test('is JSON, too', () => {
    const json = JSON.parse(JSON.stringify(inspect([{ text: 'a' }, { text: '<s>b' }])));
    expect(json).toMatchObject({
      rows: 2,
      doubledBos: 1,
      stopShare: 1,
      problems: [{ check: 'doubled-bos' }],
    });
    expect(json.samples[0].segments.length).toBeGreaterThan(0);
  });
});

describe('what is refused, with the row, its ids and its text', () => {
  const refusal = (rows: object[], more: Partial<InspectOptions> = {}) =>
    inspect(rows, more).refusal();

  test('a row that teaches nothing though nothing was cut off', () => {
    const ids = tokenizer.encode('all of it is masked');
    const error = refusal([{ text: 'a' }, { input_ids: ids, labels: ids.map(() => -100) }])!;
    expect(error.code).toBe('NO_TRAINED_TOKEN');
    expect(error.message).toMatch(
      /1 row .*rows\[1\]: "<s>all of it is masked", ids \[0, .*allow: \['no-trained-token'\]/s,
    );
    expect(error.details).toMatchObject({
      origin: 'rows[1]',
      inputIds: ids,
      text: '<s>all of it is masked',
    });
  });

  test('but not one whose answer was cut off, nor one of a single token', () => {
    const long = { prompt: 'word '.repeat(80), completion: 'x' };
    const report = inspect([{ text: 'a' }, long, { input_ids: [5] }]);
    expect(report.refusal()).toBeNull();
    expect(report.facts.leftOut).toBe(2);
  });

  test('conversations of which none teaches to stop', () => {
    tokenizer.chatTemplate = endless;
    const error = refusal([{ messages: chat }])!;
    expect(error.code).toBe('NO_STOP_TOKEN');
    expect(error.message).toMatch(/none of 1 answers.*<\/s>.*assistant: yo\\n/);
    expect(refusal([{ messages: chat }], { assistantOnlyLoss: true })!.code).toBe('NO_STOP_TOKEN');
    expect(refusal([{ messages: chat }], { allow: ['no-stop-token'] })).toBeNull();
  });

  test('an end token that the mask leaves out', () => {
    tokenizer.chatTemplate = template('llama3').replace(
      "{{- message['content'] | trim + '<|eot_id|>' }}\n        {%- endgeneration %}",
      "{{- message['content'] | trim }}\n        {%- endgeneration %}{{- '<|eot_id|>' }}",
    );
    expect(refusal([{ messages: chat }], { assistantOnlyLoss: true })!.code).toBe('NO_STOP_TOKEN');
    // Everything is learned: the end token, too.
    expect(refusal([{ messages: chat }])).toBeNull();
  });

  test('answers that are all cut off say so', () => {
    const rows = [{ prompt: 'q', completion: 'word '.repeat(80) }];
    const error = refusal(rows, { maxLength: 20 })!;
    expect(error.code).toBe('NO_STOP_TOKEN');
    expect(error.remedy).toContain('raise maxLength');
  });

  test('prompts that fill the length everywhere: nothing is left', () => {
    const error = refusal([{ prompt: 'word '.repeat(80), completion: 'x' }])!;
    expect(error.code).toBe('NO_ROWS');
    expect(error.message).toMatch(/none of the 1 training rows.*\n.*raise maxLength\.$/);
  });

  test('two BOS tokens: text that a template made already', () => {
    const text = tokenizer.applyChatTemplate(chat, { tokenize: false });
    for (const row of [{ text }, { prompt: text, completion: 'x' }]) {
      const error = refusal([row])!;
      expect(error.code).toBe('DOUBLED_BOS');
      expect(error.message).toMatch(/rows\[0\]: "<s><s>/);
    }
    expect(refusal([{ messages: chat }])).toBeNull();
  });

  test('a prompt that renders otherwise alone', () => {
    tokenizer.chatTemplate = template('llama3').replace(
      "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}",
      "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n<think>\\n' }}\n{%- endif %}",
    );
    const row = { prompt: chat.slice(0, 1), completion: chat.slice(1) };
    const error = refusal([row])!;
    expect(error.code).toBe('PROMPT_MISMATCH');
    expect(error.message).toContain('"<think>\\n"');
    expect(refusal([row], { allow: ['prompt-mismatch'] })).toBeNull();
  });

  test('several things at once: all are said, the first gives the code', () => {
    tokenizer.chatTemplate = endless;
    const error = refusal([{ messages: chat }, { text: '<s>b' }])!;
    expect(error.code).toBe('NO_STOP_TOKEN');
    expect(error.message).toMatch(/two BOS[\s\S]*\['no-stop-token', 'doubled-bos'\]/);
  });
});

describe('what is said and not refused', () => {
  test('rows that are cut off before their end token', () => {
    const rows = [
      { prompt: 'a', completion: 'b' },
      { prompt: 'a', completion: 'word '.repeat(80) },
    ];
    const report = inspect(rows);
    expect(checks(report)).toEqual([['few-stop-tokens', false]]);
    expect(report.stopShare).toBe(0.5);
  });

  test('an end token where generate() does not stop', () => {
    tokenizer.chatTemplate = template('chatml');
    const report = inspect([{ messages: chat }]);
    expect(checks(report)).toEqual([['stop-is-not-eos', false]]);
    expect(report.problems[0]!.message).toMatch(/<\|im_end\|>.*generate\(\) stops at <\/s>/);
    const known = { eosTokenIds: [eos, tokenizer.tokenToId('<|im_end|>')!] };
    expect(checks(inspect([{ messages: chat }], known))).toEqual([]);
  });

  test('two EOS tokens, and labels that are shifted already', () => {
    expect(checks(inspect([{ text: 'a</s></s>' }]))).toEqual([['doubled-eos', false]]);
    expect(checks(inspect([{ input_ids: [35, 36, 37], labels: [36, 37, -100] }]))).toEqual([
      ['other-labels', false],
    ]);
  });
});

describe('what is right stays unrefused', () => {
  const cases: [string, object[], Partial<InspectOptions>?][] = [
    ['plain text', [{ text: 'a b c' }]],
    [
      'plain text that is cut off everywhere: no end is to be learned',
      [{ text: 'word '.repeat(99) }],
    ],
    ['ids without an end', [{ input_ids: [20, 21, 22] }]],
    ['ids with labels', [{ input_ids: [20, 21, 22], labels: [-100, 21, 22] }]],
    ['prompt + completion', [{ prompt: 'a', completion: 'b' }]],
    ['an empty answer: it ends', [{ prompt: 'a', completion: '' }]],
    ['the same word twice at the start', [{ text: 'the the' }]],
  ];
  test.each(cases)('%s', (_, rows, more = {}) => {
    expect(inspect(rows, more).problems).toEqual([]);
  });

  test('a tokenizer without an EOS: said, for answers alone', () => {
    const none = {
      eosToken: null,
      eosTokenId: null,
      encode: (text: string) => [...text].map((c) => c.charCodeAt(0)),
      applyChatTemplate: () => '',
    };
    const more = { tokenizer: none, eosTokenIds: [] };
    expect(checks(inspect([{ prompt: 'a', completion: 'b' }], more))).toEqual([
      ['no-eos-token', false],
    ]);
    expect(checks(inspect([{ text: 'ab' }], more))).toEqual([]);
  });

  test('ids that are padded on the left with a token that is BOS, EOS and padding at once', () => {
    const gpt2 = {
      eosToken: 'E',
      eosTokenId: 9,
      bosTokenId: 9,
      padTokenId: 9,
      encode: () => [],
      applyChatTemplate: () => '',
    };
    const row = { input_ids: [9, 9, 9, 5, 6, 9], labels: [-100, -100, -100, 5, 6, 9] };
    expect(checks(inspect([row], { tokenizer: gpt2, eosTokenIds: [9] }))).toEqual([]);
  });

  test('padding with the EOS hides no end: it is a length, not an id', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'attune-pad-'));
    try {
      await tokenizer.savePretrained(folder);
      const config = { bos_token: '<s>', eos_token: '</s>', pad_token: '</s>' };
      await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(config));
      const padded = await AutoTokenizer.fromPretrained(folder);
      expect(padded.padTokenId).toBe(padded.eosTokenId);
      const rows = [
        { prompt: 'a', completion: 'b' },
        { prompt: 'a', completion: 'a longer answer than that' },
      ];
      expect(inspect(rows, { tokenizer: padded }).stopShare).toBe(1);
      const { eosTokenIds: _, ...options } = { ...inspectOptions(), tokenizer: padded };
      const examples = rows.map((row) => tokenizeSft(row, 'row', options).example!);
      const { labels, inputIds } = collateTokens(examples, 64);
      const width = inputIds.shape[1];
      const short = examples[0]!.inputIds.length;
      // Labels are shifted: the last token is learned at the place before it.
      expect(labels.data[short - 2]).toBe(eos);
      expect([...labels.data.slice(short - 1, width)].every((label) => label === -100)).toBe(true);
      expect([...labels.data].filter((label) => label === eos)).toHaveLength(2);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('rows of several texts', () => {
  const example = (prompt: number, length: number) => {
    const inputIds = Int32Array.from({ length }, (_, i) => 3 + i);
    return { inputIds, labels: inputIds.map((id, i) => (i < prompt ? -100 : id)) };
  };
  const text = (part: string, length = 4, more: object = {}) => ({
    example: example(2, length),
    tokens: example(2, length),
    kind: 'tokens' as const,
    truncated: false,
    boundaryMerged: false,
    promptMismatch: null,
    part,
    ...more,
  });
  const context = {
    tokenizer: null,
    eosTokenIds: [],
    maxLength: 8,
    word: 'scored',
    conditions: {
      equal: { label: 'both are equal', message: 'both are equal in every row.', remedy: 'Look.' },
      odd: { label: 'odd', message: 'every row is odd.', remedy: 'Look.', isRefused: false },
    },
  };

  test('count as one row, and are shown together', () => {
    const preflight = new Preflight({ ...context, rows: 1 });
    preflight.add('a', [text('first'), text('second', 5)], ['equal']);
    preflight.add('b', [text('first'), text('second')]);
    preflight.add('c', [text('first'), text('second', 1, { example: null, truncated: true })]);
    const report = preflight.report();
    const counts = { rows: 3, texts: 4, leftOut: 1, leftOutTruncated: 1, tokens: 17 };
    expect(report.facts).toMatchObject(counts);
    expect(report.samples.map(({ origin }) => origin)).toEqual(['a first', 'a second']);
    expect(report.problems).toEqual([]);
    expect(plain(report)).toContain('1 row: both are equal (first: a)');
    expect(plain(report)).toContain('a second: 5 tokens, 3 scored');
    expect(report.toJSON()).toMatchObject({ conditions: { equal: 1, odd: 0 } });
  });

  test('a condition of every row is refused, unless it is allowed or only said', () => {
    const report = (conditions: readonly string[], allow: readonly string[] = []) => {
      const preflight = new Preflight({ ...context, allow });
      preflight.add('a', text('first'), conditions);
      return preflight.report();
    };
    expect(report(['equal']).refusal()?.code).toBe('EQUAL');
    expect(report(['equal'], ['equal']).refusal()).toBeNull();
    expect(report(['odd'])).toMatchObject({ problems: [{ check: 'odd', refused: false }] });
  });

  test('what else is judged stands among the problems', () => {
    const problem = { check: 'mine', refused: true, message: 'm', remedy: 'r', details: {} };
    const preflight = new Preflight({
      ...context,
      judge: ({ rows }) => (rows === 1 ? [problem] : []),
    });
    preflight.add('a', text('first'));
    expect(preflight.report().refusal()?.code).toBe('MINE');
  });

  test('a merged boundary is shown, wherever it is', () => {
    const preflight = new Preflight({ ...context, rows: 1 });
    preflight.add('a', text('first'));
    preflight.add('b', text('first', 4, { boundaryMerged: true, promptEnd: [9] }));
    expect(preflight.report().samples).toMatchObject([
      { origin: 'a first' },
      { origin: 'b first', boundary: { alone: '"9" (9)', within: '"5" (5)' } },
    ]);
    expect(preflight.report(0).samples).toEqual([]);
  });
});
