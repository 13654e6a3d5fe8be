import { AttuneError, type Tensor } from '@attune/core';
import { formatShape } from '@attune/core/tensor';

/** What stands for the base alone where each row of a batch has an adapter, as in PEFT. */
export const BASE_ROW = '__base__';

/** Rows start to end - 1, which have one adapter; null: none. */
export interface RowRun {
  readonly adapter: string | null;
  readonly start: number;
  readonly end: number;
}

/**
 * Neighbouring rows of one adapter, which compute together: a batch that is sorted by adapter has
 * the fewest.
 *
 * @param names of each row
 * @param isHere whether the layer has anything of an adapter
 */
export function rowRuns(names: readonly string[], isHere: (name: string) => boolean): RowRun[] {
  const runs: RowRun[] = [];
  for (const [row, name] of names.entries()) {
    const adapter = isHere(name) ? name : null;
    const last = runs.at(-1);
    if (last?.adapter === adapter) runs[runs.length - 1] = { ...last, end: row + 1 };
    else runs.push({ adapter, start: row, end: row + 1 });
  }
  return runs;
}

/** @throws PEFT_ROWS while training, and for a batch of another size */
export function checkRows(x: Tensor, names: readonly string[], training: boolean): void {
  if (training)
    throw new AttuneError('PEFT_ROWS', 'an adapter for each row is for inference, as in PEFT.', {
      remedy: 'Call model.root.eval(), or train the adapters one after the other.',
    });
  if (x.shape[0] === names.length) return;
  throw new AttuneError(
    'PEFT_ROWS',
    `there are ${names.length} adapter names, and the batch is ${formatShape(x.shape)}.`,
    { remedy: `Give one name for each row; "${BASE_ROW}" is the base alone.` },
  );
}
