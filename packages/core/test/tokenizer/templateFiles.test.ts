import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { AutoTokenizer, type Tokenizer } from '@attune/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveHub } from '../io/hubServer.js';
import { fixture } from '../models/support.js';

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-templates-'));
});
afterAll(() => rm(scratch, { recursive: true }));

const base = fixture('tokenizers/bpe-llama3');
type Files = Readonly<Record<string, string>>;

async function folderOf(files: Files, config: object = {}): Promise<string> {
  const folder = await mkdtemp(join(scratch, 'tokenizer-'));
  const all = { ...(await filesOf(config)), ...files };
  for (const [name, content] of Object.entries(all)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
  return folder;
}
const filesOf = async (config: object): Promise<Record<string, string>> => {
  const given = JSON.parse(await readFile(join(base, 'tokenizer_config.json'), 'utf8')) as object;
  return {
    'tokenizer.json': await readFile(join(base, 'tokenizer.json'), 'utf8'),
    'tokenizer_config.json': JSON.stringify({ ...given, ...config }),
  };
};
const open = async (files: Files, config?: object): Promise<Tokenizer> =>
  AutoTokenizer.fromPretrained(await folderOf(files, config));

const messages = [{ role: 'user', content: 'hi' }];
const text = (tokenizer: Tokenizer, options: object = {}): string =>
  tokenizer.applyChatTemplate(messages, { tokenize: false, ...options });
const tools = [{ name: 'f' }];

const several = {
  'chat_template.jinja': 'default {{ messages[0].content }}',
  'additional_chat_templates/tool_use.jinja': 'tools {{ tools[0].name }}',
  'additional_chat_templates/rag.jinja': 'rag {{ documents[0].text }}',
};

describe('chat templates of a folder', () => {
  it('additional_chat_templates: tool_use is used with tools, others by name', async () => {
    const tokenizer = await open(several);
    expect(text(tokenizer)).toBe('default hi');
    expect(text(tokenizer, { tools })).toBe('tools f');
    expect(text(tokenizer, { tools: [], chatTemplate: 'default' })).toBe('default hi');
    expect(text(tokenizer, { chatTemplate: 'rag', documents: [{ text: 'd' }] })).toBe('rag d');
    expect(text(tokenizer, { chatTemplate: '{{ bos_token }}!' })).toBe('<s>!');
    expect(() => text(tokenizer, { chatTemplate: 'rga' })).toThrow(
      /CHAT_TEMPLATE: chatTemplate "rga".*default, rag, tool_use/,
    );
  });

  it('files come before tokenizer_config.json, that before chat_template.json', async () => {
    const legacy = { 'chat_template.json': JSON.stringify({ chat_template: 'legacy' }) };
    const config = { chat_template: 'config' };
    expect(text(await open({ ...legacy, 'chat_template.jinja': 'file' }, config))).toBe('file');
    expect(text(await open(legacy, config))).toBe('config');
    expect(text(await open(legacy))).toBe('legacy');
  });

  it('additional ones alone, and lists without a default, say so when none is named', async () => {
    const { 'chat_template.jinja': _, ...rest } = several;
    const tokenizer = await open(rest);
    expect(() => text(tokenizer)).toThrow(
      /CHAT_TEMPLATE: .*\(rag, tool_use\), none called "default"/,
    );
    expect(text(tokenizer, { tools })).toBe('tools f');
  });

  it('a list with an entry that is no template is refused', async () => {
    await expect(open({}, { chat_template: [{ name: 'a' }] })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });

  it('every special token with a name is a variable', async () => {
    const tokenizer = await open(
      {
        'chat_template.jinja': '{{ cls_token }}|{{ image_token }}|{{ boi_token }}|{{ eos_token }}',
      },
      {
        cls_token: '<s>',
        image_token: { content: '<unk>' },
        extra_special_tokens: { boi_token: '</s>' },
      },
    );
    expect(text(tokenizer)).toBe('<s>|<unk>|</s>|</s>');
  });

  it('all of them are fetched from the Hub', async () => {
    const files = { ...(await filesOf({})), ...several };
    await using hub = await serveHub({
      repo: 'owner/name',
      files: Object.fromEntries(Object.entries(files).map(([k, v]) => [k, Buffer.from(v)])),
    });
    const tokenizer = await AutoTokenizer.fromPretrained('owner/name', {
      hubUrl: hub.url,
      cacheDir: await mkdtemp(join(scratch, 'cache-')),
    });
    expect(text(tokenizer, { tools })).toBe('tools f');
  });
});

describe('savePretrained', () => {
  const saved = async (tokenizer: Tokenizer, into?: string) => {
    const folder = into ?? (await mkdtemp(join(scratch, 'saved-')));
    await tokenizer.savePretrained(folder);
    const names = await readdir(folder, { recursive: true });
    const config = JSON.parse(await readFile(join(folder, 'tokenizer_config.json'), 'utf8'));
    return { folder, names: names.filter((n) => n.includes('.jinja')).sort(), config };
  };

  it('writes every template where transformers does', async () => {
    const { folder, names } = await saved(await open(several));
    expect(names).toEqual(Object.keys(several).sort());
    expect(text(await AutoTokenizer.fromPretrained(folder), { tools })).toBe('tools f');
  });

  it('takes those of tokenizer_config.json and chat_template.json into files', async () => {
    const list = [
      { name: 'default', template: 'D' },
      { name: 'tool_use', template: 'T' },
    ];
    const first = await saved(await open({}, { chat_template: list, model_max_length: 1.0 }));
    expect(first.names).toEqual([
      'additional_chat_templates/tool_use.jinja',
      'chat_template.jinja',
    ]);
    expect(first.config).not.toHaveProperty('chat_template');
    const legacy = { 'chat_template.json': JSON.stringify({ chat_template: 'legacy' }) };
    const second = await saved(await open(legacy));
    expect(text(await AutoTokenizer.fromPretrained(second.folder))).toBe('legacy');
  });

  it('a template that was assigned is the only one', async () => {
    const tokenizer = await open(several);
    tokenizer.chatTemplate = 'mine';
    expect(text(tokenizer, { tools })).toBe('mine');
    const { folder, names } = await saved(tokenizer);
    expect(names).toEqual(['chat_template.jinja']);
    tokenizer.chatTemplate = null;
    expect((await saved(tokenizer, folder)).names).toEqual([]);
    expect((await AutoTokenizer.fromPretrained(folder)).chatTemplate).toBeNull();
  });

  it('a name that leads out of the folder is refused', async () => {
    const tokenizer = await open({}, { chat_template: [{ name: '../../x', template: 'a' }] });
    await expect(tokenizer.savePretrained(join(scratch, 'out'))).rejects.toMatchObject({
      code: 'CHAT_TEMPLATE',
    });
  });
});

describe('continueFinalMessage', () => {
  const template =
    '{% for m in messages %}[{{ m.role }}]{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content | trim }}<end>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}';
  const chat = [...messages, { role: 'assistant', content: 'The answer is ' }];

  it('ends within the last message', async () => {
    const tokenizer = await open({ 'chat_template.jinja': template });
    const go = (more: object = {}, given: object[] = chat) =>
      tokenizer.applyChatTemplate(given as typeof chat, {
        tokenize: false,
        continueFinalMessage: true,
        ...more,
      });
    expect(go()).toBe('[user]hi<end>[assistant]The answer is');
    const thinking = [...messages, { role: 'assistant', content: '', reasoning_content: 'hm ' }];
    expect(go({ continueFinalMessage: 'reasoning_content' }, thinking)).toBe(
      '[user]hi<end>[assistant]<think>hm ',
    );
    expect(() => go({}, [...messages, { role: 'assistant', content: null }])).toThrow(
      /no "content" to continue/,
    );
    expect(() => go({ addGenerationPrompt: true })).toThrow(/CHAT_TEMPLATE/);
  });
});
