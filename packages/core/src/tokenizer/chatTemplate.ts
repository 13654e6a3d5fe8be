import type { Template } from '@huggingface/jinja';
import { AttuneError } from '../util/errors.js';
import { compileTemplate, templateFunctions } from './compileTemplate.js';

/** One turn of a conversation. Further keys (`tool_calls`, `name`) reach the template as they are. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly [key: string]: unknown;
}

/** Several templates under names, or the only one. */
export type ChatTemplates = string | ReadonlyMap<string, string>;

export interface RenderOptions {
  /** End with the words that open the assistant's turn. Default false. */
  readonly addGenerationPrompt?: boolean;
  /** Functions that the model may call, as JSON schemas. Default none. */
  readonly tools?: readonly unknown[];
  /** Further variables for the template. Default none. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** [start, end) in a text, in UTF-16 units. */
export type Span = readonly [start: number, end: number];

type Tokens = Readonly<Record<string, string>>;

/** `{% generation %}` and `{% endgeneration %}`, with their whitespace control. */
const generationTag = /\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}/g;

/** A Jinja chat template, read once and rendered often, as transformers' `apply_chat_template`. */
export class ChatTemplate {
  /** Whether `{% generation %}` says what the model writes. */
  readonly hasGeneration: boolean;
  #plain: Template | null = null;
  #marked: Template | null = null;

  constructor(private readonly source: string) {
    this.hasGeneration = source.search(generationTag) >= 0;
  }

  /**
   * @param tokens bos_token, eos_token, ... as the template's variables
   * @throws CHAT_TEMPLATE when the template refuses the messages or is not valid
   */
  render(messages: readonly ChatMessage[], tokens: Tokens, options: RenderOptions = {}): string {
    return rendered(messages, () => {
      this.#plain ??= compileTemplate(this.source);
      return this.#plain.render(variables(messages, tokens, options));
    });
  }

  /**
   * The text, and where in it `{% generation %}` blocks wrote. The tags become statements that write a
   * mark which the text does not hold; the marks are taken out again.
   *
   * @throws CHAT_TEMPLATE, also where the template changes the text of a mark
   */
  renderSpans(
    messages: readonly ChatMessage[],
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
    return rendered(messages, () => {
      this.#marked ??= compileTemplate(
        this.source.replace(
          generationTag,
          (_, before: string, ends: string | undefined, after: string) =>
            `{%${before} if true %}{{ generation_mark[${ends ? 1 : 0}] }}{% endif ${after}%}`,
        ),
      );
      const marked = this.#marked.render({
        ...variables(messages, tokens, options),
        generation_mark: [open, close],
      });
      const spans: Span[] = [];
      let plain = '';
      let start = 0;
      for (const piece of marked.split(new RegExp(`([${open}${close}])`, 'u'))) {
        if (piece === open) start = plain.length;
        else if (piece !== close) plain += piece;
        else if (plain.length > start) spans.push([start, plain.length]);
      }
      if (plain !== text)
        throw new Error('it changes what {% generation %} blocks write afterwards');
      return { text, spans };
    });
  }
}

function rendered<T>(messages: readonly ChatMessage[], render: () => T): T {
  try {
    return render();
  } catch (cause) {
    throw new AttuneError(
      'CHAT_TEMPLATE',
      `the chat template did not render ${messages.length} messages with roles ${messages.map((m) => m.role).join(', ')}: ${(cause as Error).message}.`,
      {
        remedy:
          'Give the roles in the order that the template expects (often user, assistant, ...).',
        cause,
      },
    );
  }
}

const variables = (
  messages: readonly ChatMessage[],
  tokens: Tokens,
  options: RenderOptions,
): Record<string, unknown> => ({
  ...templateFunctions,
  ...tokens,
  ...options.variables,
  messages: messages.map(nameReasoning),
  add_generation_prompt: options.addGenerationPrompt ?? false,
  tools: options.tools ?? null,
  documents: null,
});

/** The names that a message's reasoning goes by; templates read the first, gpt-oss the second. */
const reasoningFields = ['reasoning_content', 'thinking', 'reasoning'] as const;

function nameReasoning(message: ChatMessage): ChatMessage {
  const field = reasoningFields.find((name) => message[name] != null);
  if (field === undefined) return message;
  return { thinking: message[field], ...message, reasoning_content: message[field] };
}

/** The template to use: the one called "tool_use" when there are tools, else "default". */
export function chooseTemplate(templates: ChatTemplates, hasTools: boolean): string {
  if (typeof templates === 'string') return templates;
  const chosen = (hasTools ? templates.get('tool_use') : undefined) ?? templates.get('default');
  if (chosen !== undefined) return chosen;
  throw new AttuneError(
    'CHAT_TEMPLATE',
    `the tokenizer has several chat templates (${[...templates.keys()].join(', ')}), none called "default".`,
    { remedy: 'Set tokenizer.chatTemplate to one of them.' },
  );
}
