import { describeValue, isPromise } from '../util/describeValue.js';
import { AttuneError, nearest } from '../util/errors.js';
import type { Objective } from './objective.js';

type Kind = 'a text' | 'a function' | 'an object' | 'true or false' | 'a number' | 'a whole number';

const required = {
  name: 'a text',
  collate: 'a function',
  countItems: 'a function',
  loss: 'a function',
} as const;

const kinds: Readonly<Record<keyof Objective, Kind>> = {
  ...required,
  prepare: 'a function',
  updates: 'a function',
  tables: 'a function',
  updatesPerGroup: 'a whole number',
  examplesPerGroup: 'an object',
  generation: 'a function',
  standIn: 'a function',
  rows: 'an object',
  fingerprint: 'an object',
  isLogLikelihood: 'true or false',
  disableDropout: 'true or false',
  labelSmoothing: 'a number',
  prediction: 'an object',
  modules: 'an object',
  state: 'an object',
};

const isOf: Readonly<Record<Kind, (value: unknown) => boolean>> = {
  'a text': (value) => typeof value === 'string',
  'a function': (value) => typeof value === 'function',
  'an object': (value) => typeof value === 'object' && value !== null,
  'true or false': (value) => typeof value === 'boolean',
  'a number': (value) => typeof value === 'number',
  'a whole number': (value) => Number.isInteger(value) && (value as number) > 0,
};

/** Members that objectives had themselves before they had rules about rows. */
const ofRows = ['encode', 'preflight', 'isPreflightOn', 'pack', 'isPacked', 'lengthOf'];

/**
 * Refuses what is no objective, where no compiler did. A member with another name is never called:
 * the run would train without it. So members that objectives had once are refused, and functions
 * that are called almost as one that is absent. Other members are the objective's own.
 *
 * @param where what takes it, for the message
 * @throws OBJECTIVE_INVALID, with all that is wrong
 */
export function checkObjective(where: string, given: unknown): asserts given is Objective {
  if (typeof given !== 'object' || given === null || isPromise(given))
    throw invalid(`${where}: objective is ${describeValue(given)}.`, [
      'Pass an object with name, collate, countItems and loss; or the name of an objective.',
    ]);
  const members = given as Readonly<Record<string, unknown>>;
  const has = (name: string) => members[name] !== undefined;
  const wrong: string[] = [];
  const remedies: string[] = [];
  const moved = ofRows.filter(has);
  if (moved.length > 0) {
    wrong.push(`${moved.join(', ')}: no members of an objective, but of its rows`);
    remedies.push(`Write rows: { ${moved.join(', ')} }.`);
  }
  const { prepare } = members;
  if (typeof prepare === 'function' && prepare.length > 1) {
    wrong.push('prepare takes more than its context: a group of micro-batches goes to updates');
    remedies.push('Write async *updates(group, context) { yield { batches }; }.');
  }
  const known = Object.keys(kinds) as (keyof Objective)[];
  const absent = known.filter((name) => kinds[name] === 'a function' && !has(name));
  const own = Object.keys(given).filter((name) => isOf['a function'](members[name]));
  for (const name of own.filter((one) => !(one in kinds) && !ofRows.includes(one))) {
    const meant = nearest(name, absent);
    if (meant) wrong.push(`${name}: no member of an objective. Did you mean ${meant}?`);
  }
  for (const name of known)
    if (has(name) && !isOf[kinds[name]](members[name]))
      wrong.push(`${name} is ${describeValue(members[name])}, not ${kinds[name]}`);
  const missing = Object.keys(required).filter((name) => !has(name));
  if (missing.length > 0) wrong.push(`missing: ${missing.join(', ')}`);
  if (wrong.length === 0) return;
  const called = typeof members.name === 'string' ? ` "${members.name}"` : '';
  throw invalid(`${where}: objective${called}:\n  ${wrong.join('\n  ')}`, remedies);
}

const invalid = (found: string, remedies: readonly string[]): AttuneError =>
  new AttuneError('OBJECTIVE_INVALID', found, {
    remedy: [...remedies, 'docs/writing-an-objective.md lists the members.'].join(' '),
  });
