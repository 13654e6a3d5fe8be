import { DecoderModel } from './decoderModel.js';
import {
  type GenerateOptions,
  type GenerateOutput,
  generate,
  generateStream,
} from './generation/generate.js';
import type { GenerativeModel } from './languageModel.js';

/**
 * A causal language model of any family. Its head gives logits over the vocabulary, and it writes
 * text.
 */
export class CausalLM extends DecoderModel implements GenerativeModel {
  readonly taskType = 'CAUSAL_LM';

  generate(options: GenerateOptions): Promise<GenerateOutput> {
    return generate(this, options);
  }

  generateStream(options: GenerateOptions): AsyncGenerator<number> {
    return generateStream(this, options);
  }
}
