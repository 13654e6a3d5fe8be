import { AttuneError } from '../util/errors.js';

/**
 * How the frequencies of rotary embeddings are stretched for sequences longer than those of
 * pretraining; `type` as in Hugging Face's `rope_type`. What has an `attentionFactor` multiplies
 * cos and sin by it.
 */
export type RopeScaling =
  | { readonly type: 'default' }
  | { readonly type: 'linear'; readonly factor: number }
  | Proportional
  | Dynamic
  | Llama3
  | Yarn
  | LongRope;

/** The first features of a head turn as they would in the whole of it; the others stay. */
interface Proportional {
  readonly type: 'proportional';
  readonly factor: number;
  /** Share of the features that turn. */
  readonly rotaryFactor: number;
}

/** NTK-aware: theta grows with the sequence once it is longer than the original. */
interface Dynamic {
  readonly type: 'dynamic';
  readonly factor: number;
  readonly originalMaxPositionEmbeddings: number;
}

interface Llama3 {
  readonly type: 'llama3';
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalMaxPositionEmbeddings: number;
}

/** Peng et al., arXiv:2309.00071. */
interface Yarn {
  readonly type: 'yarn';
  readonly factor: number;
  readonly attentionFactor: number;
  /**
   * Turns within the original length above which a frequency stays, and below which it is divided
   * by `factor`.
   */
  readonly betaFast: number;
  readonly betaSlow: number;
  /** Whole features as bounds of the ramp. */
  readonly truncate: boolean;
  readonly originalMaxPositionEmbeddings: number;
}

/**
 * Ding et al., arXiv:2402.13753: a divisor for each frequency, one list for short sequences, one
 * for long.
 */
interface LongRope {
  readonly type: 'longrope';
  readonly shortFactor: readonly number[];
  readonly longFactor: readonly number[];
  readonly attentionFactor: number;
  readonly originalMaxPositionEmbeddings: number;
}

interface Base {
  /** Features that turn. */
  readonly features: number;
  readonly theta: number;
  /** Tokens of the sequence. */
  readonly length: number;
}

/**
 * Inverse frequencies [features / 2]; float32 after every step.
 *
 * @throws CONFIG_INVALID for lists of another length
 */
export function scaledFrequencies(scaling: RopeScaling, base: Base): Float32Array {
  switch (scaling.type) {
    case 'default':
      return plain(base);
    case 'linear':
      return plain(base).map((f) => f / scaling.factor);
    case 'proportional': {
      const turned = Math.floor((scaling.rotaryFactor * base.features) / 2);
      return plain(base).map((f, i) => (i < turned ? f / scaling.factor : 0));
    }
    case 'dynamic':
      return plain({ ...base, theta: dynamicTheta(scaling, base) });
    case 'llama3':
      return plain(base).map((f) => llama3Frequency(f, scaling));
    case 'yarn':
      return yarnFrequencies(scaling, base);
    case 'longrope': {
      const isLong = base.length > scaling.originalMaxPositionEmbeddings;
      const divisors = isLong ? scaling.longFactor : scaling.shortFactor;
      for (const list of [scaling.longFactor, scaling.shortFactor])
        if (list.length !== base.features / 2) throw otherLength(list, base);
      return powers(base).map((power, i) => 1 / Math.fround(Math.fround(divisors[i]!) * power));
    }
  }
}

/** theta^(2i/D) */
const powers = ({ features, theta }: Base): Float32Array =>
  Float32Array.from({ length: features / 2 }, (_, i) => theta ** Math.fround((2 * i) / features));

const plain = (base: Base): Float32Array => powers(base).map((power) => 1 / power);

function dynamicTheta(scaling: Dynamic, { features, theta, length }: Base): number {
  const { factor, originalMaxPositionEmbeddings: original } = scaling;
  const stretch = (factor * Math.max(length, original)) / original - (factor - 1);
  return theta * stretch ** (features / (features - 2));
}

/** Long waves are stretched by `factor`, short ones stay, the ones between are blended. */
function llama3Frequency(frequency: number, scaling: Llama3): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings: old } = scaling;
  const wavelength = Math.fround((2 * Math.PI) / frequency);
  if (wavelength > old / lowFreqFactor) return frequency / factor;
  if (wavelength < old / highFreqFactor) return frequency;
  const turns = Math.fround(old / wavelength);
  const smooth = Math.fround((turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor));
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

/** A ramp over the features leads from the frequencies as they are to those divided by `factor`. */
function yarnFrequencies(scaling: Yarn, base: Base): Float32Array {
  const { factor, betaFast, betaSlow, truncate, originalMaxPositionEmbeddings: old } = scaling;
  const { features, theta } = base;
  /** The feature, a fraction, that makes so many turns within the original length. */
  const featureOf = (turns: number) =>
    (features * Math.log(old / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [first, last] = [featureOf(betaFast), featureOf(betaSlow)];
  const low = Math.max(truncate ? Math.floor(first) : first, 0);
  const high = Math.min(truncate ? Math.ceil(last) : last, features - 1);
  const width = high === low ? 0.001 : high - low;
  return powers(base).map((power, i) => {
    const ramp = Math.fround(Math.min(Math.max((i - low) / width, 0), 1));
    const kept = Math.fround(1 - ramp);
    const stretched = 1 / Math.fround(factor * power);
    return Math.fround(stretched * Math.fround(1 - kept)) + Math.fround((1 / power) * kept);
  });
}

const otherLength = (list: readonly number[], { features }: Base): AttuneError =>
  new AttuneError(
    'CONFIG_INVALID',
    `config.json: short_factor or long_factor of the rotary embeddings has ${list.length} entries for ${features / 2} frequencies.`,
    { remedy: 'Use the config.json that came with the checkpoint.' },
  );
