import { AttuneError, type LanguageModel } from '@attune/core';
import { describeValue, isPlainObject } from '@attune/core/util';

/** How a model is called that stands beside the one that is trained. */
interface Role {
  readonly code: 'REFERENCE' | 'TEACHER';
  /** "reference", "teacher". */
  readonly name: string;
  /** Words that may stand in its place. */
  readonly words: readonly string[];
  /** Why the model that is trained cannot be it, and what can. */
  readonly itself: { readonly why: string; readonly remedy: string };
}

/** Whether it is a model, not the name of one. */
export const isModel = (value: unknown): value is LanguageModel =>
  typeof value === 'object' && value !== null && !isPlainObject(value) && 'root' in value;

/**
 * Another model as the reference or the teacher of one that is trained: it writes text, lies on the
 * same Attune and has the same vocabulary.
 *
 * @throws REFERENCE or TEACHER
 */
export function checkOther(
  model: LanguageModel,
  other: unknown,
  { code, name, words, itself }: Role,
): asserts other is LanguageModel {
  const invalid = (what: string, remedy: string) => new AttuneError(code, what, { remedy });
  if (!isModel(other))
    throw invalid(
      `${name} is ${describeValue(other)}.`,
      `Give a model that was loaded with the same \`attune\`, or ${words.join(' or ')}.`,
    );
  if (other.root === model.root)
    throw invalid(`${name} is the model that is trained: ${itself.why}.`, itself.remedy);
  if (other.engine !== model.engine)
    throw invalid(
      `${name} lies on another Attune than the model.`,
      'Load both with the same `attune`.',
    );
  if (other.taskType !== 'CAUSAL_LM')
    throw invalid(
      `${name} is a model for the task "${other.taskType}", which writes no text.`,
      'Load it with AutoModelForCausalLM.fromPretrained(path, { attune }).',
    );
  if (other.config.vocabSize !== model.config.vocabSize)
    throw invalid(
      `${name} has a vocabulary of ${other.config.vocabSize} tokens, the model of ${model.config.vocabSize}: their probabilities cannot be compared.`,
      `Take a ${name} that shares the tokenizer of the model.`,
    );
}
