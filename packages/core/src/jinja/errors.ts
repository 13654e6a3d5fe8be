/** An error of a template, under the name of the Python exception that Jinja would raise. */
export class JinjaError extends Error {
  /** Line of the template, from 1 on; null until the place is known. */
  line: number | null = null;

  constructor(
    readonly kind: string,
    message: string,
  ) {
    super(message);
    this.name = 'JinjaError';
  }
}

export const typeError = (message: string): JinjaError => new JinjaError('TypeError', message);
export const valueError = (message: string): JinjaError => new JinjaError('ValueError', message);

/** What a template may cost. It comes from a file: it must end, whatever it says. */
export class Budget {
  /** @param steps evaluated nodes, list items, and every 64 characters of a text that is made */
  constructor(private steps: number) {}

  spend(steps: number): void {
    this.steps -= steps;
    if (this.steps < 0)
      throw new JinjaError('LimitError', 'it takes more steps than any conversation needs');
  }

  /** Makes room for a text of so many UTF-16 units. */
  spendText(length: number): void {
    if (length > MAX_TEXT) throw new JinjaError('LimitError', 'it makes a text that is too long');
    this.spend(1 + length / 64);
  }
}

const MAX_TEXT = 2 ** 27;

/** Macros and loops that call themselves. Python stops a little below 200. */
export const MAX_DEPTH = 200;
