/** How many digits stand near one another in a text, at most. */
export interface DigitRuns {
  /** Side by side. */
  readonly longest: number;
  /** With nothing between but signs, spaces and capitals that numbers are written with. */
  readonly most: number;
}

/** Digits that the shortest number of a person has. */
const LEAST = 6;
const ENOUGH = new RegExp(`\\d(?:[ ().\\-/A-Z]*\\d){${LEAST - 1}}`);
const FEW: DigitRuns = { longest: 0, most: 0 };

const DIGITS = /\d+/g;
const BETWEEN = /^[ ().\-/A-Z]*$/;

/** The digits of a text: most finders need so many of them that most texts are done here. */
export function digitRuns(text: string): DigitRuns {
  if (!ENOUGH.test(text)) return FEW;
  let [longest, most, near, end] = [0, 0, 0, 0];
  for (const { 0: digits, index } of text.matchAll(DIGITS)) {
    near = BETWEEN.test(text.slice(end, index)) ? near + digits.length : digits.length;
    longest = Math.max(longest, digits.length);
    most = Math.max(most, near);
    end = index + digits.length;
  }
  return { longest, most };
}
