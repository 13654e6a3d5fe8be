import { z } from 'zod';
import { copyFile, join, readdir } from '#platform';
import { readJsonFile, writeJson } from '../io/hfConfig.js';
import { tokenizerFiles } from '../io/savedFiles.js';
import { saveWhole } from '../io/saveWhole.js';
import { describeValue, isPromise } from '../util/describeValue.js';
import { AttuneError } from '../util/errors.js';
import type { JsonValue } from '../util/losslessJson.js';
import { checkNames, type OptionsInput, parseOptions } from '../util/options.js';
import { requireFolder } from '../util/requireFolder.js';
import { assistantMask, type TemplateInput, templateInputShape } from './assistantMask.js';
import {
  type ChatMessage,
  ChatTemplate,
  type ChatTemplates,
  chooseTemplate,
  endShape,
  type RenderOptions,
  type Span,
} from './chatTemplate.js';
import { writeChatTemplates } from './chatTemplateFiles.js';
import { DecodeStream } from './decodeStream.js';
import type { AddedToken } from './engine/addedTokens.js';
import type { TokenizerEngine } from './engine/engine.js';
import { resolveTokenizer } from './pretrained/resolve.js';

/** What a tokenizer folder says, read. */
export interface TokenizerFiles {
  readonly folder: string;
  /** tokenizer.json */
  readonly tokenizer: Readonly<Record<string, unknown>>;
  /** tokenizer_config.json */
  readonly config: Readonly<Record<string, unknown>>;
  /** special_tokens_map.json */
  readonly specialTokensMap?: Readonly<Record<string, unknown>> | null;
  /** added_tokens.json */
  readonly addedTokens?: Readonly<Record<string, unknown>> | null;
  /** config.json of the model: its model_type may decide how the tokenizer is built. */
  readonly modelConfig?: Readonly<Record<string, unknown>> | null;
  readonly chatTemplate: ChatTemplates | null;
}

const encodeShape = {
  /** Add what the tokenizer puts around a text (a bos token, often). Default true. */
  addSpecialTokens: z.boolean().default(true).meta({ aka: 'specialtokens addbos' }),
};
const encodeOptions = z.strictObject(encodeShape);
const encodePlace = { where: 'encode' };

/** How a text becomes ids. */
export type EncodeOptions = OptionsInput<typeof encodeShape>;

const decodeShape = {
  /** Leave out bos, eos and the like. Default true (transformers: false). */
  skipSpecialTokens: z.boolean().default(true).meta({ aka: 'skipspecial' }),
};
const decodeOptions = z.strictObject(decodeShape);
const decodePlace = { where: 'decode' };

/** How ids become a text. */
export type DecodeOptions = OptionsInput<typeof decodeShape>;

const applyShape = {
  /** Return ids; false returns the text. Default true. */
  tokenize: z.boolean().default(true),
  /**
   * Return `{ inputIds, assistantMasks }`: 1 for each token that the assistant wrote. From
   * `{% generation %}` where the template has it, else by comparing what the messages before
   * render. Default false.
   */
  returnAssistantTokensMask: z
    .boolean()
    .default(false)
    .meta({ aka: 'returnassistantmask assistantmask' }),
};
const applyOptions = z.strictObject({ ...applyShape, ...endShape, ...templateInputShape });
const toVariables =
  'variables for the template go into one object: { variables: { enable_thinking: false } }';
const applyPlace = {
  where: 'applyChatTemplate',
  notes: { enablethinking: toVariables, thinking: toVariables },
};
const spansOptions = z.strictObject(templateInputShape);

/** Options of `tokenizer.applyChatTemplate`. */
export type ApplyChatTemplateOptions = OptionsInput<typeof applyShape> &
  RenderOptions &
  TemplateInput;

/** A rendered conversation as ids, with the tokens that the assistant wrote. */
export interface ChatTokensWithMask {
  readonly inputIds: number[];
  /** 0 or 1 for each of inputIds. */
  readonly assistantMasks: number[];
}

/**
 * Turns text into token ids and back, as a tokenizer.json says. `AutoTokenizer.fromPretrained`
 * opens one.
 */
export class Tokenizer {
  readonly bosToken: string | null;
  readonly eosToken: string | null;
  readonly padToken: string | null;
  readonly unkToken: string | null;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  /**
   * Null when the tokenizer has none: batches are then padded with the eos token, which is masked.
   */
  readonly padTokenId: number | null;
  readonly unkTokenId: number | null;
  /** Ids run from 0 to vocabSize - 1, added tokens included. */
  readonly vocabSize: number;
  /** Longest sequence the model was made for, in tokens; Infinity where the files do not say. */
  readonly modelMaxLength: number;
  /** Ids of added tokens: special ones and others that are never made by merging. */
  readonly addedTokenIds: ReadonlySet<number>;
  /** The added tokens by id, with how each is looked for in a text. */
  readonly addedTokens: ReadonlyMap<number, AddedToken>;
  readonly #engine: TokenizerEngine;
  /** Special tokens by name, a model's own too. */
  readonly #named: ReadonlyMap<string, string>;
  readonly #classToName: string | null;
  readonly #compiled = new Map<string, ChatTemplate>();
  /** Whether `decode` takes the spaces before punctuation away. */
  readonly #cleanUp: boolean;
  readonly #folder: string;
  #chatTemplate: ChatTemplates | null;
  #stream: DecodeStream | null = null;

  /**
   * @throws TOKENIZER_INVALID when a file is wrong, or tokenizer.json has a part that is not known
   */
  constructor(files: TokenizerFiles) {
    this.#folder = files.folder;
    this.#chatTemplate = files.chatTemplate;
    const { engine, json, special, classToName } = resolveTokenizer({
      specialTokensMap: null,
      addedTokens: null,
      modelConfig: null,
      ...files,
    });
    this.#engine = engine;
    // As in transformers 5: never for BPE, whose text it would corrupt, and only where the files
    // ask for it.
    this.#cleanUp = files.config.clean_up_tokenization_spaces === true && modelType(json) !== 'BPE';
    this.bosToken = special.get('bos_token') ?? null;
    this.eosToken = special.get('eos_token') ?? null;
    this.padToken = special.get('pad_token') ?? null;
    this.unkToken = special.get('unk_token') ?? modelUnknown(json);
    this.#named = special;
    this.#classToName = classToName;
    this.bosTokenId = this.#idOf(this.bosToken);
    this.eosTokenId = this.#idOf(this.eosToken);
    this.padTokenId = this.#idOf(this.padToken);
    this.unkTokenId = this.#idOf(this.unkToken);
    let highest = -1;
    for (const [id] of this.#engine.entries()) highest = Math.max(highest, id);
    this.vocabSize = highest + 1;
    this.addedTokens = this.#engine.added;
    this.addedTokenIds = new Set(this.addedTokens.keys());
    const length = files.config.model_max_length;
    // transformers writes 1e30 for "unknown".
    this.modelMaxLength =
      typeof length === 'number' && length < 1e15 ? length : Number.POSITIVE_INFINITY;
  }

  /** @throws UNKNOWN_OPTION, TOKENIZER_INPUT */
  encode(text: string, options: EncodeOptions = {}): number[] {
    checkNames(encodeOptions, options, encodePlace);
    const { addSpecialTokens = true } = options;
    if (typeof text !== 'string')
      throw new AttuneError(
        'TOKENIZER_INPUT',
        `encode: expected a string, found ${describeValue(text)}.`,
        {
          remedy: 'Call encode once for each text.',
        },
      );
    return this.#engine.encode(text, addSpecialTokens);
  }

  /** @throws UNKNOWN_OPTION, TOKENIZER_INPUT */
  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    checkNames(decodeOptions, options, decodePlace);
    const { skipSpecialTokens = true } = options;
    if (typeof ids !== 'object' || ids === null || isPromise(ids))
      throw new AttuneError(
        'TOKENIZER_INPUT',
        `decode: expected token ids, found ${describeValue(ids)}.`,
        { remedy: 'Pass one row of ids: tokenizer.decode(sequences[0]).' },
      );
    if (typeof ids[0] === 'object')
      throw new AttuneError('TOKENIZER_INPUT', 'decode: expected token ids, found rows of them.', {
        remedy: 'Decode one row at a time: sequences.map((ids) => tokenizer.decode(ids)).',
      });
    return this.#decode(ids, skipSpecialTokens, this.#cleanUp);
  }

  /**
   * The text that a token adds to those passed before, for printing while a model generates. Bytes
   * of an unfinished character are held back. `null` ends the text: it returns what was held back
   * and starts anew. So does an eos token.
   */
  decodeStream(token: number | null): string {
    this.#stream ??= this.createDecodeStream();
    if (token !== null && token !== this.eosTokenId) return this.#stream.push(token);
    const rest = this.#stream.end();
    this.#stream = null;
    return rest;
  }

  /** A stream of its own, for several texts at once. Special tokens are left out by default. */
  createDecodeStream(options: DecodeOptions = {}): DecodeStream {
    const { skipSpecialTokens } = parseOptions(decodeOptions, options, {
      where: 'createDecodeStream',
    });
    // Without cleaning up: it would shorten text that is out already.
    const decode = (ids: readonly number[]) => this.#decode(ids, skipSpecialTokens, false);
    return new DecodeStream({ decode }, { skipSpecialTokens });
  }

  /** The id of a token by its exact name in the vocabulary; null when there is none. */
  tokenToId(token: string): number | null {
    return this.#idOf(token);
  }

  idToToken(id: number): string | null {
    return this.#engine.idToToken(id);
  }

  /**
   * The chat template, if there is one; the one called "default" of several. With tools the one
   * called "tool_use" is used where it exists. Assign a template, or several under names, to change
   * it.
   */
  get chatTemplate(): string | null {
    return chooseTemplate(this.#chatTemplate, false);
  }

  set chatTemplate(template: ChatTemplates | null) {
    this.#chatTemplate = template;
  }

  /**
   * Renders a conversation as the model was taught to see it. The template writes special tokens
   * itself, so none are added when its text is tokenised.
   *
   * @throws UNKNOWN_OPTION, INVALID_OPTION, CHAT_TEMPLATE_MISSING, CHAT_TEMPLATE, TEMPLATE_PREFIX
   *   (for the mask)
   */
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options: ApplyChatTemplateOptions & { readonly returnAssistantTokensMask: true },
  ): ChatTokensWithMask;
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options: ApplyChatTemplateOptions & { readonly tokenize: false },
  ): string;
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options?: ApplyChatTemplateOptions & {
      readonly tokenize?: true;
      readonly returnAssistantTokensMask?: false;
    },
  ): number[];
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options?: ApplyChatTemplateOptions & { readonly returnAssistantTokensMask?: false },
  ): number[] | string;
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options: ApplyChatTemplateOptions = {},
  ): number[] | string | ChatTokensWithMask {
    parseOptions(applyOptions, options, applyPlace);
    if (options.returnAssistantTokensMask) {
      if (options.continueFinalMessage)
        throw new AttuneError(
          'CHAT_TEMPLATE',
          'returnAssistantTokensMask and continueFinalMessage do not go together.',
          { remedy: 'Leave one of them out.' },
        );
      const { tokenize, addGenerationPrompt, returnAssistantTokensMask, ...input } = options;
      const { ids, mask } = assistantMask(this, messages, input, 'applyChatTemplate');
      return { inputIds: [...ids], assistantMasks: mask.map(Number) };
    }
    const text = this.#template(options).render(messages, this.#specialTokens(), options);
    return (options.tokenize ?? true) ? this.encode(text, { addSpecialTokens: false }) : text;
  }

  /**
   * Where `{% generation %}` blocks of the chat template wrote in its text; null when it has none.
   */
  generationSpans(
    messages: readonly ChatMessage[],
    options: TemplateInput = {},
  ): readonly Span[] | null {
    parseOptions(spansOptions, options, { where: 'generationSpans' });
    const template = this.#template(options);
    if (!template.hasGeneration) return null;
    return template.renderSpans(messages, this.#specialTokens(), {
      ...options,
      addGenerationPrompt: false,
    }).spans;
  }

  /** Ids of a text, without added special tokens, and which of them hold a part of a span of it. */
  encodeSpans(
    text: string,
    spans: readonly Span[],
  ): { readonly ids: readonly number[]; readonly inside: readonly boolean[] } {
    const { ids, offsets } = this.#engine.encodeWithOffsets(text, false);
    const inside = offsets.map(([begin, end]) =>
      spans.some(([from, to]) => begin < to && end > from),
    );
    return { ids, inside };
  }

  /** @throws CHAT_TEMPLATE_MISSING, CHAT_TEMPLATE */
  #template({ tools, chatTemplate }: TemplateInput): ChatTemplate {
    const hasTools = (tools ?? null) !== null;
    const source = chooseTemplate(this.#chatTemplate, hasTools, chatTemplate ?? undefined);
    if (source === null)
      throw new AttuneError(
        'CHAT_TEMPLATE_MISSING',
        `the tokenizer of ${this.#folder} has no chat template.`,
        {
          remedy:
            'Set tokenizer.chatTemplate to a Jinja template, or give prompts and completions instead of messages.',
        },
      );
    const held = this.#compiled.get(source);
    if (held) return held;
    const template = new ChatTemplate(source);
    this.#compiled.set(source, template);
    return template;
  }

  /**
   * Copies the tokenizer's files. Chat templates are written as transformers writes them: the
   * default one as chat_template.jinja, others into additional_chat_templates. Where config.json
   * decided how the tokenizer is built, tokenizer_config.json names the class, so that a folder
   * without config.json (an adapter's) is read alike.
   */
  async savePretrained(folder: string): Promise<void> {
    requireFolder(folder, 'savePretrained');
    await saveWhole(folder, async (temporary) => {
      for (const name of await readdir(this.#folder))
        if (tokenizerFiles.test(name))
          await copyFile(join(this.#folder, name), join(temporary, name));
      if (this.#classToName !== null) await nameClass(this.#folder, temporary, this.#classToName);
      await writeChatTemplates(temporary, this.#chatTemplate);
    });
  }

  #decode(ids: ArrayLike<number>, skipSpecialTokens: boolean, cleanUp: boolean): string {
    if (ids.length === 0) return '';
    const text = this.#engine.decode(Array.from(ids), skipSpecialTokens);
    return cleanUp ? withoutSpaces(text) : text;
  }

  #idOf(token: string | null): number | null {
    return token === null ? null : this.#engine.tokenToId(token);
  }

  /** What templates may read by name: every special token that has one. */
  #specialTokens(): Record<string, string> {
    const unknown = this.unkToken === null ? {} : { unk_token: this.unkToken };
    return { ...unknown, ...Object.fromEntries(this.#named) };
  }
}

/** tokenizer_config.json of `from`, naming a class, into `to`. */
async function nameClass(from: string, to: string, name: string): Promise<void> {
  const file = await readJsonFile(join(from, 'tokenizer_config.json'), { optional: true });
  const entries = (file?.source ?? new Map()) as ReadonlyMap<string, JsonValue>;
  await writeJson(join(to, 'tokenizer_config.json'), new Map(entries).set('tokenizer_class', name));
}

/** Special tokens stand as text, or as an added token with its text in `content`. */
function tokenText(value: unknown): string | null {
  if (typeof value === 'string') return value;
  if (typeof value === 'object' && value !== null && 'content' in value)
    return tokenText(value.content);
  return null;
}

type Files = Readonly<Record<string, unknown>>;

/** A field of tokenizer.json's model. */
function modelField({ model }: Files, key: string): unknown {
  return typeof model === 'object' && model !== null ? (model as Files)[key] : undefined;
}

const modelUnknown = (tokenizer: Files): string | null =>
  tokenText(modelField(tokenizer, 'unk_token'));

/** "BPE", ...; old files leave it out: those with merges are BPE. */
const modelType = (tokenizer: Files): unknown =>
  modelField(tokenizer, 'type') ?? (modelField(tokenizer, 'merges') ? 'BPE' : undefined);

/**
 * Spaces before punctuation and in contractions, as transformers' `clean_up_tokenization` takes
 * them away.
 */
const withoutSpaces = (text: string): string =>
  text
    .replaceAll(/ ([.?!,])/g, '$1')
    .replaceAll(" ' ", "'")
    .replaceAll(/ (n't|'m|'s|'ve|'re)/g, '$1');
