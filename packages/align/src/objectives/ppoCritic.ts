import { AttuneError, type DeviceBatch, type LanguageModel, type Tensor } from '@attune/core';
import { ValueHead } from '@attune/core/models';
import { type Module, writeValues } from '@attune/core/nn';

/** What says how much is expected from each place of an answer on. */
export interface Critic {
  /** For the log and for a checkpoint's fingerprint. */
  readonly kind: 'value head of the model' | 'new value head' | 'value model';
  /** Modules that are trained beside the model. */
  readonly modules: Readonly<Record<string, Module>>;
  /**
   * [B, T]: what is expected behind each token. Recorded, with a gradient.
   *
   * @param hidden [B, T, hidden]: of the policy's trunk
   */
  values(batch: DeviceBatch, hidden: Tensor): Tensor;
}

const inputOf = ({ inputIds, positions, segments }: DeviceBatch) => ({
  inputIds: inputIds!,
  positions: positions ?? null,
  segments: segments ?? null,
});

/**
 * The critic of a policy: a second model where there is one; the policy's own value head; else a
 * new head on its trunk, which starts at 0 and is trained. Heads share the trunk, so that there is
 * one copy of the base.
 *
 * @throws VALUE_MODEL for a model that gives no value, or of another Attune or vocabulary;
 *   VALUE_HEAD for one that is frozen
 */
export function criticOf(policy: LanguageModel, valueModel: LanguageModel | null): Critic {
  if (valueModel) return separate(policy, valueModel);
  const own = policy.values && [...policy.root.namedModules()].find(([path]) => path === 'v_head');
  if (own) {
    const [, head] = own as [string, ValueHead];
    checkTrained(head, 'the value head of the model');
    return {
      kind: 'value head of the model',
      modules: {},
      values: (_, hidden) => head.forward(hidden).squeeze(-1),
    };
  }
  const { engine, config } = policy;
  const head = new ValueHead(engine, { hiddenSize: config.hiddenSize, dtype: 'float32' });
  for (const [, parameter] of head.namedParameters()) {
    writeValues(parameter.tensor, new Float32Array(parameter.tensor.size));
    parameter.trainable = true;
  }
  return {
    kind: 'new value head',
    modules: { v_head: head },
    values: (_, hidden) => head.forward(hidden).squeeze(-1),
  };
}

function separate(policy: LanguageModel, model: LanguageModel): Critic {
  const invalid = (found: string, remedy: string) =>
    new AttuneError('VALUE_MODEL', `valueModel ${found}.`, { remedy });
  if (model.root === policy.root)
    throw invalid(
      'is the policy itself',
      'Leave it out: the policy gets a value head of its own, on the same trunk.',
    );
  if (model.engine !== policy.engine)
    throw invalid('lives in another Attune than the policy', 'Load both with the same attune.');
  if (model.config.vocabSize !== policy.config.vocabSize)
    throw invalid(
      `has a vocabulary of ${model.config.vocabSize}, the policy one of ${policy.config.vocabSize}`,
      'Take a model that shares the tokenizer of the policy.',
    );
  if (!model.values && model.scoring?.numLabels !== 1)
    throw invalid(
      `gives ${model.scoring ? `${model.scoring.numLabels} scores` : 'no value'} for a token`,
      'Load it with AutoModelForSequenceClassification.fromPretrained(folder, { numLabels: 1 }).',
    );
  checkTrained(model.root, 'valueModel');
  return {
    kind: 'value model',
    modules: { value_model: model.root },
    values: (batch) =>
      model.values
        ? model.values(inputOf(batch))
        : model.head(model.hiddenStates(inputOf(batch))).squeeze(-1),
  };
}

/** @throws VALUE_HEAD */
function checkTrained(root: Module, what: string): void {
  for (const [, parameter] of root.namedParameters()) if (parameter.trainable) return;
  throw new AttuneError('VALUE_HEAD', `${what} is frozen: it would never learn what to expect.`, {
    remedy: 'Leave its parameters trainable; a value head is trained beside an adapter by itself.',
  });
}
