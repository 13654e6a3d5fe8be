import { AttuneError, type Row } from '@attune/core';
import { isPlainObject, type OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { type DataRow, formatOrigin } from '../contract/dataRow.js';
import { defineDataStage, type StageContext } from '../contract/dataStage.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import { checkRow, faultOf, type RowFault } from '../schemas/checkRow.js';
import { convertRow, unpairRow } from '../schemas/convertRow.js';
import { schemaOf, sftSchemaOf } from '../schemas/detectSchema.js';
import { SCHEMA_NAMES, type SchemaName } from '../schemas/rowSchemas.js';

/** A schema of zod, or another library that follows https://standardschema.dev. */
export interface StandardSchema {
  readonly '~standard': {
    readonly validate: (value: unknown) => StandardResult | Promise<StandardResult>;
  };
}

type StandardResult =
  | { readonly value: unknown; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };

interface StandardIssue {
  readonly message: string;
  readonly path?: readonly unknown[] | undefined;
}

const names = z.enum(SCHEMA_NAMES as [SchemaName, ...SchemaName[]]);

const validateShape = {
  /**
   * What rows are to be: the name of a format (`rowSchemas`); 'auto': the format that the columns
   * of each row say it has; a schema of zod, whose output takes the place of the row. Default
   * 'auto'.
   */
  schema: z
    .union([
      z.literal('auto'),
      names,
      z.custom<StandardSchema>(
        (value) => typeof value === 'object' && value !== null && '~standard' in value,
        'expected a schema of zod',
      ),
    ])
    .default('auto')
    .meta({ aka: 'format datasetformat' }),
  /** The format that rows are changed into before they are checked. Default: none. */
  convertTo: names.nullish().meta({ aka: 'convert target to' }),
  /**
   * What becomes of rows that are wrong: 'quarantine': put aside; 'drop': left out; 'error': the
   * run stops. Default 'quarantine'.
   */
  onInvalid: z.enum(['quarantine', 'drop', 'error']).default('quarantine'),
};

/** What the report of `validate` has beside its counts. */
export type ValidateReport = {
  /** Valid rows by their format. Absent: no rows came, or the schema is your own. */
  readonly schemas?: Readonly<Partial<Record<SchemaName, number>>>;
};

/** Options of {@link validate}. */
export type ValidateOptions = OptionsInput<typeof validateShape>;

/** A row as it goes on, or what is wrong with it. */
type Checked = readonly Row[] | RowFault;

const isFault = (checked: Checked): checked is RowFault => 'reason' in checked;

/** Names of roles that are counted one by one: beyond them all are one reason. */
const MOST_ROLES = 20;

/** Checks that rows are what a Trainer takes, and changes their format. */
export const validateStage = defineDataStage({
  name: 'validate',
  options: z.strictObject(validateShape),
  async *run(rows, { schema, convertTo, onInvalid }, context) {
    const check = checkerOf(schema, convertTo ?? null);
    const counts = new Map<string, number>();
    const reasons = new Set<string>();
    let seen = 0;
    let first: string | null = null;
    const others = new OtherFormats(convertTo == null ? schema : 'auto');
    for await (const item of rows) {
      seen++;
      let checked = check(item.row);
      if (checked instanceof Promise) checked = await checked;
      if (!isFault(checked)) {
        const [row, ...more] = checked;
        const found = schemaOf(row!) ?? 'other';
        counts.set(found, (counts.get(found) ?? 0) + 1);
        others.see(item, found);
        yield row === item.row ? item : { ...item, row: row! };
        for (const extra of more) {
          const added: DataRow = { ...item, row: extra };
          context.added(added, 'second answer of a pair');
          yield added;
        }
        continue;
      }
      const { detail } = checked;
      const reason = limited(checked.reason, reasons);
      first ??= `${formatOrigin(item.origin)}: ${detail}`;
      if (onInvalid === 'error') throw invalid(item, checked);
      context[onInvalid](item, reason, detail);
    }
    const passed = Object.fromEntries(counts);
    if (typeof schema === 'string' && seen > 0) context.fact('schemas', passed);
    if (seen > 0 && counts.size === 0)
      context.warn(`none of ${seen} rows is valid; the first: ${first}.`);
    others.warn(context);
    if (counts.size > 1 && schema === 'auto')
      context.warn(
        `rows are of ${counts.size} formats (${[...counts].map(([name, count]) => `${name}: ${count}`).join(', ')}); convertTo makes them one.`,
      );
  },
});

/** Formats of `SFTTrainer`: a row with the columns of two is taken as one of them. */
const SFT: readonly unknown[] = [
  'messages',
  'sharegpt',
  'alpaca',
  'prompt-completion',
  'text',
  'tokens',
];

/** Rows that are valid in the format that is asked for, and that a Trainer takes as another. */
class OtherFormats {
  readonly #found = new Map<SchemaName, { count: number; first: DataRow }>();

  constructor(private readonly schema: unknown) {}

  see(item: DataRow, found: SchemaName | 'other'): void {
    const { schema } = this;
    if (found === schema || !SFT.includes(schema)) return;
    const taken = sftSchemaOf(item.row);
    if (taken === null || taken === schema || isAlike(taken, schema as SchemaName)) return;
    const known = this.#found.get(taken);
    if (known) known.count++;
    else this.#found.set(taken, { count: 1, first: item });
  }

  warn(context: StageContext): void {
    for (const [taken, { count, first }] of this.#found)
      context.warn(
        `${count} ${count === 1 ? 'row is' : 'rows are'} valid ${this.schema}, with the columns of ${taken} beside, as which SFTTrainer takes such a row; the first: ${formatOrigin(first.origin)}. Leave these columns out with a map stage.`,
      );
  }
}

/** A reason that names an odd role, unless there are too many of them to count each. */
function limited(reason: string, reasons: Set<string>): string {
  if (!reason.startsWith('unknown role ') || reasons.has(reason)) return reason;
  if (reasons.size >= MOST_ROLES) return 'unknown role';
  reasons.add(reason);
  return reason;
}

const invalid = ({ origin }: DataRow, { reason, detail }: RowFault): AttuneError =>
  new AttuneError('DATA_ROW_INVALID', `${formatOrigin(origin)}: ${reason}: ${detail}.`, {
    remedy: "Mend the row, or give onInvalid: 'quarantine' to put such rows aside.",
    details: { origin: formatOrigin(origin) },
  });

type Check = (row: Row) => Checked | Promise<Checked>;

function checkerOf(schema: SchemaName | 'auto' | StandardSchema, to: SchemaName | null): Check {
  if (typeof schema === 'object') return (row) => byUser(schema, row, to);
  return (row) => {
    const from = schemaOf(row);
    if (schema === 'auto' && from === null) return unknownSchema(row);
    const given = schema === 'auto' ? from! : schema;
    if (to === null) return checkRow(row, given) ?? [row];
    // Another format than was asked for is none that may be converted.
    if (schema !== 'auto' && from !== schema && !isAlike(from, schema))
      return checkRow(row, schema) ?? convert(row, to);
    return convert(row, to);
  };
}

/** ShareGPT's turns are messages of other names. */
const isAlike = (one: SchemaName | null, other: SchemaName): boolean =>
  [one, other].every((name) => name === 'messages' || name === 'sharegpt');

function convert(row: Row, to: SchemaName): Checked {
  let converted: readonly Row[];
  try {
    converted =
      to === 'unpaired' && schemaOf(row) === 'preference' ? unpairRow(row) : [convertRow(row, to)];
  } catch (error) {
    if (!AttuneError.isInstance(error)) throw error;
    const from = schemaOf(row);
    const fault = from === null ? null : checkRow(row, from);
    return fault ?? { reason: `not convertible to ${to}`, detail: sentence(error) };
  }
  for (const one of converted) {
    const fault = checkRow(one, to);
    if (fault) return fault;
    const found = schemaOf(one);
    if (found !== to)
      return {
        reason: `not convertible to ${to}`,
        detail: `it has the columns of ${found}, too, which a Trainer would take`,
      };
  }
  return converted;
}

/** What an error says, without its code and remedy. */
const sentence = ({ message, code }: AttuneError): string =>
  message.split('\n')[0]!.replace(`${code}: `, '').replace(/\.$/, '');

function unknownSchema(row: Row): RowFault {
  const columns = Object.keys(row).map((name) => `"${name}"`);
  const listed = columns.slice(0, 8).join(', ') + (columns.length > 8 ? ', ...' : '');
  return {
    reason: 'unknown schema',
    detail: columns.length === 0 ? 'it has no columns' : `it has the columns ${listed}`,
  };
}

async function byUser(schema: StandardSchema, row: Row, to: SchemaName | null): Promise<Checked> {
  const result = await schema['~standard'].validate(row);
  if (result.issues) return faultOf(result.issues, 'invalid');
  if (!isPlainObject(result.value))
    return { reason: 'invalid', detail: 'the schema gives no object with named fields' };
  return to === null ? [result.value] : convert(result.value, to);
}

/**
 * Checks that rows are what a Trainer takes, and changes their format.
 *
 * Reasons: `invalid NAME`, `unknown schema`, `unknown role "..."`, `not only text`,
 * `not convertible to NAME`; `invalid` with a schema of your own.
 *
 * @example
 * const { rows, quarantined } = await validate(raw, { schema: 'auto', convertTo: 'messages' });
 */
export const validate = stageFunction<ValidateOptions, ValidateReport>(validateStage);
