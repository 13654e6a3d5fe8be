import { AttuneError } from '../../../util/errors.js';

/** A word holds what the model does not know, and it has no token for that. */
export const unknownMissing = (): AttuneError =>
  new AttuneError(
    'TOKENIZER_UNKNOWN',
    'the text holds something that the vocabulary does not know, and the vocabulary has no token for the unknown.',
    { remedy: 'Use a tokenizer.json whose model.unk_token (or unk_id) is in its vocabulary.' },
  );
