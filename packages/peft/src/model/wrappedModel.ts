import type { AdapterHost, Attune, Engine, LanguageModel, Tensor } from '@attune/core';
import {
  type CheckpointingOptions,
  type DequantizeOptions,
  type ForwardInput,
  type GenerativeModel,
  generative,
  type ModelConfig,
  type TaskType,
} from '@attune/core/models';
import { type Module, QuantizedLayer } from '@attune/core/nn';

type GenerateOptions = Parameters<GenerativeModel['generate']>[0];

/** The model in a wrapped one; of a plain one, itself. */
export type BaseOf<M extends LanguageModel> = M extends {
  readonly base: infer B extends LanguageModel;
}
  ? B
  : M;

/**
 * A language model that computes as the one in it: what a PeftModel is but for its adapters. Facts
 * about the base can always be read.
 */
export abstract class WrappedModel<Base extends LanguageModel = GenerativeModel>
  implements LanguageModel
{
  abstract adapters: AdapterHost | null;

  constructor(readonly base: Base) {}

  /**
   * The base, for what computes with it or changes it.
   *
   * @throws where this model is not to be used any more
   */
  protected get used(): Base {
    return this.base;
  }

  abstract savePretrained(folder: string): Promise<void>;

  get taskType(): TaskType {
    return this.base.taskType;
  }
  get scoring(): LanguageModel['scoring'] {
    return this.base.scoring;
  }
  get headModules(): LanguageModel['headModules'] {
    return this.base.headModules;
  }
  /** As the base has it: absent where it has none. @throws PEFT_UNLOADED when called */
  get scores(): LanguageModel['scores'] {
    return this.base.scores && ((input) => this.used.scores!(input));
  }
  get values(): LanguageModel['values'] {
    return this.base.values && ((input) => this.used.values!(input));
  }
  get valuesOf(): LanguageModel['valuesOf'] {
    return this.base.valuesOf && ((hidden) => this.used.valuesOf!(hidden));
  }

  get attune(): Attune {
    return this.base.attune;
  }
  get engine(): Engine {
    return this.base.engine;
  }
  get config(): ModelConfig {
    return this.base.config;
  }
  get root(): Module {
    return this.used.root;
  }
  get nameOrPath(): string {
    return this.base.nameOrPath;
  }

  get folder(): string | null {
    return this.base.folder;
  }
  hiddenStates(input: ForwardInput): Tensor {
    return this.used.hiddenStates(input);
  }
  head(hidden: Tensor): Tensor {
    return this.used.head(hidden);
  }

  headWeight(): Tensor | null {
    return this.used.headWeight();
  }

  cappedHead() {
    return this.used.cappedHead?.() ?? null;
  }

  gradientCheckpointingEnable(options?: CheckpointingOptions): void {
    this.used.gradientCheckpointingEnable(options);
  }

  gradientCheckpointingDisable(): void {
    this.used.gradientCheckpointingDisable();
  }

  get isGradientCheckpointing(): boolean {
    return this.used.isGradientCheckpointing;
  }
  forward(input: ForwardInput): Tensor {
    return this.used.forward(input);
  }
  /** As the base writes text. @throws GENERATE_OPTION */
  generate(
    this: WrappedModel<GenerativeModel>,
    options: GenerateOptions,
  ): ReturnType<GenerativeModel['generate']> {
    return generative(this.used, 'generate').generate(options);
  }
  /** As the base writes text, token by token. @throws GENERATE_OPTION */
  generateStream(
    this: WrappedModel<GenerativeModel>,
    options: GenerateOptions,
  ): AsyncGenerator<number> {
    return generative(this.used, 'generateStream').generateStream(options);
  }
  dequantize(options?: DequantizeOptions): void {
    this.used.dequantize?.(options);
  }

  /**
   * How many numbers are trained, and how many there are, adapters included; a quantised number
   * counts as one.
   */
  getNbTrainableParameters(): { readonly trainable: number; readonly all: number } {
    const parameters = new Set([...this.root.namedParameters()].map(([, p]) => p));
    let trainable = 0;
    let all = 0;
    for (const parameter of parameters) {
      all += parameter.size;
      if (parameter.trainable) trainable += parameter.size;
    }
    for (const [, module] of this.root.namedModules())
      if (module instanceof QuantizedLayer) all += module.weightSize;
    return { trainable, all };
  }

  /**
   * Logs, and returns,
   * `trainable params: 4,399,104 || all params: 498,431,872 || trainable%: 0.8826`.
   */
  printTrainableParameters(): string {
    const { trainable, all } = this.getNbTrainableParameters();
    const grouped = (n: number) => n.toLocaleString('en-US');
    const line = `trainable params: ${grouped(trainable)} || all params: ${grouped(all)} || trainable%: ${((100 * trainable) / all).toFixed(4)}`;
    this.attune.logger.info(line);
    return line;
  }
}
