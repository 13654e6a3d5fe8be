import type { Registry } from '../../di/registry.js';
import { describeValue } from '../../util/describeValue.js';
import { AttuneError } from '../../util/errors.js';
import { isPlainObject, keysToCamel, keysToSnake } from '../../util/json.js';
import { hintsOf, problemError, problemsOf } from '../../util/options.js';
import { explainUnknown } from '../../util/unknownOptions.js';
import type { QuantizationFormat } from './quantizationFormat.js';

/** How the layers of a model are to be held. */
export interface Quantization {
  readonly format: QuantizationFormat;
  /** As the format's schema gives them. */
  readonly options: Readonly<Record<string, unknown>>;
  /** From the config.json of a checkpoint, not from an option. */
  readonly isFile: boolean;
  /** quantization_config as config.json has it. */
  readonly raw: Readonly<Record<string, unknown>>;
}

/** The format that options name. Default bitsandbytes, whose options transformers knew first. */
export const methodOf = (given: Readonly<Record<string, unknown>>): unknown =>
  given.quant_method ?? given.quantMethod ?? 'bitsandbytes';

/**
 * @param where what the options are, for messages
 * @returns null: nothing is to be quantised
 * @throws CHECKPOINT_QUANTIZED for a format that nobody brings; UNKNOWN_OPTION;
 *   QUANTIZATION_INVALID with the option, what was found and what is allowed
 */
export function parseQuantization(
  formats: Registry<QuantizationFormat>,
  input: unknown,
  where: string,
  isFile = false,
): Quantization | null {
  if (input === undefined || input === null) return null;
  if (!isPlainObject(input))
    throw new AttuneError(
      'QUANTIZATION_INVALID',
      `${where}: found ${describeValue(input)}, expected an object.`,
      { remedy: 'Pass { loadIn4bit: true }.' },
    );
  const format = formatOf(formats, input, where);
  // "_load_in_4bit" and "_load_in_8bit" repeat what stands there without the underscore.
  const given = keysToCamel(
    Object.fromEntries(
      Object.entries(input).filter(([key]) => !/^(_|quant_?[mM]ethod$)/.test(key)),
    ),
  );
  const parsed = format.options.safeParse(given);
  if (!parsed.success)
    throw problemError(
      'QUANTIZATION_INVALID',
      problemsOf(parsed.error, given, format.options, {
        label: (path) => `${where}: ${path.map(String).join('.')}`,
        explain: (name) => `${where}: ${explainUnknown(name, hintsOf(format.options))}`,
        remedy: () => 'Change the value, or leave the option out for its default.',
      }),
      parsed.error,
    );
  const options = parsed.data;
  format.check?.(options, where);
  const raw = { quant_method: format.method, ...keysToSnake(options) };
  return { format, options, isFile, raw };
}

/** @throws CHECKPOINT_QUANTIZED */
function formatOf(
  formats: Registry<QuantizationFormat>,
  given: Readonly<Record<string, unknown>>,
  where: string,
): QuantizationFormat {
  const method = methodOf(given);
  if (typeof method === 'string' && formats.has(method)) return formats.get(method);
  throw new AttuneError(
    'CHECKPOINT_QUANTIZED',
    `${where}: the weights are quantised by "${String(method)}", which is not read.`,
    {
      remedy: `Use the checkpoint that it was made from, or one quantised by ${formats.names.join(' or ')}. A plugin may bring "${String(method)}" (QuantizationFormats).`,
    },
  );
}
