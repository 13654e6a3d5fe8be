import type { AdapterHost } from '../models/adapterHost.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { TrainingArguments } from '../training/arguments/trainingArguments.js';
import type { Objective } from '../training/objective.js';
import { AttuneError } from '../util/errors.js';

/**
 * @throws ARGUMENTS_INVALID when there is to be evaluated, but nothing to evaluate on, or nothing
 *   that gives the metric
 */
export function checkEvaluation(
  args: TrainingArguments,
  hasDataset: boolean,
  hasTasks: boolean,
): void {
  if (hasDataset || (args.evalStrategy === 'no' && !args.evalOnStart)) return;
  if (hasTasks) {
    if (args.metricForBestModel !== 'evalLoss') return;
    throw new AttuneError(
      'ARGUMENTS_INVALID',
      'metricForBestModel is "evalLoss", but there is no evalDataset that would give it.',
      {
        remedy:
          'Set metricForBestModel to a metric of a task, such as "arc_acc", or pass evalDataset.',
      },
    );
  }
  const asked =
    args.evalStrategy === 'no' ? 'evalOnStart is true' : `evalStrategy is "${args.evalStrategy}"`;
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    `${asked}, but there is no evalDataset and there are no evaluationTasks.`,
    {
      remedy:
        'Pass evalDataset or evaluationTasks, or leave evalStrategy at "no" and evalOnStart at false.',
    },
  );
}

/**
 * Without checkpointing the tape would hold every uploaded weight until the backward pass.
 *
 * @throws OFFLOAD_CHECKPOINTING
 */
export function checkOffload(model: LanguageModel): void {
  if (model.isGradientCheckpointing) return;
  for (const [name, parameter] of model.root.namedParameters())
    if (parameter.isOffloaded && !parameter.trainable)
      throw new AttuneError(
        'OFFLOAD_CHECKPOINTING',
        `"${name}" lies in host memory, but gradientCheckpointing is off: the uploaded weights of all layers would be kept for the backward pass.`,
        { remedy: 'Set gradientCheckpointing: true, or load the model without offload.' },
      );
}

/**
 * Adapters that were there are there still: without them a run would train and save another model
 * than it was made for.
 *
 * @throws ADAPTERS_CHANGED
 */
export function checkSameAdapters(
  before: AdapterHost | null,
  now: AdapterHost | null,
  when: string,
): void {
  if (before === null || before === now) return;
  throw new AttuneError(
    'ADAPTERS_CHANGED',
    `the adapters of the model were ${now ? 'exchanged for others' : 'taken off (unload, mergeAndUnload)'} ${when}.`,
    {
      remedy:
        'Make a new trainer for the model as it is now; or leave its adapters on until the trainer is done.',
    },
  );
}

/**
 * Nobody trains with less than they asked for: an objective that does not smooth must not be told
 * to.
 *
 * @throws ARGUMENTS_INVALID
 */
export function checkSmoothing(factor: number, { name, labelSmoothing = 0 }: Objective): void {
  if (factor === 0 || factor === labelSmoothing) return;
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    `labelSmoothingFactor is ${factor}, but the objective "${name}" ${labelSmoothing ? `smooths by ${labelSmoothing}` : 'does not smooth labels'}.`,
    { remedy: 'Use SFTTrainer, or causalLmObjective({ labelSmoothing }), or leave it at 0.' },
  );
}

/**
 * The best checkpoint cannot be that of a number which evaluation does not give.
 *
 * @param metric `metricForBestModel`
 * @throws ARGUMENTS_INVALID
 */
export function checkPerplexity(
  metric: string | null,
  { name, isLogLikelihood = false }: Objective,
): void {
  if (metric !== 'evalPerplexity' || isLogLikelihood) return;
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    `metricForBestModel is "evalPerplexity", but the loss of the objective "${name}" is no log-likelihood, and exp(loss) no perplexity.`,
    { remedy: 'Set metricForBestModel: "evalLoss", or a metric of the objective.' },
  );
}
