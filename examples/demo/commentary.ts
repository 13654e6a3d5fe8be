import type { Issue } from './issues.js';

/**
 * How people talk about each issue in comments, commits and chats, never in the form of a review.
 * `{s}` is the identifier at fault, `{f}` the function.
 */
export interface Commentary {
  /** The name of the problem in running text. */
  readonly term: string;
  /** Remarks on a function that has the problem. */
  readonly remarks: readonly string[];
  /** Subjects of the commit that mends it. */
  readonly commits: readonly string[];
  /** A yes/no question about the code, phrased so that `no` means the problem is there. */
  readonly question: string;
  /** General statements, tied to no function. */
  readonly lessons: readonly string[];
}

export const COMMENTARY: Readonly<Record<Issue, Commentary>> = {
  'off-by-one': {
    term: 'off-by-one error',
    remarks: [
      'off-by-one: the last step reads past the end of {s}.',
      'the bound is one too high for {s}.',
      'the last index of {s} is one less than the bound here.',
    ],
    commits: ['fix off-by-one bound in {f}', 'stop before the end of {s}'],
    question: 'Does every index stay inside the list?',
    lessons: [
      'The last index of a list is its length minus one. A loop that goes one step further has an off-by-one error.',
      'An off-by-one bound reads past the end of the list. Correct the bound, the severity is medium.',
    ],
  },
  'missing-await': {
    term: 'missing await',
    remarks: [
      'missing await: {s} gives a promise and nobody waits for it.',
      'the call of {s} has no await.',
      'add await to {s} before going on.',
    ],
    commits: ['add missing await in {f}', 'await {s}'],
    question: 'Is every promise awaited?',
    lessons: [
      'An async call without await gives a promise, not its value. A missing await is an issue of high severity.',
      'Await a promise before you use the value. A missing await hides failures.',
    ],
  },
  'assignment-in-condition': {
    term: 'assignment in a condition',
    remarks: [
      'assignment in the condition: it sets {s} instead of comparing it.',
      'the condition uses = and assigns to {s}.',
      'compare {s} with ===, this sets it.',
    ],
    commits: ['compare {s} instead of assigning', 'fix assignment in condition of {f}'],
    question: 'Does every condition compare and not assign?',
    lessons: [
      'One equals sign assigns, three compare. An assignment in a condition is an issue of high severity.',
      'An assignment-in-condition bug changes the value that it should only look at.',
    ],
  },
  'loose-equality': {
    term: 'loose equality',
    remarks: [
      'loose equality: {s} is compared without its type.',
      'the loose operator converts {s} first.',
      'use a strict operator for {s}.',
    ],
    commits: ['use strict equality for {s}', 'drop loose equality in {f}'],
    question: 'Is every comparison strict?',
    lessons: [
      'Two equals signs are loose equality, they convert types. Three are strict. The severity is low.',
      'The loose-equality operators are == and !=. The strict operators are === and !==.',
    ],
  },
  'unused-variable': {
    term: 'unused variable',
    remarks: [
      'unused variable: nothing reads {s}.',
      '{s} is set and never used.',
      'remove {s} or use it.',
    ],
    commits: ['remove unused variable {s}', 'delete unused {s} in {f}'],
    question: 'Is every variable used?',
    lessons: [
      'A variable that nothing reads is an unused variable. Delete it or use it, the severity is low.',
      'An unused-variable issue may be a sign of forgotten work.',
    ],
  },
  'unclosed-resource': {
    term: 'unclosed resource',
    remarks: [
      'unclosed resource: nobody closes {s}.',
      '{s} stays open when {f} returns.',
      'close {s} when the work is done.',
    ],
    commits: ['close {s} in {f}', 'release unclosed resource {s}'],
    question: 'Is everything that was opened closed again?',
    lessons: [
      'Whoever opens a file must close it, whoever takes a connection must release it. An unclosed resource is of medium severity.',
      'An unclosed-resource issue leaks handles until none is left.',
    ],
  },
  'swallowed-error': {
    term: 'swallowed error',
    remarks: [
      'swallowed error: nobody hears when {s} fails.',
      'the failure of {s} is hidden.',
      'the handler drops the error of {s}, log it or throw it again.',
    ],
    commits: ['report the error of {s}', 'do not swallow error in {f}'],
    question: 'Is every error handled?',
    lessons: [
      'An empty handler swallows the error. Log it, report it or throw it again. The severity is medium.',
      'A swallowed-error issue hides the failure from whoever must mend it.',
    ],
  },
  'sql-injection': {
    term: 'SQL injection',
    remarks: [
      'SQL injection: {s} becomes part of the query text.',
      'the query is built from {s}, use a placeholder.',
      'pass {s} as a parameter of the query.',
    ],
    commits: ['prevent SQL injection through {s}', 'use a placeholder for {s}'],
    question: 'Is every query free of pasted values?',
    lessons: [
      'Never paste a value into the text of a query, pass it as a parameter. SQL injection is an issue of high severity.',
      'An sql-injection bug lets a user change the query. Use a placeholder.',
    ],
  },
  'division-by-zero': {
    term: 'division by zero',
    remarks: [
      'division by zero: {s} may be zero.',
      'nothing checks that {s} is not zero.',
      'handle the case that {s} is zero before dividing.',
    ],
    commits: ['guard against division by zero in {f}', 'handle zero {s}'],
    question: 'Is every divisor known not to be zero?',
    lessons: [
      'The length of an empty list is zero. Check it before dividing. Division by zero is of medium severity.',
      'A division-by-zero issue gives NaN or an exception.',
    ],
  },
  none: {
    term: 'no problem',
    remarks: [
      'none, {f} is fine.',
      'no issue in {f}, keep it as it is.',
      'fine, no change is needed.',
    ],
    commits: ['add {f}', 'document {f}'],
    question: 'Is it free of mistakes?',
    lessons: [
      'A good review names the issue, its severity and a suggestion. If there is none, it says so.',
      'If the code is fine, no change is needed. Keep it as it is.',
    ],
  },
};
