import type { Fingerprint } from '@attune/core/training';
import type { Reference } from '../reference/reference.js';
import type { AnswerPreflightSetting } from '../rows/answerPreflight.js';
import type { TruncationMode } from '../rows/rowOptions.js';

/** What every alignment objective takes beside the options of its own. */
export interface AlignmentSettings {
  /** Tokens of a prompt with an answer. */
  readonly maxLength: number;
  readonly truncationMode: TruncationMode;
  readonly preflight: AnswerPreflightSetting;
  readonly disableDropout: boolean;
  /** The file that keeps the log-probabilities of the reference; null: none. */
  readonly precomputed: string | null;
  /** Rows of a micro-batch of training: TRL's KTO pairs answers within so many. */
  readonly trainBatchSize: number;
  readonly fingerprint: Fingerprint;
}

/** What an objective is made of. */
export interface ObjectiveParts<Options> {
  readonly options: Options;
  readonly settings: AlignmentSettings;
  /** Null where the objective needs none. */
  readonly reference: Reference | null;
}
