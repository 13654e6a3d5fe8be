import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { AutoTokenizer, type ChatMessage, type Tokenizer } from '@attune/core';
import { assistantMask, tokenizeSft } from '@attune/core/text';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixture, fixtureJson, fixtures } from '../models/support.js';

/** parity/chat_templates: templates in the formats of well-known models, with {% generation %}. */
const template = (name: string): string =>
  readFileSync(resolve(fixtures, `../chat_templates/${name}.jinja`), 'utf8');
const untagged = (source: string): string =>
  source.replace(/\{%(-?)\s*(?:end)?generation\s*(-?)%\}/g, '{%$1 if true %}{% endif $2%}');
const open = (kind: string): Promise<Tokenizer> =>
  AutoTokenizer.fromPretrained(fixture(`tokenizers/${kind}`));

interface Conversation {
  readonly messages: ChatMessage[];
  readonly tools?: unknown[];
  readonly kwargs?: Record<string, unknown>;
}
const { conversations, cases: rendered } = fixtureJson('row112-chat-templates.json') as {
  conversations: Record<string, Conversation>;
  cases: {
    template: string;
    conversation: string;
    text: string | null;
    withPrompt: string | null;
  }[];
};
const inputOf = ({ tools, kwargs }: Conversation) => ({
  ...(tools && { tools }),
  ...(kwargs && { variables: kwargs }),
});

const tokenizers = new Map<string, Tokenizer>();
beforeAll(async () => {
  for (const kind of ['bpe-llama3', 'bpe-qwen2', 'bpe-bytefallback', 'unigram-bytefallback'])
    tokenizers.set(kind, await open(kind));
});

describe('row 112: the text of a conversation', () => {
  it.each([...new Set(rendered.map((c) => c.template))])('%s', (name) => {
    const tokenizer = tokenizers.get('bpe-llama3')!;
    for (const source of [template(name), untagged(template(name))]) {
      tokenizer.chatTemplate = source;
      for (const { conversation, text, withPrompt } of rendered.filter(
        (c) => c.template === name,
      )) {
        const chat = conversations[conversation]!;
        for (const [addGenerationPrompt, expected] of [
          [false, text],
          [true, withPrompt],
        ] as const) {
          const render = () =>
            tokenizer.applyChatTemplate(chat.messages, {
              ...inputOf(chat),
              tokenize: false,
              addGenerationPrompt,
            });
          if (expected === null) expect(render, conversation).toThrow(/CHAT_TEMPLATE/);
          else expect(render(), conversation).toBe(expected);
        }
      }
    }
  });
});

describe('row 113: which tokens the assistant wrote', () => {
  const { cases } = fixtureJson('row113-assistant-masks.json') as {
    cases: {
      tokenizer: string;
      template: string;
      conversation: string;
      ids: number[];
      mask: string;
    }[];
  };
  const bits = (mask: readonly (number | boolean)[]) => mask.map(Number).join('');

  const templates = [...new Set(cases.map((c) => c.template))];
  const casesOf = (name: string) => cases.filter((c) => c.template === name);

  it.each(templates)('%s: by its generation tags', (name) => {
    for (const { tokenizer: kind, conversation, ids, mask } of casesOf(name)) {
      const tokenizer = tokenizers.get(kind)!;
      tokenizer.chatTemplate = template(name);
      const chat = conversations[conversation]!;
      const found = tokenizer.applyChatTemplate(chat.messages, {
        ...inputOf(chat),
        returnAssistantTokensMask: true,
      });
      expect(found.inputIds, `${kind}, ${conversation}`).toEqual(ids);
      expect(bits(found.assistantMasks), `${kind}, ${conversation}`).toBe(mask);
    }
  });

  /**
   * What Qwen 3 renders otherwise once more follows: without the tags nobody can say what is whose.
   */
  const unknowable: Record<string, readonly string[]> = {
    qwen3: [
      'three turns',
      'ends with a question',
      'tool call and answer',
      'thinking as a field',
      'thinking in the words',
    ],
    // Asked not to think, its prompt has an empty thought that the answer has not.
    qwen3_kept: ['thinking in the words'],
  };

  it.each(templates)('%s: the same without the tags', (name) => {
    for (const { tokenizer: kind, conversation, ids, mask } of casesOf(name)) {
      const tokenizer = tokenizers.get(kind)!;
      tokenizer.chatTemplate = untagged(template(name));
      const chat = conversations[conversation]!;
      const find = () => assistantMask(tokenizer, chat.messages, inputOf(chat), 'a.jsonl:7');
      if (unknowable[name]?.includes(conversation)) {
        expect(find, conversation).toThrow(
          /TEMPLATE_PREFIX: a\.jsonl:7: .*<think>[\s\S]*Fix: .*generation/,
        );
        continue;
      }
      expect(find().ids).toEqual(ids);
      // Qwen 2.5's tags begin one token early, at the line break that ends the generation prompt.
      const expected = name === 'qwen2_5' ? mask.replaceAll('01', '00') : mask;
      expect(bits(find().mask), `${kind}, ${conversation}`).toBe(expected);
    }
  });
});

describe('row 113: what else templates do', () => {
  const messages = [
    { role: 'user', content: 'hi' },
    { role: 'assistant', content: 'yo' },
    { role: 'user', content: 'so' },
  ];
  const learned = (source: string, chat: ChatMessage[] = messages) => {
    const tokenizer = tokenizers.get('bpe-llama3')!;
    tokenizer.chatTemplate = source;
    const { inputIds, assistantMasks } = tokenizer.applyChatTemplate(chat, {
      returnAssistantTokensMask: true,
    });
    return tokenizer.decode(
      inputIds.filter((_, i) => assistantMasks[i]),
      { skipSpecialTokens: false },
    );
  };

  it('an end token after the last turn alone is refused: it would move the end of a turn', () => {
    const atEnd =
      '{% for m in messages %}[INST]{{ m.content }}{% if loop.last and m.role == "assistant" %}{{ eos_token }}{% endif %}{% endfor %}';
    expect(() => learned(atEnd)).toThrow(/TEMPLATE_PREFIX/);
    expect(learned(atEnd, messages.slice(0, 2))).toBe('[INST]yo</s>');
  });

  it('an answer before any question is learned from its first word', () => {
    const greeting = [{ role: 'assistant', content: 'Welcome' }, ...messages];
    expect(learned(untagged(template('llama3')), greeting)).toBe('Welcome<|eot_id|>yo<|eot_id|>');
    expect(learned(template('llama3'), greeting)).toBe('Welcome<|eot_id|>yo<|eot_id|>');
  });

  it('a token that lies across the edge of a turn belongs to it', () => {
    const joined =
      '{% for m in messages %}{% if m.role == "assistant" %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}';
    const chat = [
      { role: 'user', content: 'It is t' },
      { role: 'assistant', content: 'he ma' },
      { role: 'user', content: 'n it is' },
    ];
    // " the" and " man" are one token each.
    expect(learned(joined, chat)).toBe(' the man');
  });

  it('marks of spans are no part of the text, even where it holds such characters', () => {
    const chat = [
      { role: 'user', content: '\u{F0000}\u{F0001}' },
      { role: 'assistant', content: '\u{F0000}' },
    ];
    expect(learned(template('llama3'), chat)).toBe('\u{F0000}<|eot_id|>');
  });

  it('words that are tags are words', () => {
    const chat = [
      { role: 'user', content: '{% generation %}' },
      { role: 'assistant', content: '{{ 1 }}{% endgeneration %}' },
    ];
    expect(learned(template('llama3'), chat)).toBe('{{ 1 }}{% endgeneration %}<|eot_id|>');
  });

  it('tokens of a text that a normaliser changed stand where they came from', () => {
    const tokenizer = tokenizers.get('bpe-qwen2')!;
    tokenizer.chatTemplate = template('llama3');
    const chat = [
      { role: 'user', content: 'cafe\u0301' }, // NFC makes one letter of the last two
      { role: 'assistant', content: 'de\u0301ja' },
    ];
    expect(tokenizer.encodeSpans('xe\u0301', [[1, 3]]).inside).toEqual([false, true, true]);
    const { inputIds, assistantMasks } = tokenizer.applyChatTemplate(chat, {
      returnAssistantTokensMask: true,
    });
    const words = inputIds.filter((_, i) => assistantMasks[i]);
    expect(tokenizer.decode(words, { skipSpecialTokens: false })).toBe('d\u00e9ja<|eot_id|>');
  });

  it('line breaks of Windows in a template are line breaks', () => {
    const windows = template('gemma').replaceAll('\n', '\r\n');
    expect(learned(windows)).toBe('yo<end_of_turn>\n');
  });

  it('strip takes the characters that it is given, as in Python', () => {
    const tokenizer = tokenizers.get('bpe-llama3')!;
    tokenizer.chatTemplate =
      "{{ messages[0].content.lstrip('\\n') }}|{{ messages[0].content.strip('\\n ') }}|{{ messages[0].content.rstrip() }}";
    const text = tokenizer.applyChatTemplate([{ role: 'user', content: '\n  a \n' }], {
      tokenize: false,
    });
    expect(text).toBe('  a \n|a|\n  a');
  });
});

describe('row 114: rows as TRL prepares them', () => {
  interface Group {
    readonly name: string;
    readonly tokenizer: string;
    readonly template: string | null;
    readonly chatTemplate?: string;
    readonly mismatch?: string;
    readonly options: {
      completionOnlyLoss: boolean | null;
      assistantOnlyLoss: boolean;
      maxLength: number;
    };
    readonly rows: object[];
    readonly ids: number[][];
    readonly labels: number[][];
  }
  const { cases } = fixtureJson('row114-completion-masks.json') as { cases: Group[] };

  it.each(cases.map((c) => [c.name, c] as const))('%s', (_, group) => {
    const tokenizer = tokenizers.get(group.tokenizer)!;
    tokenizer.chatTemplate = group.chatTemplate ?? (group.template && template(group.template));
    const made = group.rows.map((row, i) =>
      tokenizeSft(row, `row ${i + 1}`, {
        ...group.options,
        tokenizer,
        vocabSize: tokenizer.vocabSize,
      }),
    );
    const kept = made.flatMap(({ example }) => (example ? [example] : []));
    expect(kept.map((e) => Array.from(e.inputIds))).toEqual(group.ids);
    expect(kept.map((e) => Array.from(e.labels))).toEqual(group.labels);
    for (const row of made) expect(row.promptMismatch).toBe(group.mismatch ?? null);
  });
});

describe('row 115: ids and text of Python tokenizers', () => {
  interface Case {
    readonly name: string;
    readonly ids: number[][];
    readonly withSpecial: number[][];
    /** By number of the text; a text that is not here decodes to itself. */
    readonly decoded: Record<string, string>;
    readonly decodedSkip: string[];
  }
  const { texts, cases } = fixtureJson('row115-tokenizers.json') as {
    texts: string[];
    cases: Case[];
  };

  it('500 texts, with CJK, emoji and special tokens', () => {
    expect(texts).toHaveLength(500);
  });

  it.each(cases.map((c) => [c.name, c] as const))('%s', (name, expected) => {
    const tokenizer = tokenizers.get(name)!;
    for (const [i, text] of texts.entries()) {
      const ids = tokenizer.encode(text, { addSpecialTokens: false });
      expect(ids, JSON.stringify(text)).toEqual(expected.ids[i]);
      const decoded = tokenizer.decode(ids, { skipSpecialTokens: false });
      expect(decoded, JSON.stringify(text)).toBe(expected.decoded[i] ?? text);
    }
    for (const [i, ids] of expected.withSpecial.entries())
      expect(tokenizer.encode(texts[i]!)).toEqual(ids);
    for (const [i, text] of expected.decodedSkip.entries())
      expect(tokenizer.decode(expected.ids[i]!)).toBe(text);
  });
});

it('null is what Python says for nothing: no tools, no documents, no template of its own', async () => {
  const tokenizer = await open('bpe-llama3');
  tokenizer.chatTemplate = new Map([
    ['default', "plain{{ 'x' if tools is none and documents is none }}"],
    ['tool_use', 'tools'],
  ]);
  const messages = [{ role: 'user', content: 'hi' }];
  const text = { tokenize: false } as const;
  const nothing = { tools: null, documents: null, variables: null, chatTemplate: null, ...text };
  expect(tokenizer.applyChatTemplate(messages, nothing)).toBe('plainx');
  expect(tokenizer.applyChatTemplate(messages, { tools: [], ...text })).toBe('tools');
});
