import { byteAlphabet, learnMerges, PIECES } from './bpe.js';

/** Special tokens come first, so that their ids do not move when the vocabulary grows. */
export const SPECIAL = { pad: '<pad>', bos: '<s>', eos: '</s>' } as const;
const SPECIALS = [SPECIAL.pad, SPECIAL.bos, SPECIAL.eos];
export const SPECIAL_IDS = { pad: 0, bos: 1, eos: 2 } as const;

/** A user turn is a function, an assistant turn its review: the frame of the data set's prompts. */
const CHAT_TEMPLATE = [
  '{{ bos_token }}',
  "{% for message in messages %}{% if message['role'] == 'assistant' %}",
  "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{% else %}",
  "{{ '### Code\\n' + message['content'] + '\\n### Review\\n' }}",
  '{% endif %}{% endfor %}',
].join('');

/**
 * The contents of `tokenizer.json`: byte-level BPE learnt from the texts; adds `<s>`, no `</s>`.
 */
export function buildTokenizer(texts: Iterable<string>, vocabSize: number): object {
  const bytes = byteAlphabet();
  const merges = learnMerges(texts, vocabSize - SPECIALS.length - bytes.length);
  const tokens = [...SPECIALS, ...bytes, ...merges.map(([left, right]) => left + right)];
  const bos = { id: SPECIAL.bos, ids: [SPECIAL_IDS.bos], tokens: [SPECIAL.bos] };
  const start = { SpecialToken: { id: SPECIAL.bos, type_id: 0 } };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIALS.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: PIECES }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [start, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [
        start,
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: SPECIAL.bos, type_id: 1 } },
        { Sequence: { id: 'B', type_id: 1 } },
      ],
      special_tokens: { [SPECIAL.bos]: bos },
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
}

export function tokenizerConfig(maxLength: number): object {
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: SPECIAL.bos,
    eos_token: SPECIAL.eos,
    pad_token: SPECIAL.pad,
    model_max_length: maxLength,
    add_bos_token: true,
    add_eos_token: false,
    clean_up_tokenization_spaces: false,
    chat_template: CHAT_TEMPLATE,
  };
}
