import { AttuneError } from '@attune/core';
import type { StoredTensor } from '../contract/tensorTask.js';
import type { OpenedModel } from '../inputs/openModel.js';
import { isEmbedding, isHead, isIgnored } from '../plan/tensorNames.js';

/** A tensor before and after training. */
export interface TensorPair {
  /** As the model calls it: `model.layers.0.self_attn.q_proj.weight`. */
  readonly name: string;
  readonly shape: readonly number[];
  /** In the files of the base. */
  readonly before: string;
  /** In the files of the tuned model. */
  readonly after: string;
}

/** The pairs, and what a tied model has once alone. */
export interface PairedTensors {
  readonly pairs: readonly TensorPair[];
  /** The head is the embedding: no tensor of its own in either model. */
  readonly isTied: boolean;
}

/**
 * Names of the tensors of two models that belong together, in the order of the base.
 *
 * @throws MERGE_OTHER_MODEL naming what differs
 */
export function pairTensors(base: OpenedModel, tuned: OpenedModel): PairedTensors {
  const [type, other] = [base.files.config.model_type, tuned.files.config.model_type];
  if (type !== other)
    throw differ(base, tuned, [
      `model_type is ${JSON.stringify(type)} and ${JSON.stringify(other)}`,
    ]);
  const [before, after] = [byModuleName(base), byModuleName(tuned)];
  const isTied = ![...before.keys(), ...after.keys()].some(isHead);
  if (!isTied) {
    untie(before, after);
    untie(after, before);
  }
  const wrong = [
    ...[...before.keys()]
      .filter((name) => !after.has(name))
      .map((name) => `the tuned model has no "${name}"`),
    ...[...after.keys()]
      .filter((name) => !before.has(name))
      .map((name) => `the base has no "${name}"`),
  ];
  const pairs: TensorPair[] = [];
  for (const [name, mine] of before) {
    const theirs = after.get(name);
    if (!theirs) continue;
    const { shape } = mine.tensor;
    if (`${shape}` !== `${theirs.tensor.shape}`)
      wrong.push(`"${name}" is [${shape}] and [${theirs.tensor.shape}]`);
    pairs.push({ name, shape, before: mine.stored, after: theirs.stored });
  }
  if (wrong.length > 0) throw differ(base, tuned, wrong);
  return { pairs, isTied };
}

interface Named {
  readonly stored: string;
  readonly tensor: StoredTensor;
}

/** Checkpoints of the bare model leave out the name of the body, which adapters write. */
function byModuleName({ files }: OpenedModel): Map<string, Named> {
  const names = [...files.tensors.keys()];
  const bare = (first: RegExp) => names.some((name) => first.test(name));
  const body = bare(/^(embed_tokens\.|layers\.\d)/)
    ? 'model.'
    : bare(/^(wte\.|h\.\d)/)
      ? 'transformer.'
      : '';
  const found = new Map<string, Named>();
  for (const [stored, tensor] of files.tensors)
    if (!isIgnored(stored, tensor.shape))
      found.set(isHead(stored) ? stored : body + stored, { stored, tensor });
  return found;
}

/** A head that one of the models has for itself is the embedding in the other. */
function untie(mine: Map<string, Named>, theirs: ReadonlyMap<string, Named>): void {
  const head = [...theirs.keys()].find(isHead);
  const embedding = [...mine].find(([name]) => isEmbedding(name));
  if (head !== undefined && embedding && !mine.has(head)) mine.set(head, embedding[1]);
}

function differ(base: OpenedModel, tuned: OpenedModel, wrong: readonly string[]): AttuneError {
  const shown = wrong.slice(0, 5).join('; ');
  const left = wrong.length > 5 ? `; and ${wrong.length - 5} more` : '';
  return new AttuneError(
    'MERGE_OTHER_MODEL',
    `${tuned.reference.key} was not trained from ${base.reference.key}: ${shown}${left}.`,
    {
      remedy:
        'Give the model that the tuned one was trained from. A vocabulary that grew in training has no adapter: save the whole model.',
    },
  );
}
