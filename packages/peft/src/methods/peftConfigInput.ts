import type { PeftConfigBase } from '../contract/config.js';
import type {
  AdapterConfig,
  BitfitConfig,
  FullConfig,
  Ia3Config,
  LayerSelectConfig,
  LoraConfig,
  PrefixTuningConfig,
  PromptTuningConfig,
  PTuningConfig,
  VeraConfig,
} from './index.js';

declare global {
  /**
   * The config of each PEFT method, by its name: what `peftConfig` and `getPeftModel` take. A
   * package with a method of its own adds the type of its config:
   *
   *     declare global {
   *       interface AttunePeftConfigs {
   *         CHANNEL_SCALE: ChannelScaleConfig;
   *       }
   *     }
   */
  interface AttunePeftConfigs {
    LORA: LoraConfig;
    IA3: Ia3Config;
    VERA: VeraConfig;
    ADAPTER: AdapterConfig;
    BITFIT: BitfitConfig;
    LAYER_SELECT: LayerSelectConfig;
    FULL: FullConfig;
    PROMPT_TUNING: PromptTuningConfig;
    P_TUNING: PTuningConfig;
    PREFIX_TUNING: PrefixTuningConfig;
  }
  interface AttuneTypes {
    peftConfig: PeftConfigInput;
  }
}

/** A method that is declared. */
type Declared = AttunePeftConfigs[keyof AttunePeftConfigs];

/** `loraAlpha` -> `lora_alpha` */
type SnakeName<Name extends string> = Name extends `${infer First}${infer Rest}`
  ? `${First extends Lowercase<First> ? First : `_${Lowercase<First>}`}${SnakeName<Rest>}`
  : Name;

type SnakeCase<Config> = Config extends unknown
  ? { readonly [Key in keyof Config as SnakeName<Key & string>]: Config[Key] }
  : never;

/** What TypeScript tells the two spellings apart by. */
interface InCamelCase {
  /** In the place of `peftType`: then all options are in snake_case, as in adapter_config.json. */
  readonly peft_type?: never;
}

interface InSnakeCase {
  /** In the place of `peft_type`: then all options are in camelCase. */
  readonly peftType?: never;
}

/**
 * Nobody's config. As one member of the union has no `peftType`, TypeScript does not take
 * `{ ...config, bias: 'all' }`, where it is not written out, for a config in snake_case.
 */
interface Neither {
  readonly peft_type: typeof nobody;
}
declare const nobody: unique symbol;

type KeysOf<Union> = Union extends unknown ? keyof Union : never;
type OwnOption = Exclude<KeysOf<Declared>, keyof PeftConfigBase | 'peftType'>;

/**
 * No option of a declared method. As patterns (`r`, and `r` before capitals), because named
 * properties would be offered where they do not belong.
 */
type NoneOf<Name extends string> = { readonly [Key in `${Name}${Uppercase<string>}`]?: never };

/**
 * The config of a method that no package declares in `AttunePeftConfigs`: the options of every
 * method. Its own are checked when the adapter is made.
 */
export interface CustomPeftConfig
  extends Pick<
      PeftConfigBase,
      'excludeModules' | 'modulesToSave' | 'layersToTransform' | 'layersPattern'
    >,
    NoneOf<OwnOption> {
  /** The method, as its plugin names it: capitals, digits and underscores. */
  readonly peftType: Declared['peftType'] | (Uppercase<string> & Record<never, never>);
  /**
   * Which layers to adapt: ends of their paths, a regular expression for the whole path, or
   * "all-linear".
   */
  readonly targetModules: readonly string[] | string;
}

/**
 * The config of any method: `{ peftType: 'LORA', r: 8, ... }`, or as adapter_config.json has it,
 * `{ peft_type: 'LORA', lora_alpha: 16, ... }`. `peftType` decides which options there are.
 */
export type PeftConfigInput =
  | (Declared & InCamelCase)
  | (SnakeCase<Declared> & InSnakeCase)
  | (CustomPeftConfig & InCamelCase)
  | Neither;
