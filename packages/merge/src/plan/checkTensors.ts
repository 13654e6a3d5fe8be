import type { StoredTensor } from '../contract/tensorTask.js';
import type { ConfigPath, MergeProblems } from '../problems.js';
import type { PlannedInput, PlannedTensor } from './plannedTensors.js';
import { hasVocabularyRows } from './tensorNames.js';

/** Groups that one message has. */
const SHOWN = 6;

/** What may differ. */
export interface TensorRules {
  /** Rows of tokens may: a tokenizer is built, or the first rows are taken. */
  readonly rowsMayDiffer: boolean;
}

/**
 * Compares the tensors of all models by their headers: what is missing in some, what has another
 * shape, what is no float in some. A message names kinds of tensors, not each layer.
 */
export function checkTensors(
  planned: readonly PlannedTensor[],
  problems: MergeProblems,
  { rowsMayDiffer }: TensorRules,
): void {
  const missing = new Grouped();
  const shapes = new Grouped();
  const rows = new Grouped();
  const kinds = new Grouped();
  for (const tensor of planned) {
    const { inputs, template } = tensor;
    const without = inputs.filter((input) => input.tensor === null);
    const present = inputs.filter((input) => input.tensor !== null);
    if (without.length > 0) {
      const lack = without.length > 1 ? 'lack' : 'lacks';
      missing.add(
        `${keys(without)} ${lack} what ${keys(present)} ${has(present)}`,
        tensor,
        without[0]!,
      );
      continue;
    }
    const differing = differingShape(present);
    if (differing) {
      const vocabulary = hasVocabularyRows(template) && sameButRows(present);
      if (vocabulary && rowsMayDiffer) continue;
      const said = groupBy(present, ({ tensor: t }) => `[${t!.shape.join(', ')}]`);
      (vocabulary ? rows : shapes).add(said, tensor, differing);
      continue;
    }
    const dtypes = present.map((input) => input.tensor!.dtype);
    const integers = dtypes.filter((dtype) => !isFloat(dtype));
    if (integers.length > 0 && new Set(dtypes).size > 1)
      kinds.add(
        groupBy(present, (input) => input.tensor!.dtype),
        tensor,
        present[dtypes.findIndex((dtype) => dtype !== dtypes[0])]!,
      );
  }
  missing.report(problems, {
    what: 'tensors are missing',
    remedy: 'Merge models that have the same tensors; one that is left out would change the model.',
  });
  shapes.report(problems, {
    what: 'shapes differ',
    remedy: 'Merge models of one size.',
  });
  rows.report(problems, {
    what: 'vocabularies differ in size',
    remedy:
      'Write tokenizer: { source: union } (or base), which lines embeddings up by their tokens.',
  });
  kinds.report(problems, {
    what: 'dtypes differ',
    remedy: 'Integers are copied, and must be the same in all models.',
  });
}

export const isFloat = (dtype: StoredTensor['dtype']): boolean =>
  /^(BF16|F16|F32|F64)$/.test(dtype);

const has = ({ length }: { readonly length: number }): string => (length > 1 ? 'have' : 'has');

const keys = (inputs: readonly PlannedInput[]): string =>
  [...new Set(inputs.map(({ source }) => source.model.reference.key))].join(', ');

function differingShape(inputs: readonly PlannedInput[]): PlannedInput | null {
  const [first] = inputs;
  return inputs.find(({ tensor }) => `${tensor!.shape}` !== `${first!.tensor!.shape}`) ?? null;
}

const sameButRows = (inputs: readonly PlannedInput[]): boolean =>
  new Set(inputs.map(({ tensor }) => tensor!.shape.slice(1).join())).size === 1 &&
  new Set(inputs.map(({ tensor }) => tensor!.shape.length)).size === 1;

/** "[21, 16] in a, c and [22, 16] in b" */
function groupBy(inputs: readonly PlannedInput[], of: (input: PlannedInput) => string): string {
  const groups = new Map<string, PlannedInput[]>();
  for (const input of inputs) groups.set(of(input), [...(groups.get(of(input)) ?? []), input]);
  return [...groups].map(([value, those]) => `${value} in ${keys(those)}`).join(' and ');
}

/** The same complaint about several tensors. */
class Grouped {
  readonly #groups = new Map<string, { path: ConfigPath; templates: Map<string, number> }>();

  /** @param input whose place is shown */
  add(message: string, { template }: PlannedTensor, { source }: PlannedInput): void {
    const group = this.#groups.get(message) ?? { path: source.path, templates: new Map() };
    group.templates.set(template, (group.templates.get(template) ?? 0) + 1);
    this.#groups.set(message, group);
  }

  report(
    problems: MergeProblems,
    { what, remedy }: { readonly what: string; readonly remedy: string },
  ): void {
    for (const [message, { path, templates }] of this.#groups) {
      const names = [...templates].map(([name, count]) =>
        name.includes('*') ? `${name} (${count} layer${count > 1 ? 's' : ''})` : name,
      );
      const left = names.length - SHOWN;
      const list = names.slice(0, SHOWN).join(', ') + (left > 0 ? ` and ${left} more` : '');
      problems.add({ message: `${what}: ${message}: ${list}.`, remedy, path });
    }
  }
}
