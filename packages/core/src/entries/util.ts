/**
 * Small things that packages for Attune share: options, JSON, names, numbers, Python's regular
 * expressions.
 *
 * @module
 */

/** What schemas of options are made with: of the copy that reads them. */
export { z } from 'zod';
export { displayWidth, LiveLine, type ProgressStream } from '../callbacks/liveLine.js';
export { briefly } from '../util/briefly.js';
export { formatBytes, parseBytes } from '../util/bytes.js';
export { describeValue, isPromise } from '../util/describeValue.js';
export { diskError, isSystemError } from '../util/diskError.js';
export * from '../util/errors.js';
export * from '../util/formatJson.js';
export * from '../util/json.js';
export * from '../util/logger.js';
export * from '../util/losslessJson.js';
export { innerSchema } from '../util/optionIssues.js';
export {
  type FilledOptions,
  hintsOf,
  type OptionsInput,
  parseOptions,
  problemError,
  problemsOf,
  type Retyped,
  type Wording,
} from '../util/options.js';
export * from '../util/pythonRegex/index.js';
export * from '../util/rng.js';
export { sameValue } from '../util/sameValue.js';
export { explainUnknown, type OptionHints } from '../util/unknownOptions.js';
