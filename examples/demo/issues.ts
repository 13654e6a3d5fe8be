/** The classes a review may name. `none` means that the function is fine as it stands. */
export const ISSUES = [
  'off-by-one',
  'missing-await',
  'assignment-in-condition',
  'loose-equality',
  'unused-variable',
  'unclosed-resource',
  'swallowed-error',
  'sql-injection',
  'division-by-zero',
  'none',
] as const;

export type Issue = (typeof ISSUES)[number];
export type Bug = Exclude<Issue, 'none'>;
export type Severity = 'low' | 'medium' | 'high';

export const SEVERITIES: readonly Severity[] = ['low', 'medium', 'high'];

/** How bad each class is when nothing else is known: data loss and attacks first, taste last. */
export const SEVERITY: Readonly<Record<Issue, Severity>> = {
  'off-by-one': 'medium',
  'missing-await': 'high',
  'assignment-in-condition': 'high',
  'loose-equality': 'low',
  'unused-variable': 'low',
  'unclosed-resource': 'medium',
  'swallowed-error': 'medium',
  'sql-injection': 'high',
  'division-by-zero': 'medium',
  none: 'low',
};
