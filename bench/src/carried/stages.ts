/** A bench of the archive, and the part of the time that is meant for it. */
export interface Stage {
  readonly bench: string;
  readonly share: number;
}

/**
 * Most valuable first: what device this is and whether it computes right, then speed. The cases of
 * the conformance suite that its first turn leaves get the time that is left at the end.
 */
export const stages: readonly Stage[] = [
  { bench: 'adapter', share: 0.03 },
  { bench: 'conformance', share: 0.17 },
  { bench: 'matmul', share: 0.15 },
  { bench: 'attention', share: 0.08 },
  { bench: 'lora-1b', share: 0.27 },
  { bench: 'train-step', share: 0.08 },
  { bench: 'generate', share: 0.08 },
  { bench: 'recording', share: 0.08 },
  { bench: 'conformance', share: 0.06 },
];

/** When a stage shall end by itself, and when it is ended. */
export interface Deadline {
  readonly seconds: number;
  readonly killAt: number;
}

/** Share of the whole time for a case that is under way when the time of its stage is over. */
const GRACE = 0.1;

/**
 * Deadlines add up from the start of the run, so that a stage inherits what those before it did not
 * use, and none takes from the last ones more than its grace.
 *
 * @param total seconds of the whole run
 * @returns for each stage, in seconds since the start of the run
 */
export function deadlines(total: number, parts: readonly Stage[] = stages): Deadline[] {
  const whole = parts.reduce((sum, { share }) => sum + share, 0);
  let shares = 0;
  return parts.map(({ share }) => {
    shares += share;
    const seconds = ((1 - GRACE) * total * shares) / whole;
    return { seconds, killAt: seconds + GRACE * total };
  });
}
