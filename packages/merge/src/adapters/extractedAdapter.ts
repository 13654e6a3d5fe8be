/** A layer of an extracted adapter. */
export interface ExtractedLayer {
  /** The module: `model.layers.0.self_attn.q_proj`. */
  readonly path: string;
  /** Directions that are kept. */
  readonly rank: number;
  /** |B A|^2 / |W' - W|^2: 1 is all of it. */
  readonly energy: number;
  /** |W' - W| */
  readonly norm: number;
}

/** A tensor that changed and that the adapter does not hold. */
export interface LeftOut {
  readonly name: string;
  /** |W' - W| */
  readonly norm: number;
}

/** What {@link extractAdapter} wrote, and what it did not. */
export interface ExtractedAdapter {
  readonly outputDir: string;
  /** Layers with a LoRA, in the order of the model. */
  readonly layers: readonly ExtractedLayer[];
  /** `r` of the config: the largest rank. */
  readonly rank: number;
  /** All layers with a LoRA together: sum |B A|^2 / sum |W' - W|^2. */
  readonly energy: number;
  /** Modules that are saved whole. */
  readonly savedWhole: readonly string[];
  /** The largest first. */
  readonly leftOut: readonly LeftOut[];
  /** What a reader of the adapter should know, a sentence each. */
  readonly notes: readonly string[];
}

/** The energy of layers together. */
export function energyOf(layers: readonly ExtractedLayer[]): number {
  const sum = (value: (layer: ExtractedLayer) => number) =>
    layers.reduce((total, layer) => total + value(layer), 0);
  const all = sum(({ norm }) => norm ** 2);
  return all === 0 ? 1 : sum(({ energy, norm }) => energy * norm ** 2) / all;
}

/** The options that decide ranks. */
interface RankOptions {
  readonly energy?: number | undefined;
  readonly maxRank: number;
  readonly uniform: boolean;
}

/** What a user should know of it. */
export function notesOn(
  { layers, leftOut, savedWhole, rank }: Omit<ExtractedAdapter, 'notes'>,
  { energy: wanted, maxRank, uniform }: RankOptions,
): string[] {
  const notes: string[] = [];
  if (leftOut.length > 0)
    notes.push(
      `${leftOut.length} tensors changed and are not in the adapter: ${some(leftOut.map(({ name }) => name))}. modulesToSave: "changed" saves them whole, biases beside a LoRA aside.`,
    );
  const short = layers.filter(({ energy }) => wanted !== undefined && energy < wanted - 1e-9);
  if (short.length > 0)
    notes.push(
      `${short.length} of ${layers.length} layers hold less than ${wanted} of their energy at rank ${maxRank}: ${some(short.map((layer) => `${layer.path} ${layer.energy.toFixed(3)}`))}. Give a larger maxRank.`,
    );
  if (wanted !== undefined && !uniform && layers.some((layer) => layer.rank !== rank))
    notes.push(
      'Layers have ranks of their own (rank_pattern), and llama.cpp scales all by one: uniform: true gives all the largest.',
    );
  if (savedWhole.length > 0)
    notes.push('vLLM and llama.cpp read no adapter with whole modules; PEFT does.');
  return rank > 16
    ? [...notes, `vLLM takes ranks up to 16 unless it is started with --max-lora-rank ${rank}.`]
    : notes;
}

const some = (names: readonly string[]): string =>
  names.slice(0, 3).join(', ') + (names.length > 3 ? ` and ${names.length - 3} more` : '');
