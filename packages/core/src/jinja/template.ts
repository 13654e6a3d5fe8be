import type { JsonValue } from '../util/losslessJson.js';
import { readAs } from '../util/readAs.js';
import { type Converted, convert } from './convert.js';
import { Budget, JinjaError } from './errors.js';
import { Interpreter, type WrittenSpan } from './interpreter.js';
import { type ParsedTemplate, parse } from './parser.js';
import type { Value } from './values.js';

export interface TemplateOptions {
  /** Texts to write around what `{% generation %}` blocks write. Default none. */
  readonly marks?: readonly [string, string];
  /** The time of `strftime_now`. Default now. */
  readonly now?: () => Date;
}

export interface Rendered {
  readonly text: string;
  /** What `{% generation %}` blocks wrote, where they stand outside of macros. */
  readonly spans: readonly WrittenSpan[];
}

/** Characters of a template; the largest published ones have some 30,000. */
const MAX_SOURCE = 2 ** 19;

/** Steps that a template may take, whatever it is given: a fraction of a second of them. */
const STEPS = 400_000;

/**
 * A Jinja template with the meaning that Jinja2 3.1 gives it in transformers' environment: its
 * immutable sandbox, `trim_blocks`, `lstrip_blocks`, `break` and `continue`, `{% generation %}`,
 * `tojson` without HTML, `raise_exception`, `strftime_now`. Not built in: `urlize`, `random`,
 * `lipsum`, `pprint` of what takes several lines, `str.translate`, `str.encode`, other templates;
 * `escape` makes a plain text.
 */
export class Template {
  readonly #parsed: ParsedTemplate;

  /** @throws JinjaError TemplateSyntaxError, LimitError */
  constructor(source: string) {
    this.#parsed = located(() => {
      if (source.length > MAX_SOURCE)
        throw new JinjaError(
          'LimitError',
          `the template has ${source.length} characters; ${MAX_SOURCE} are allowed`,
        );
      return parse(source);
    });
  }

  /** Whether it says with `{% generation %}` what the model writes. */
  get hasGeneration(): boolean {
    return this.#parsed.hasGeneration;
  }

  /**
   * @throws JinjaError under the name of the exception that Jinja2 raises; LimitError where it
   *   would not end
   */
  render(
    variables: Readonly<Record<string, unknown>>,
    { marks, now = () => new Date() }: TemplateOptions = {},
  ): Rendered {
    let size = 0;
    const values = new Map<string, Value>();
    const like = readAs(variables);
    for (const [name, value] of Object.entries(variables)) {
      if (value === undefined) continue;
      const read = like instanceof Map ? (like.get(name) as JsonValue | undefined) : undefined;
      const converted: Converted = located(() => convert(value, read));
      values.set(name, converted.value);
      size += converted.size;
    }
    const interpreter = new Interpreter(new Budget(STEPS + size), now, marks ?? null);
    const text = located(
      () => interpreter.render(this.#parsed, values),
      () => interpreter.line,
    );
    return { text, spans: interpreter.spans };
  }
}

function located<T>(run: () => T, line: () => number = () => 1): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof JinjaError) {
      error.line ??= line();
      throw error;
    }
    // The call stack or a text's length: what is nested or grows without end.
    if (!(error instanceof RangeError)) throw error;
    const limit = new JinjaError('LimitError', 'it is nested too deeply, or makes too long a text');
    limit.line = line();
    throw limit;
  }
}
