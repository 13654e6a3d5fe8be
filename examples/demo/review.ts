import type { FunctionDocument, Sample } from './compose.js';
import { ISSUES, type Issue, SEVERITIES, SEVERITY, type Severity } from './issues.js';
import type { Rng } from './rng.js';

/** A row of the supervised data set. */
export interface ReviewRow {
  prompt: string;
  completion: string;
  document_id: string;
  issue: Issue;
}

/** A row of the preference data set: the same prompt, a good and a bad review. */
export interface PreferenceRow {
  prompt: string;
  chosen: string;
  rejected: string;
  document_id: string;
}

/** One sentence for each class; `{s}` is the identifier at fault, `{f}` the function. */
const SUGGESTIONS: Readonly<Record<Issue, readonly string[]>> = {
  'off-by-one': [
    'Stop before the end of {s}, the last index is one less.',
    'Correct the bound, the last step reads past the end of {s}.',
  ],
  'missing-await': ['Await {s} before going on.', 'Add await to the call of {s} in {f}.'],
  'assignment-in-condition': [
    'Compare {s} with === instead of assigning to it.',
    'Use === in the condition, it sets {s}.',
  ],
  'loose-equality': [
    'Compare {s} with a strict operator.',
    'Use strict equality for {s}, so that types must match.',
  ],
  'unused-variable': ['Remove {s} or use it in {f}.', 'Delete {s}, nothing reads it.'],
  'unclosed-resource': ['Close {s} before {f} returns.', 'Release {s} when the work is done.'],
  'swallowed-error': [
    'Report the error when {s} fails.',
    'Do not hide the failure of {s}, log it or throw it again.',
  ],
  'sql-injection': [
    'Pass {s} as a parameter of the query.',
    'Use a placeholder for {s} instead of building the SQL text.',
  ],
  'division-by-zero': [
    'Check that {s} is not zero before dividing.',
    'Handle the case that {s} is zero.',
  ],
  none: ['Keep {f} as it is.', 'No change is needed in {f}.'],
};

/** What a lazy reviewer says: true of any function, so of no use for this one. */
const VAGUE = [
  'Improve the code.',
  'Please clean this up.',
  'Make it better.',
  'There may be a problem here.',
];

export const formatPrompt = (code: string): string => `### Code\n${code}\n### Review\n`;

function formatReview(issue: Issue, severity: Severity, suggestion: string): string {
  return `issue: ${issue}\nseverity: ${severity}\nsuggestion: ${suggestion}`;
}

/** A sentence that mends the issue; the corpus uses the same sentences outside of reviews. */
export function suggest(rng: Rng, issue: Issue, subject: string, name: string): string {
  return rng.pick(SUGGESTIONS[issue]).replaceAll('{s}', subject).replaceAll('{f}', name);
}

export function reviewRow(rng: Rng, document: FunctionDocument, sample: Sample): ReviewRow {
  const suggestion = suggest(rng, sample.issue, sample.subject, document.name);
  return {
    prompt: formatPrompt(sample.code),
    completion: formatReview(sample.issue, SEVERITY[sample.issue], suggestion),
    document_id: document.id,
    issue: sample.issue,
  };
}

/** The rejected review names another class, misjudges the severity, or says nothing of use. */
export function preferenceRow(rng: Rng, document: FunctionDocument, sample: Sample): PreferenceRow {
  const { issue, subject } = sample;
  const severity = SEVERITY[issue];
  const suggestion = suggest(rng, issue, subject, document.name);
  const flaw = rng.pick(['class', 'class', 'severity', 'vague'] as const);
  let rejected: string;
  if (flaw === 'class') {
    const other = rng.pick(ISSUES.filter((candidate) => candidate !== issue));
    rejected = formatReview(other, SEVERITY[other], suggest(rng, other, subject, document.name));
  } else if (flaw === 'severity') {
    const other = rng.pick(SEVERITIES.filter((candidate) => candidate !== severity));
    rejected = formatReview(issue, other, suggestion);
  } else {
    rejected = formatReview(issue, severity, rng.pick(VAGUE));
  }
  return {
    prompt: formatPrompt(sample.code),
    chosen: formatReview(issue, severity, suggestion),
    rejected,
    document_id: document.id,
  };
}
