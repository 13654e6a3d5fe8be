import { z } from 'zod';
import type { Tokenizer } from '../../tokenizer/tokenizer.js';
import type { OptionsInput } from '../../util/options.js';
import { kinds } from './kinds.js';

/** A device tensor or anything that looks like one: `[T]` or `[B, T]`. */
export interface IdsTensor {
  readonly shape: readonly number[];
  data(): Promise<ArrayLike<number>>;
}

/** One row, several rows, or a tensor of rows. */
export type Ids = ArrayLike<number> | readonly ArrayLike<number>[] | IdsTensor;

const none = (): never[] => [];

/** What a call alone has. */
export const callOptions = {
  /** The prompt, or a batch of prompts of any lengths. */
  inputIds: z.custom<Ids>().meta({ aka: 'ids tokens tokenids' }),
  /**
   * 0 where a prompt is padding, which is left out; same shape as `inputIds`. Default: all ones.
   */
  attentionMask: z.custom<Ids>().optional().meta({ aka: 'mask' }),
  /**
   * The adapter that answers each prompt, "__base__" for none: one name a prompt. Default: the
   * active adapters answer all.
   */
  adapterNames: z.custom<readonly string[]>().optional().meta({ aka: 'adapter adaptername' }),
  /**
   * Same seed, same tokens. Each row has a stream of its own. Default: drawn from the Attune's
   * seed.
   */
  seed: kinds.seed.optional().meta({ aka: 'randomseed' }),
  /**
   * Which stream of the seed's random numbers each answer draws from: an integer from 0 to 2^30 for
   * each. The same seed, stream and prompt give the same answer in any batch, but for the rounding
   * of sums. Default: the place of the answer, from 0 on.
   */
  streams: kinds.streams.optional(),
  /** Reads `stopStrings`. Default: the tokenizer in the model's own folder. */
  tokenizer: z.custom<Tokenizer>().optional(),
  /**
   * Prompts that are continued at once. The others wait, and begin where a row has ended; answers
   * are those without it, but for the rounding of sums. Memory for keys and values is that of so
   * many rows. Default: all.
   */
  batchSize: kinds.batchSize.optional().meta({ aka: 'perdevicebatchsize maxnumseqs' }),
  /**
   * Give the log-probability of every new token, too: see `logProbs` of the output. Default false.
   */
  returnLogProbs: kinds.flag
    .optional()
    .meta({ aka: 'logprobs returnlogprob outputlogprobs outputlogits outputscores' }),
  /** Ends generation early with its reason. Default none. */
  signal: z.custom<AbortSignal>().optional().meta({ aka: 'abortsignal' }),
};

/** What a generation_config.json may have, too. */
export const settingOptions = {
  /** Most tokens to add. Default 20. */
  maxNewTokens: kinds.count
    .optional()
    .meta({ aka: 'maxtokens maxnewtoken numtokens maxcompletiontokens numpredict' }),
  /**
   * Most tokens of prompt and answer together (of the longest prompt); `maxNewTokens` wins over it.
   * Default: prompt + 20.
   */
  maxLength: kinds.count.optional().meta({ aka: 'maxlen' }),
  /** Draw tokens by their probability instead of taking the likeliest. Default false. */
  doSample: kinds.flag.default(false).meta({ aka: 'sample sampling' }),
  /** Divides the logits when sampling; above 0. Default 1. */
  temperature: kinds.number.default(1).meta({ aka: 'temp' }),
  /** Sample from the k likeliest tokens; 0 for all. Default 50. */
  topK: kinds.topK.default(50),
  /** Sample from the fewest tokens whose probabilities reach this; 0 to 1. Default 1: all. */
  topP: kinds.share.default(1),
  /** Leave out tokens less likely than this times the likeliest; 0 to 1. Default 0. */
  minP: kinds.share.default(0),
  /** Above 1 makes tokens of the prompt and of the answer so far less likely. Default 1. */
  repetitionPenalty: kinds.penalty.default(1).meta({ aka: 'repeatpenalty' }),
  /**
   * Beams of beam search: so many beginnings of the answer are followed at once, and the likeliest
   * whole answer wins. Without sampling. Default 1: none.
   */
  numBeams: kinds.beams.default(1).meta({ aka: 'beams beamsize' }),
  /**
   * Beam search divides the log-probability of an answer by its length to this power; above 0
   * favours long answers. Default 1.
   */
  lengthPenalty: kinds.number.default(1),
  /**
   * When beam search stops. true: numBeams answers have ended; false: a better one is unlikely;
   * 'never': it is impossible. Default false.
   */
  earlyStopping: kinds.early.default(false),
  /**
   * Answers for each prompt, one after the other in the output; with beams at most numBeams, else
   * they need doSample. Default 1.
   */
  numReturnSequences: kinds.number.default(1).meta({ aka: 'n numsamples' }),
  /** No end before so many tokens, the prompt's counted (of the longest prompt). Default 0. */
  minLength: kinds.count.default(0),
  /** No end before so many new tokens. Default 0. */
  minNewTokens: kinds.count.default(0),
  /** No n tokens in a row twice, prompt included; 0: allowed. Default 0. */
  noRepeatNgramSize: kinds.count.default(0),
  /** No n tokens in a row that the prompt has; 0: allowed. Default 0. */
  encoderNoRepeatNgramSize: kinds.count.default(0),
  /** Above 1 makes tokens of the prompt likelier. Default 1. */
  encoderRepetitionPenalty: kinds.penalty.default(1),
  /** Sequences of tokens that are never written whole. Default none. */
  badWordsIds: kinds.idLists.default(none),
  /**
   * Pairs of a sequence of tokens and what is added to the score of its last behind the others.
   * Default none.
   */
  sequenceBias: kinds.biases.default(none),
  /** Tokens that are never written. Default none. */
  suppressTokens: kinds.idList.default(none),
  /** Tokens that no answer begins with. Default none. */
  beginSuppressTokens: kinds.idList.default(none),
  /** The token behind a prompt of one token. Default none. */
  forcedBosTokenId: kinds.id.optional(),
  /** The token that the last place is given to. Default none. */
  forcedEosTokenId: kinds.ids.optional(),
  /**
   * [n, f]: after n new tokens an end becomes likelier by f to the power of the tokens since.
   * Default none.
   */
  exponentialDecayLengthPenalty: kinds.decay.optional(),
  /** Scores that are not finite become numbers. Default false. */
  removeInvalidValues: kinds.flag.default(false),
  /** Scores become log-probabilities again after all else. Default false. */
  renormalizeLogits: kinds.flag.default(false),
  /**
   * Samples among the likeliest tokens up to this share of the entropy (arXiv:2509.02510); above 0
   * to 1. Default none.
   */
  topH: kinds.entropyShare.optional(),
  /**
   * Samples among the tokens whose information is nearest to the entropy, up to this probability
   * (arXiv:2202.00666). Default 1: all.
   */
  typicalP: kinds.typical.default(1),
  /**
   * Samples no token that is less likely than this (arXiv:2210.15191); 0: all. Usual 3e-4 to 9e-4.
   * Default 0.
   */
  epsilonCutoff: kinds.cutoff.default(0),
  /**
   * As epsilonCutoff, with a limit that follows the entropy; 0: none. Usual 3e-4 to 4e-3. Default
   * 0.
   */
  etaCutoff: kinds.cutoff.default(0),
  /**
   * Seconds after which no further token is begun; what is there is returned, with the reason
   * 'time'. Default: no limit.
   */
  maxTime: kinds.seconds.optional(),
  /** Ends a row; several end it alike. Default: generation_config.json, then config.json. */
  eosTokenId: kinds.ids.nullish().meta({ aka: 'eos stoptokens stoptokenids' }),
  /**
   * Fed for rows that have ended while others go on; no influence on the result. Default:
   * generation_config.json, then config.json, then eosTokenId.
   */
  padTokenId: kinds.number.nullish().meta({ aka: 'pad' }),
  /**
   * A row ends when its answer contains one of these. Default: generation_config.json, else none.
   */
  stopStrings: kinds.texts.optional().meta({ aka: 'stop stopsequences stopwords' }),
  /** Keep keys and values instead of computing them again at every step. Default true. */
  useCache: kinds.flag.default(true).meta({ aka: 'cache' }),
};

/**
 * Options of `generate`, named as in transformers. Where an option is missing, the model's
 * generation_config.json decides, then the default given here.
 */
export type GenerateOptions = OptionsInput<typeof callOptions> &
  OptionsInput<typeof settingOptions>;

const { inputIds, attentionMask, ...others } = callOptions;
/** All of them, those first that messages name as an example. */
export const generateOptions = z.strictObject({
  ...{ inputIds, attentionMask },
  ...settingOptions,
  ...others,
});

/** What `generate` gives. */
export interface GenerateOutput {
  /**
   * For each prompt: its ids, then the answer's, up to and with the token that ended it. No
   * padding.
   */
  readonly sequences: number[][];
  /** Why each row ended: an eos token, a stop string, its length, or `maxTime`. */
  readonly finishReasons: ('eos' | 'stop' | 'length' | 'time')[];
  /**
   * With `returnLogProbs`: for each prompt, a number for each token of its answer, the
   * log-probability log softmax(logits)[token] under the model. It is that of the logits as the
   * model gives them, before temperature, top-k and all other rules: what `sequenceLogProbs` gives
   * at temperature 1.
   */
  readonly logProbs?: number[][];
  /** Beam search has it: the log-probability of each answer, divided by length^lengthPenalty. */
  readonly sequencesScores?: number[];
}
