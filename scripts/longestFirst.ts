import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * The files that take longest, in that order: they start first, so that no worker is left alone with
 * one at the end. Files that are not here follow by their size.
 */
const longest = [
  'packages/backend-dawn/test/conformance.sizes.test.ts',
  'packages/backend-dawn/test/matmul.sizes.test.ts',
  'packages/backend-dawn/test/conformance.test.ts',
  'packages/backend-dawn/test/matmul.test.ts',
  'packages/backend-dawn/test/offload.test.ts',
  'packages/peft/test/files/killedSave.test.ts',
  'packages/backend-dawn/test/families.test.ts',
  'integration/device/parity.test.ts',
  'packages/peft/test/methods/methods.test.ts',
  'packages/core/test/trainer/killed.test.ts',
  'integration/device/adapters.test.ts',
  'integration/device/memoryPlan.test.ts',
  'packages/backend-dawn/test/fullRuns.test.ts',
  'integration/optionTypes.test.ts',
  'integration/loraRun.test.ts',
  'packages/core/test/trainer/checkpoint.test.ts',
  'packages/core/test/trainer/ropeLengths.test.ts',
  'packages/peft/test/methods/promptWindows.test.ts',
];

const root = new URL('..', import.meta.url).pathname;

/** Longest files first, whatever a cache of earlier runs says: a clean clone has none. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const gone = longest.filter((path) => !existsSync(join(root, path)));
    if (gone.length > 0)
      throw new Error(`scripts/longestFirst.ts names files that are gone: ${gone}`);
    const rank = ({ moduleId }: TestSpecification) => {
      const at = longest.findIndex((path) => moduleId === join(root, path));
      return at < 0 ? longest.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
