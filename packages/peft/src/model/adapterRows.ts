import { AttuneError } from '@attune/core';
import { AdaptedLinear } from '../slots/adaptedLinear.js';
import { PromptSlot } from '../slots/promptSlot.js';
import { BASE_ROW } from '../slots/rowAdapters.js';
import type { AttachedAdapters } from './attachedAdapters.js';

/**
 * Whether each row of a batch may have the adapter of its name: it must be there, and adapt layers
 * alone.
 *
 * @throws PEFT_ADAPTER_UNKNOWN, PEFT_ROWS
 */
export function checkAdapterRows(adapters: AttachedAdapters, names: readonly string[]): void {
  if (adapters.switch.open.some(({ isPerRow }) => isPerRow))
    throw refused('the rows of this model have adapters already.', 'Await the other call first.');
  for (const name of new Set(names)) {
    if (name === BASE_ROW) continue;
    const { method, held } = adapters.get(name);
    const trained = held.filter(({ isTrained }) => isTrained);
    const other = trained.findLast(({ slot }) => !(slot instanceof AdaptedLinear));
    if (trained.length > 0 && !other) continue;
    const does =
      other?.slot instanceof PromptSlot ? 'gives virtual tokens' : `trains ${other?.path} itself`;
    throw refused(
      `"${name}" (${method.peftType}) ${other ? does : 'adapts no layers'}, which is one for the whole batch.`,
      'Run its rows by themselves, with setAdapter.',
    );
  }
}

const refused = (found: string, remedy: string): AttuneError =>
  new AttuneError('PEFT_ROWS', found, { remedy });
