import { z } from 'zod';
import { JinjaError, Template } from '../jinja/index.js';
import { AttuneError } from '../util/errors.js';
import { isPlainObject } from '../util/json.js';
import type { OptionsInput } from '../util/options.js';
import { remembering } from '../util/readAs.js';
import { continued, markFinalMessage } from './continueMessage.js';
import { joinText, showsParts } from './messageParts.js';

/**
 * One turn of a conversation. Further keys (`tool_calls`, `name`) reach the template as they are;
 * those that are null do not.
 */
export interface ChatMessage {
  readonly role: string;
  /**
   * Text, or parts such as `{ type: 'text', text }`; null or left out where there is none (a tool
   * call, often).
   */
  readonly content?: string | readonly unknown[] | null;
  readonly [key: string]: unknown;
}

/** Several templates under names, or the only one. */
export type ChatTemplates = string | ReadonlyMap<string, string>;

/** How the end of a rendered conversation is made. */
export const endShape = {
  /** End with the words that open the assistant's turn. Default false. */
  addGenerationPrompt: z.boolean().default(false).meta({ aka: 'generationprompt' }),
  /**
   * Leave the last message open, so that the model goes on with it. A text names the field to go on
   * with; true is `content`. Default false.
   */
  continueFinalMessage: z
    .union([z.boolean(), z.string()])
    .default(false)
    .meta({ aka: 'prefill continue' }),
};

/** What a template is given beside the messages. */
export const contextShape = {
  /** Functions that the model may call, as JSON schemas. Default none. */
  tools: z.array(z.unknown()).readonly().nullish().meta({ aka: 'functions' }),
  /** Texts that the answer may rest on, as `{ title, text }`. Default none. */
  documents: z.array(z.unknown()).readonly().nullish(),
  /** Further variables for the template. Default none. */
  variables: z
    .custom<Readonly<Record<string, unknown>>>(isPlainObject, 'expected an object of variables')
    .nullish()
    .meta({ aka: 'chattemplatekwargs templatekwargs kwargs' }),
};

/** How a chat template is rendered. */
export type RenderOptions = OptionsInput<typeof endShape> & OptionsInput<typeof contextShape>;

/** [start, end) in a text, in UTF-16 units. */
export type Span = readonly [start: number, end: number];

type Tokens = Readonly<Record<string, string>>;
type Messages = readonly ChatMessage[];

/** A Jinja chat template, read once and rendered often, as transformers' `apply_chat_template`. */
export class ChatTemplate {
  #template: Template | null = null;

  constructor(private readonly source: string) {}

  /**
   * Whether `{% generation %}` says what the model writes.
   *
   * @throws CHAT_TEMPLATE when it is not valid
   */
  get hasGeneration(): boolean {
    return explained(() => this.#read()).hasGeneration;
  }

  /**
   * @param tokens bos_token, eos_token, ... as the template's variables
   * @throws CHAT_TEMPLATE when the template refuses the messages or is not valid
   */
  render(messages: Messages, tokens: Tokens, options: RenderOptions = {}): string {
    checkMessages(messages);
    return explained(() => this.#render(messages, tokens, options));
  }

  /**
   * The text, and where in it `{% generation %}` blocks wrote. The blocks write marks that the text
   * does not hold, which are taken out again.
   *
   * @throws CHAT_TEMPLATE, also where the template changes the text of a mark
   */
  renderSpans(
    messages: Messages,
    tokens: Tokens,
    options: RenderOptions = {},
  ): { readonly text: string; readonly spans: readonly Span[] } {
    const text = this.render(messages, tokens, options);
    let mark = 0xf0000; // private use
    while (
      text.includes(String.fromCodePoint(mark)) ||
      text.includes(String.fromCodePoint(mark + 1))
    )
      mark += 2;
    const [open, close] = [String.fromCodePoint(mark), String.fromCodePoint(mark + 1)];
    return explained(() => {
      const marked = this.#render(messages, tokens, options, [open, close]);
      const spans: Span[] = [];
      let plain = '';
      let start = 0;
      for (const piece of marked.split(new RegExp(`([${open}${close}])`, 'u'))) {
        if (piece === open) start = plain.length;
        else if (piece !== close) plain += piece;
        else if (plain.length > start) spans.push([start, plain.length]);
      }
      if (plain !== text)
        throw new JinjaError(
          'NotSupported',
          'it changes what {% generation %} blocks write afterwards',
        );
      return { text, spans };
    });
  }

  #read(): Template {
    this.#template ??= new Template(this.source);
    return this.#template;
  }

  #render(
    messages: Messages,
    tokens: Tokens,
    options: RenderOptions,
    marks?: readonly [string, string],
  ): string {
    const template = this.#read();
    const prepared = messages.map((message) => nameReasoning(withoutNulls(message)));
    const { continueFinalMessage = false } = options;
    if (continueFinalMessage && options.addGenerationPrompt)
      throw new JinjaError(
        'ValueError',
        'continueFinalMessage goes on with the last message, addGenerationPrompt begins another: give one of them',
      );
    const run = (given: Messages) => {
      const final = continueFinalMessage
        ? markFinalMessage(given, continueFinalMessage, this.source)
        : null;
      const { text } = template.render(
        remembering(
          {
            ...tokens,
            ...options.variables,
            messages: final?.messages ?? given,
            add_generation_prompt: options.addGenerationPrompt ?? false,
            tools: options.tools ?? null,
            documents: options.documents ?? null,
          },
          options.variables ?? {},
        ),
        marks && { marks },
      );
      return final ? continued(text, final.text) : text;
    };
    const joined = prepared.map(joinText);
    if (joined.every((message, i) => message === prepared[i])) return run(prepared);
    // Parts: as they are for a template that reads parts; for one that takes texts alone, their
    // text.
    try {
      const text = run(prepared);
      if (!showsParts(text, prepared)) return text;
    } catch (error) {
      if (!(error instanceof JinjaError) || error.kind === 'LimitError') throw error;
    }
    return run(joined);
  }
}

function checkMessages(messages: Messages): void {
  const fail = (found: string): never => {
    throw new AttuneError('CHAT_TEMPLATE', found, {
      remedy: 'Give a list of messages: [{ role, content }, ...].',
    });
  };
  if (!Array.isArray(messages))
    fail(`a conversation is a list of messages; this is ${typeof messages}.`);
  if (messages.length === 0) fail('the conversation has no messages.');
  for (const [i, message] of messages.entries())
    if (!isPlainObject(message))
      fail(`message ${i} is ${JSON.stringify(message) ?? typeof message}, not { role, content }.`);
}

/** What mends an error of each kind. */
const remedies: Readonly<Record<string, string>> = {
  TemplateError: 'The template says so itself: give the messages as it asks for them.',
  TemplateSyntaxError: 'Mend the template, or set tokenizer.chatTemplate to another.',
  SecurityError: 'Templates change nothing: build new values instead.',
  LimitError: 'Look at that line for a loop, a repetition or a macro that grows without end.',
  NotSupported: 'Change that line of the template and set tokenizer.chatTemplate to it.',
};

function explained<T>(run: () => T): T {
  try {
    return run();
  } catch (cause) {
    if (!(cause instanceof JinjaError)) throw cause;
    const { line, kind, message } = cause;
    const where = line === null ? 'the chat template' : `line ${line} of the chat template`;
    const what =
      kind === 'TemplateError' || kind === 'LimitError' ? message : `${kind}: ${message}`;
    throw new AttuneError('CHAT_TEMPLATE', `${where}: ${what}${/[.!?]$/.test(what) ? '' : '.'}`, {
      remedy:
        remedies[kind] ??
        'Compare that line with the messages and variables: it expects other ones.',
      details: { line, kind },
      cause,
    });
  }
}

/**
 * As transformers: data sets of columns have each key in each message, null where it is not meant.
 */
function withoutNulls(message: ChatMessage): ChatMessage {
  const entries = Object.entries(message);
  if (entries.every(([, value]) => value !== null && value !== undefined)) return message;
  return Object.fromEntries(
    entries.filter(([, value]) => value !== null && value !== undefined),
  ) as ChatMessage;
}

/** The names that a message's reasoning goes by; templates read the first, gpt-oss the second. */
export const reasoningFields = ['reasoning_content', 'thinking', 'reasoning'] as const;

function nameReasoning(message: ChatMessage): ChatMessage {
  const field = reasoningFields.find((name) => message[name] != null);
  if (field === undefined) return message;
  return { thinking: message[field], ...message, reasoning_content: message[field] };
}

/**
 * The template to use: the one called "tool_use" when there are tools, else "default".
 *
 * @param wanted a name among several, or a template to take instead
 * @throws CHAT_TEMPLATE
 */
export function chooseTemplate(
  templates: ChatTemplates | null,
  hasTools: boolean,
  wanted?: string,
): string | null {
  if (wanted !== undefined) {
    const named = typeof templates === 'string' ? undefined : templates?.get(wanted);
    if (named !== undefined || /\{[{%]/.test(wanted)) return named ?? wanted;
    const names = templates instanceof Map ? [...templates.keys()] : [];
    throw new AttuneError(
      'CHAT_TEMPLATE',
      `chatTemplate "${wanted}" is no Jinja template, and no name of one: ${names.length > 0 ? `there are ${names.join(', ')}` : 'the tokenizer has no named ones'}.`,
      { remedy: 'Give one of these names, or the text of a template.' },
    );
  }
  if (templates === null || typeof templates === 'string') return templates;
  const chosen = (hasTools ? templates.get('tool_use') : undefined) ?? templates.get('default');
  if (chosen !== undefined) return chosen;
  throw new AttuneError(
    'CHAT_TEMPLATE',
    `the tokenizer has several chat templates (${[...templates.keys()].join(', ')}), none called "default".`,
    { remedy: 'Set tokenizer.chatTemplate to one of them, or name it: chatTemplate: "...".' },
  );
}
