/**
 * Beam search over sequences that another keeps: which beams go on with which token, and which have
 * ended. Pure host arithmetic; the rules are those of transformers' `GenerationMixin._beam_search`.
 */

export interface BeamOptions {
  readonly numBeams: number;
  /**
   * Exponent of the answer's length by which its log-probability is divided: above 0 favours long
   * answers.
   */
  readonly lengthPenalty: number;
  /**
   * true: stop as soon as numBeams answers have ended; false: when a better one is unlikely;
   * 'never': when it is impossible.
   */
  readonly earlyStopping: boolean | 'never';
  /** Tokens of the longest answer. */
  readonly maxNewTokens: number;
  /** Tokens that end a row. */
  readonly numEosTokens: number;
}

/** Why an answer has ended, or null. */
export type Ending = 'eos' | 'stop' | 'length' | 'time' | null;

export interface Beam {
  /** The answer so far, without the prompt. */
  readonly ids: readonly number[];
  /** Sum of the log-probabilities of its tokens; of ended beams divided by length^lengthPenalty. */
  readonly score: number;
  readonly ending: Ending;
}

/** What a beam without a history is worth: less than any that has one. */
const LEAST = -1e9;

/** The beams of one prompt. */
export class BeamSearch {
  #running: Beam[];
  #ended: Beam[];
  /** False once no running beam can overtake what has ended. */
  #canImprove = true;
  #length = 0;
  #allEnd = false;

  constructor(private readonly options: BeamOptions) {
    // All but one start as hopeless, so that the first step does not take one token numBeams times.
    this.#running = Array.from({ length: options.numBeams }, (_, i) => ({
      ids: [],
      score: i === 0 ? 0 : LEAST,
      ending: null,
    }));
    this.#ended = Array.from({ length: options.numBeams }, () => ({
      ids: [],
      score: LEAST,
      ending: null,
    }));
  }

  get running(): readonly Beam[] {
    return this.#running;
  }

  /** The ended beams, the best first. */
  get best(): readonly Beam[] {
    return this.#ended;
  }

  /** A running beam may still end up among the best. */
  get canImprove(): boolean {
    return this.#canImprove;
  }

  /** Every place among the best is taken. */
  get isFull(): boolean {
    return this.#ended.every((beam) => beam.ending !== null);
  }

  /** The last step left no beam that goes on. */
  get hasStopped(): boolean {
    return this.#allEnd;
  }

  /**
   * One token more.
   *
   * @param logProbs of each running beam over the vocabulary
   * @param endingOf whether the answer `ids` ends here
   * @returns for each running beam of the next step, the beam of this step that it continues
   */
  step(
    logProbs: readonly Float64Array[],
    endingOf: (ids: readonly number[]) => Ending,
  ): readonly number[] {
    const { numBeams, numEosTokens, lengthPenalty, earlyStopping } = this.options;
    // So many that numBeams go on even if every ending is among the likeliest.
    const candidates = this.#candidates(logProbs, Math.max(2, 1 + numEosTokens) * numBeams).map(
      ({ from, token, score }) => {
        const ids = [...this.#running[from]!.ids, token];
        return { from, ids, score, ending: endingOf(ids) };
      },
    );
    this.#length++;
    this.#allEnd = candidates.every(({ ending }) => ending !== null);
    const closed = earlyStopping === true && this.isFull;
    const ended = candidates.slice(0, numBeams).filter(({ ending }) => ending !== null);
    if (this.#canImprove && !closed)
      this.#ended = [
        ...this.#ended,
        ...ended.map((beam) => ({ ...beam, score: beam.score / this.#length ** lengthPenalty })),
      ]
        .sort((a, b) => b.score - a.score)
        .slice(0, numBeams);
    const next = candidates
      .map((beam) => (beam.ending === null ? beam : { ...beam, score: beam.score + LEAST }))
      .sort((a, b) => b.score - a.score)
      .slice(0, numBeams);
    this.#running = next;
    this.#canImprove &&= this.#mayOvertake();
    return next.map(({ from }) => from);
  }

  #mayOvertake(): boolean {
    const { earlyStopping, lengthPenalty, maxNewTokens } = this.options;
    const length = earlyStopping === 'never' && lengthPenalty > 0 ? maxNewTokens : this.#length;
    const hope = this.#running[0]!.score / length ** lengthPenalty;
    const worst = this.#ended.at(-1)!.score;
    return this.#ended.some(({ ending }) => hope > (ending === null ? LEAST : worst));
  }

  /** The `count` likeliest continuations of all running beams, the likeliest first. */
  #candidates(logProbs: readonly Float64Array[], count: number) {
    const found: { from: number; token: number; score: number }[] = [];
    let least = Number.NEGATIVE_INFINITY;
    logProbs.forEach((row, from) => {
      const before = this.#running[from]!.score;
      for (let token = 0; token < row.length; token++) {
        const score = before + row[token]!;
        if (found.length === count && !(score > least)) continue;
        let at = found.length;
        while (at > 0 && found[at - 1]!.score < score) at--;
        found.splice(at, 0, { from, token, score });
        if (found.length > count) found.pop();
        if (found.length === count) least = found.at(-1)!.score;
      }
    });
    return found;
  }
}
