import { dawn } from '@attune/backend-dawn';
import { type Attune, createAttune, silentLogger } from '@attune/core';
import { peft } from '@attune/peft';

export {
  fixture,
  fixtureJson,
  hasStories,
  shared,
  temporaryFolder,
} from '../../packages/backend-dawn/test/support.js';

/** Adapters on the device. */
export const onDawn = (): Promise<Attune> =>
  createAttune({ plugins: [dawn(), peft()], logger: silentLogger });
