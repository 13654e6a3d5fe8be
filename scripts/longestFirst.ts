import { readFileSync } from 'node:fs';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * longestFirst.json has the files that take longest, in that order. They start first, so that no
 * worker is left alone with one at the end. Other files follow by their size.
 */
const longest = JSON.parse(
  readFileSync(new URL('./longestFirst.json', import.meta.url), 'utf8'),
) as string[];

/** The order of the files, whatever a cache of earlier runs says: a clean clone has none. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = longest.findIndex((path) => moduleId.endsWith(`/${path}`));
      return at < 0 ? longest.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
