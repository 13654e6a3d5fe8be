import { AttuneError } from '@attune/core';
import type { MergeConfig } from './config/mergeConfig.js';

/** A path in a config: `['models', 1, 'parameters', 'density']`. */
export type ConfigPath = readonly (string | number)[];

/** Something that is wrong with a merge. */
export interface MergeProblem {
  /** What was found, and what was expected. A sentence. */
  readonly message: string;
  /** What to do. A sentence. */
  readonly remedy: string;
  /** What of the config it is about; absent: no part of it. */
  readonly path?: ConfigPath;
}

/** No more than this many are shown: a wrong base differs in every tensor. */
const MAX_SHOWN = 40;

/** `models[1].parameters.density` */
export const formatPath = (path: ConfigPath): string =>
  path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i ? `.${part}` : part)).join('');

/**
 * Collects what is wrong, so that one error names all of it: with the line of the config where a
 * file has one.
 */
export class MergeProblems {
  readonly #found: MergeProblem[] = [];

  add(problem: MergeProblem): void {
    this.#found.push(problem);
  }

  get all(): readonly MergeProblem[] {
    return this.#found;
  }

  /** @throws MERGE_INVALID where there are any */
  throwIfAny(config: Pick<MergeConfig, 'file' | 'placeOf'>): void {
    if (this.#found.length === 0) return;
    const lines = this.#found.slice(0, MAX_SHOWN).map(({ message, path }) => {
      const place = path && config.placeOf(path);
      const where = place
        ? `${config.file ?? 'config'}:${place.line}:${place.column}: `
        : path?.length
          ? `${formatPath(path)}: `
          : '';
      return where + message;
    });
    const left = this.#found.length - lines.length;
    if (left > 0) lines.push(`... and ${left} more.`);
    const remedies = [...new Set(this.#found.map(({ remedy }) => remedy))].slice(0, 6);
    throw new AttuneError('MERGE_INVALID', lines.join('\n  '), {
      remedy: remedies.join(' '),
      details: { problems: this.#found },
    });
  }
}
