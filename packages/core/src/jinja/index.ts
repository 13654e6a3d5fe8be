import { convert } from './convert.js';
import { Budget } from './errors.js';
import { str } from './show.js';

export { JinjaError } from './errors.js';
export { type Rendered, Template, type TemplateOptions } from './template.js';

/** How a template writes a value. */
export function writtenAs(value: unknown): string {
  const { value: converted, size } = convert(value);
  return str(converted, new Budget(16 * size));
}
