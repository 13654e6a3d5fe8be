/**
 * What reads adapters: PEFT in Python, the vLLM server, llama.cpp by way of its converter to GGUF.
 */
export type AdapterTarget = 'peft' | 'vllm' | 'llama.cpp';

/** What is wrong with an adapter for a target. */
export type AdapterProblemCode =
  /** peft_type is no method of the target. */
  | 'METHOD'
  /** A field of the config that the target needs is missing. */
  | 'CONFIG_FIELD'
  /** An option that changes the result and that the target passes over. */
  | 'OPTION'
  | 'DORA'
  /** Biases: of the base's layers, or of B. */
  | 'BIAS'
  | 'MODULES_TO_SAVE'
  /** The target computes alpha / r where alpha / sqrt(r) is meant. */
  | 'RSLORA_SCALE'
  /** rank_pattern or alpha_pattern give layers another scale than the target computes. */
  | 'PATTERN_SCALE'
  /** A rank above what the server makes room for. */
  | 'RANK'
  /** A tensor has another rank than its config says. */
  | 'RANK_MISMATCH'
  /** The adapter fits a base that a part was taken out of: PiSSA, OLoRA, LoftQ, CorDA. */
  | 'START_FROM_BASE'
  | 'EMBEDDING'
  | 'HEAD'
  /** GPT-2's layers, whose weights lie transposed. */
  | 'CONV1D'
  /** A without B, or the other way round. */
  | 'PAIR'
  /** A tensor that the target has no place for. */
  | 'TENSOR'
  /** The converter needs the base's config.json, and the adapter names no base. */
  | 'BASE';

/** Something in an adapter that a reader refuses or computes otherwise. */
export interface AdapterProblem {
  readonly code: AdapterProblemCode;
  /** "refused": loading ends with an error. "wrong": it loads, and computes something else. */
  readonly effect: 'refused' | 'wrong';
  readonly message: string;
  /** What to do. */
  readonly fix: string;
}

export const PORTABLE = 'Save it with savePretrained(folder, { portable: true }).';
export const MERGE = 'Merge it (mergeAndUnload) and serve the merged model.';
