import { patternValue } from '../contract/patterns.js';

/** An adapter as its two files describe it; no values. */
export interface SavedAdapter {
  /** adapter_config.json, as it is in the file. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** Shapes by the names in adapter_model.safetensors. */
  readonly tensors: ReadonlyMap<string, readonly number[]>;
}

/** A and B of one layer. */
export interface LoraPair {
  /** In the base model: "model.layers.0.self_attn.q_proj". */
  readonly path: string;
  readonly isEmbedding: boolean;
  /** [r, in] */
  readonly a: readonly number[] | undefined;
  /** [out, r] */
  readonly b: readonly number[] | undefined;
}

const factor =
  /^(?:base_model\.model\.)?(?<path>.+)\.(?:lora_(?<side>[AB])\.weight|lora_embedding_(?<embedded>[AB]))$/;

/** The pairs, and the names of all other tensors. */
export function loraPairs({ tensors }: SavedAdapter): {
  readonly pairs: readonly LoraPair[];
  readonly others: readonly string[];
} {
  const pairs = new Map<string, LoraPair>();
  const others: string[] = [];
  for (const [name, shape] of tensors) {
    const { path, side, embedded } = factor.exec(name)?.groups ?? {};
    if (path === undefined) {
      others.push(name);
      continue;
    }
    const pair = pairs.get(path) ?? { path, isEmbedding: !side, a: undefined, b: undefined };
    pairs.set(path, { ...pair, ...((side ?? embedded) === 'A' ? { a: shape } : { b: shape }) });
  }
  return { pairs: [...pairs.values()], others };
}

/** The rank that the tensors have. */
export const rankOf = ({ a, b }: LoraPair): number => b?.[1] ?? a?.[0] ?? 0;

export const isOn = (value: unknown): boolean =>
  value !== undefined && value !== null && value !== false && value !== '' && !isEmpty(value);

const isEmpty = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;

export const numberField = ({ fields }: SavedAdapter, name: string): number => Number(fields[name]);

/** r and lora_alpha of PEFT's LoraConfig, where a file leaves them out. */
const PEFT_DEFAULT = 8;

/** rank_pattern and alpha_pattern on one layer, as PEFT resolves them. */
export function rankAndAlpha(
  adapter: SavedAdapter,
  path: string,
): { readonly r: number; readonly alpha: number } {
  const own = (table: string) => patternValue(tableOf(adapter, table), path);
  return {
    r: own('rank_pattern') ?? Number(adapter.fields.r ?? PEFT_DEFAULT),
    alpha: own('alpha_pattern') ?? Number(adapter.fields.lora_alpha ?? PEFT_DEFAULT),
  };
}

const tableOf = ({ fields }: SavedAdapter, name: string) =>
  (fields[name] ?? {}) as Readonly<Record<string, number>>;

/** alpha / r or alpha / sqrt(r): what the adapter was trained with, on one layer. */
export function meantScale(adapter: SavedAdapter, path: string): number {
  const { r, alpha } = rankAndAlpha(adapter, path);
  return alpha / (adapter.fields.use_rslora === true ? Math.sqrt(r) : r);
}

/** "a, b, c and 9 more" */
export const some = (names: readonly string[]): string =>
  names.slice(0, 3).join(', ') + (names.length > 3 ? ` and ${names.length - 3} more` : '');
