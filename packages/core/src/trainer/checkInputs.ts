import type { z } from 'zod';
import type { LanguageModel } from '../models/languageModel.js';
import { argumentNotes, trainerNotes } from '../training/arguments/notes.js';
import { describeValue, isPromise } from '../util/describeValue.js';
import { AttuneError } from '../util/errors.js';
import { checkNames, hintsOf } from '../util/options.js';
import type { OtherPlace } from '../util/unknownOptions.js';
import type { TrainerOptions } from './trainerOptions.js';

const invalid = (what: string, value: unknown, remedy: string): AttuneError =>
  new AttuneError('TRAINER_OPTION', `${what}, found ${describeValue(value)}.`, { remedy });

const isText = (value: unknown): value is string => typeof value === 'string';

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

/** Whether it has what a tokenizer has, and a model has not. */
const isTokenizer = (value: unknown): boolean => isObject(value) && 'encode' in value;

/** Where training arguments belong that are written in another place. */
export const argumentsPlace = (schema: z.ZodObject): OtherPlace => ({
  hints: { ...hintsOf(schema), notes: argumentNotes },
  place: (name: string) => `args: { ${name} }`,
});

/**
 * The options of a trainer by name, then what they are.
 *
 * @param schema the trainer's own options
 * @param ofArguments what `args` takes, which is often written beside it
 * @throws UNKNOWN_OPTION, TRAINER_OPTION
 */
export function checkTrainerOptions(
  trainer: string,
  options: unknown,
  schema: z.ZodObject,
  ofArguments: z.ZodObject,
): void {
  if (isObject(options) && ('root' in options || isPromise(options)))
    throw invalid(
      `${trainer} takes one object of options`,
      options,
      `Write new ${trainer}({ model, tokenizer, trainDataset, args }).`,
    );
  checkNames(schema, options, {
    where: trainer,
    code: 'TRAINER_OPTION',
    notes: trainerNotes,
    elsewhere: [argumentsPlace(ofArguments)],
  });
  checkInputs(trainer, options as TrainerOptions);
}

/**
 * What a trainer is made of, each a thing of its kind: not a path to it, not a promise of it, not
 * something else. What rows and arguments hold is checked later.
 *
 * @throws TRAINER_OPTION
 */
function checkInputs(
  trainer: string,
  options: Pick<
    TrainerOptions,
    'model' | 'tokenizer' | 'trainDataset' | 'evalDataset' | 'peftConfig' | 'callbacks'
  >,
): void {
  const { model, tokenizer, trainDataset, evalDataset, peftConfig, callbacks } = options;
  checkModel(`${trainer}: model`, model);
  const awaited = 'Write await before AutoTokenizer.fromPretrained(...).';
  if (isPromise(tokenizer)) throw invalid(`${trainer}: expected a tokenizer`, tokenizer, awaited);
  if (tokenizer !== undefined && tokenizer !== null && !isTokenizer(tokenizer))
    throw invalid(
      `${trainer}: tokenizer: expected one of AutoTokenizer.fromPretrained`,
      tokenizer,
      'Pass tokenizer: await AutoTokenizer.fromPretrained(path).',
    );
  checkRows(`${trainer}: trainDataset`, trainDataset);
  checkEvalRows(`${trainer}: evalDataset`, evalDataset);
  checkCallbacks(trainer, callbacks);
  if (peftConfig !== undefined && (!isObject(peftConfig) || Array.isArray(peftConfig)))
    throw invalid(
      `${trainer}: peftConfig: expected an object`,
      peftConfig,
      "Pass peftConfig: { peftType: 'LORA', r: 8 }.",
    );
}

/** @throws TRAINER_OPTION for what is no language model; ATTUNE_DISPOSED */
function checkModel(where: string, model: unknown): void {
  if (isObject(model) && 'root' in model && 'attune' in model) {
    if (!(model as LanguageModel).attune.isDisposed) return;
    throw new AttuneError('ATTUNE_DISPOSED', `${where}: its Attune was disposed before.`, {
      remedy: 'Train before `await using attune` leaves its block, or before attune.dispose().',
    });
  }
  const load = 'model: await AutoModelForCausalLM.fromPretrained(path, { attune })';
  throw invalid(
    `${where}: expected a language model`,
    model,
    isPromise(model)
      ? `Write await: ${load}.`
      : isTokenizer(model)
        ? `Pass it as tokenizer, and ${load}.`
        : `Pass ${load}.`,
  );
}

/** @throws TRAINER_OPTION */
function checkRows(where: string, rows: unknown): void {
  if (rows === undefined) return;
  const kinds = `${where}: expected rows`;
  const load = "await loadDataset('json', { dataFiles: 'train.jsonl' })";
  if (isText(rows)) throw invalid(kinds, rows, `Read the file: ${load}.`);
  if (isPromise(rows)) throw invalid(kinds, rows, `Write await: ${load}.`);
  if (isObject(rows) && (Symbol.iterator in rows || Symbol.asyncIterator in rows)) return;
  throw invalid(kinds, rows, `Pass an array of rows, or ${load}.`);
}

/** One set, or several by name. @throws TRAINER_OPTION */
export function checkEvalRows(where: string, rows: unknown): void {
  const isNamed =
    isObject(rows) &&
    Object.getPrototypeOf(rows) === Object.prototype &&
    !(Symbol.iterator in rows || Symbol.asyncIterator in rows || isPromise(rows));
  if (isNamed) for (const [name, set] of Object.entries(rows)) checkRows(`${where}.${name}`, set);
  else checkRows(where, rows);
}

function checkCallbacks(trainer: string, callbacks: unknown): void {
  if (callbacks === undefined) return;
  if (!Array.isArray(callbacks))
    throw invalid(
      `${trainer}: callbacks: expected a list`,
      callbacks,
      'Pass callbacks: [new ProgressCallback()].',
    );
  for (const callback of callbacks as readonly unknown[]) {
    if (isText(callback) || (isObject(callback) && !Array.isArray(callback))) continue;
    const name = typeof callback === 'function' ? callback.name : '';
    throw invalid(
      `${trainer}: callbacks: expected a callback or the name of one`,
      callback,
      name ? `Make one: new ${name}().` : 'Pass an object with hooks: { onStepEnd() { ... } }.',
    );
  }
}
