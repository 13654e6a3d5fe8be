import { createDawnBackend, dawn } from '@attune/backend-dawn';
import {
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  AutoTokenizer,
  type CausalLM,
  createAttune,
  Dataset,
  EarlyStoppingCallback,
  estimateMemory,
  generateTask,
  IterableDataset,
  loadDataset,
  loglikelihoodTask,
  SFTTrainer,
  Tokenizer,
  Trainer,
} from '@attune/core';
import { planWeightFiles, writeSafetensors, writeWeights } from '@attune/core/io';
import { AutoModelForCausalLMWithValueHead, generate, generateStream } from '@attune/core/models';
import {
  checkGradients,
  compareCase,
  conformanceSuite,
  datasetReaderKit,
  opCases,
  scheduleKit,
  trackerKit,
} from '@attune/core/testing';
import { inspectRows, PreflightReport, tokenizeSft } from '@attune/core/text';
import {
  Adafactor,
  AdamW,
  AdamW8bit,
  causalLmObjective,
  causalLmRows,
  exactMatch,
  GreedyLr,
  Lion,
  MlflowCallback,
  metricSchedule,
  PagedAdamW8bit,
  ReduceLrOnPlateau,
  runEvaluationTask,
  SGD,
  schedule,
  sequenceClassificationObjective,
  sequenceLogProbs,
  TensorBoardCallback,
  WandbCallback,
} from '@attune/core/training';
import {
  describePlan,
  extractAdapter,
  greedySoup,
  mergeFromYaml,
  mergeModels,
  mergeTensors,
  planMerge,
} from '@attune/merge';
import {
  advise,
  checkAdapter,
  combineSavedAdapters,
  extractLora,
  getPeftModel,
  PeftModel,
} from '@attune/peft';
import { peftMethodKit } from '@attune/peft/testing';

// What refuses an option that it does not have, and what does not, with the reason.

/** What calls are made on. */
export interface Things {
  readonly model: CausalLM;
  /** A model with a LoRA adapter. */
  readonly adapted: PeftModel<CausalLM>;
  readonly trainer: SFTTrainer;
  readonly tokenizer: Tokenizer;
}

export interface OptionCall {
  /** One of its options, which is then misspelt; and a value that is none for it. */
  readonly option: string;
  /** Absent: names alone are checked here. */
  readonly wrong?: unknown;
  /** Makes the call with these options, others that it needs beside them. */
  call(options: never, things: Things): unknown;
}

const checked = (option: string, wrong: unknown, call: OptionCall['call']): OptionCall => ({
  ...{ option, wrong, call },
});
/** Only names, where values are checked later, or the call is too frequent. */
const named = (option: string, call: OptionCall['call']): OptionCall => ({ option, call });
const with_ = (more: object, options: object): never => ({ ...more, ...options }) as never;

const none = null as never;
const name = 'none';
const tracker = () => new TensorBoardCallback();
const config = { model_type: 'llama' };
const maxLength = 8;
const rows = { tokenizer: null, maxLength, vocabSize: 9 };
const tokenize = { ...rows, completionOnlyLoss: null, assistantOnlyLoss: false };
const inspect = { ...tokenize, eosTokenIds: [] };
const merging = { mergeMethod: 'linear', models: [{ model: name }] };
const start = { learningRate: 1e-3 };
const run = { ...start, warmupSteps: 1, totalSteps: 2 };
const combination = { adapters: ['default'], weights: [1], adapterName: 'other' };
const loading = (model: typeof AutoModelForCausalLM, things: Things, options: object) =>
  model.fromPretrained(name, with_({ attune: things.model.attune }, options));
const building = (model: typeof AutoModelForCausalLM, things: Things, options: object) =>
  model.fromConfig(config, with_({ attune: things.model.attune }, options));

/** By "createAttune", "new Trainer", "Trainer#train", "PeftModel.fromPretrained". */
export const optionCalls: Readonly<Record<string, OptionCall>> = {
  createAttune: checked('backend', 3, (o) => createAttune(o)),
  estimateMemory: named('quantization', (o) => estimateMemory(with_({ config }, o))),
  // Loading
  'AutoModelForCausalLM.fromPretrained': checked('revision', 3, (o, t) =>
    loading(AutoModelForCausalLM, t, o),
  ),
  'AutoModelForCausalLM.fromConfig': checked('seed', 'x', (o, t) =>
    building(AutoModelForCausalLM, t, o),
  ),
  'AutoModelForSequenceClassification.fromPretrained': checked('revision', 3, (o, t) =>
    loading(AutoModelForSequenceClassification as never, t, o),
  ),
  'AutoModelForSequenceClassification.fromConfig': checked('numLabels', 'x', (o, t) =>
    building(AutoModelForSequenceClassification as never, t, o),
  ),
  'AutoModelForCausalLMWithValueHead.fromPretrained': checked('revision', 3, (o, t) =>
    loading(AutoModelForCausalLMWithValueHead as never, t, o),
  ),
  'AutoModelForCausalLMWithValueHead.fromConfig': checked('seed', 'x', (o, t) =>
    building(AutoModelForCausalLMWithValueHead as never, t, o),
  ),
  'AutoTokenizer.fromPretrained': checked('revision', 3, (o) =>
    AutoTokenizer.fromPretrained(name, o),
  ),
  loadDataset: named('streaming', (o) => loadDataset('json', with_({ dataFiles: name }, o))),
  'IterableDataset#shuffle': checked('bufferSize', 'x', (o) =>
    IterableDataset.from(async function* () {}).shuffle(0, o),
  ),
  // Models
  generate: checked('maxNewTokens', 'x', (o, t) => generate(t.model, with_({ inputIds: [1] }, o))),
  generateStream: checked('maxNewTokens', 'x', async (o, t) => {
    for await (const _ of generateStream(t.model, with_({ inputIds: [1] }, o)));
  }),
  'CausalLM#generate': checked('topK', -1, (o, t) => t.model.generate(with_({ inputIds: [1] }, o))),
  'CausalLM#generateStream': checked('topK', -1, async (o, t) => {
    for await (const _ of t.model.generateStream(with_({ inputIds: [1] }, o)));
  }),
  'DecoderModel#dequantize': named('dtype', (o, t) => t.model.dequantize(o)),
  'DecoderModel#gradientCheckpointingEnable': checked('everyNLayers', 'x', (o, t) =>
    t.model.gradientCheckpointingEnable(o),
  ),
  'DecoderModel#savePretrained': checked('maxShardSize', true, (o, t) =>
    t.model.savePretrained('/dev/null/none', o),
  ),
  'WrappedModel#dequantize': named('dtype', (o, t) => t.adapted.base.dequantize(o)),
  'WrappedModel#generate': checked('topK', -1, (o, t) =>
    t.adapted.generate(with_({ inputIds: [1] }, o)),
  ),
  'WrappedModel#generateStream': checked('topK', -1, async (o, t) => {
    for await (const _ of t.adapted.generateStream(with_({ inputIds: [1] }, o)));
  }),
  'WrappedModel#gradientCheckpointingEnable': checked('everyNLayers', 'x', (o, t) =>
    t.adapted.gradientCheckpointingEnable(o),
  ),
  // Files
  planWeightFiles: checked('maxShardSize', true, (o) => planWeightFiles([], o)),
  writeSafetensors: checked('allowNonFinite', 'x', (o) =>
    writeSafetensors('/dev/null/none', [], {}, o),
  ),
  writeWeights: checked('maxShardSize', true, (o) => writeWeights('/dev/null/none', [], o)),
  // Text
  'Tokenizer#encode': named('addSpecialTokens', (o, t) => t.tokenizer.encode('a', o)),
  'Tokenizer#decode': named('skipSpecialTokens', (o, t) => t.tokenizer.decode([0], o)),
  'Tokenizer#createDecodeStream': checked('skipSpecialTokens', 'x', (o, t) =>
    t.tokenizer.createDecodeStream(o),
  ),
  'Tokenizer#applyChatTemplate': checked('addGenerationPrompt', 'x', (o, t) =>
    t.tokenizer.applyChatTemplate([], o),
  ),
  'Tokenizer#generationSpans': checked('tools', 'x', (o, t) => t.tokenizer.generationSpans([], o)),
  inspectRows: checked('eosTokenIds', 'x', (o) => inspectRows(Dataset.from([]), with_(inspect, o))),
  tokenizeSft: named('vocabSize', (o) => tokenizeSft({}, 'row 0', with_(tokenize, o))),
  'PreflightReport#format': checked('problems', 'x', (o) =>
    PreflightReport.prototype.format.call(none, o),
  ),
  // Training
  'new SFTTrainer': checked(
    'trainDataset',
    'x',
    (o, t) => new SFTTrainer(with_({ model: t.model }, o)),
  ),
  'new Trainer': checked(
    'trainDataset',
    'x',
    (o, t) => new Trainer(with_({ model: t.model, objective: 'causal-lm' }, o)),
  ),
  'Trainer#train': checked('handleSignals', 'x', (o, t) => t.trainer.train(o)),
  'Trainer#steps': checked('handleSignals', 'x', (o, t) => t.trainer.steps(o).next()),
  'Trainer#preview': checked('rows', 'x', (o, t) => t.trainer.preview(o)),
  'Trainer#profile': checked('warmupSteps', 'x', (o, t) => t.trainer.profile(o)),
  'Trainer#tune': checked('maxSeconds', 'x', (o, t) => t.trainer.tune(o)),
  'Trainer#planMemory': checked('generation', { batchSize: 'x' }, (o, t) =>
    t.trainer.planMemory(o),
  ),
  causalLmObjective: checked('labelSmoothing', 'x', (o) =>
    causalLmObjective(with_({ maxLength }, o)),
  ),
  causalLmRows: checked('packing', 'x', (o) => causalLmRows(with_({ maxLength }, o))),
  sequenceClassificationObjective: checked('maxLength', 'x', (o, t) =>
    sequenceClassificationObjective(t.model, o),
  ),
  sequenceLogProbs: named('temperature', (o, t) => sequenceLogProbs(t.model, {}, o)),
  // Optimizers and schedules
  'new AdamW': checked('beta1', 'x', (o, t) => new AdamW(t.model.engine, [], o)),
  'new AdamW8bit': checked('beta1', 'x', (o, t) => new AdamW8bit(t.model.engine, [], o)),
  'new PagedAdamW8bit': checked('beta1', 'x', (o, t) => new PagedAdamW8bit(t.model.engine, [], o)),
  'new Adafactor': checked('decayRate', 1, (o, t) => new Adafactor(t.model.engine, [], o)),
  'new Lion': checked('beta1', 2, (o, t) => new Lion(t.model.engine, [], o)),
  'new SGD': checked('nesterov', 1, (o, t) => new SGD(t.model.engine, [], o)),
  schedule: named('numCycles', (o) => schedule('cosine', with_(run, o))),
  metricSchedule: named('patience', (o) => metricSchedule('greedy', with_(start, o))),
  'new GreedyLr': named('patience', (o) => new GreedyLr(with_(start, o))),
  'new ReduceLrOnPlateau': named('patience', (o) => new ReduceLrOnPlateau(with_(start, o))),
  // Callbacks and trackers
  'new EarlyStoppingCallback': checked(
    'earlyStoppingThreshold',
    'x',
    (o) => new EarlyStoppingCallback(o),
  ),
  'new TensorBoardCallback': checked('logDir', 3, (o) => new TensorBoardCallback(o)),
  'new WandbCallback': checked('project', 3, (o) => new WandbCallback(o)),
  'new MlflowCallback': checked('trackingUri', 3, (o) => new MlflowCallback(o)),
  // Evaluation
  generateTask: checked('maxNewTokens', 'x', (o) => generateTask(with_({ name, rows: [{}] }, o))),
  loglikelihoodTask: checked('targetDelimiter', 3, (o) =>
    loglikelihoodTask(with_({ name, rows: [{}] }, o)),
  ),
  runEvaluationTask: checked('batchSize', 'x', (o, t) =>
    runEvaluationTask(none, with_({ model: t.model, tokenizer: t.tokenizer }, o)),
  ),
  exactMatch: named('ignoreCase', (o) => exactMatch('a', 'b', o)),
  // Adapters
  'PeftModel.fromPretrained': checked('isTrainable', 'x', (o, t) =>
    PeftModel.fromPretrained(t.model, name, o),
  ),
  'PeftModel#loadAdapter': checked('isTrainable', 'x', (o, t) => t.adapted.loadAdapter(name, o)),
  'PeftModel#savePretrained': checked('portable', 'x', (o, t) =>
    t.adapted.savePretrained('/dev/null/none', o),
  ),
  'PeftModel#addWeightedAdapter': checked('density', 'x', (o, t) =>
    t.adapted.addWeightedAdapter(with_(combination, o)),
  ),
  'PeftModel#mergeAdapter': checked('safeMerge', 'x', (o, t) => t.adapted.mergeAdapter(o)),
  'PeftModel#mergeAndUnload': checked('dequantize', 'x', (o, t) => t.adapted.mergeAndUnload(o)),
  extractLora: checked('targetModules', 3, (o, t) =>
    extractLora(t.model, t.model, with_({ rank: 1 }, o)),
  ),
  combineSavedAdapters: checked('svdRank', 'x', (o) =>
    combineSavedAdapters(with_({ adapters: [], outputDir: '/dev/null/none' }, o)),
  ),
  checkAdapter: checked('maxLoraRank', 'x', (o) =>
    checkAdapter(name, with_({ target: 'peft' }, o)),
  ),
  advise: checked('tasks', 'x', (o) => advise(with_({ gpuMemory: '1GB', modelSize: 1e6 }, o))),
  // Merging
  mergeModels: checked('seed', 'x', (o) =>
    mergeModels(merging, with_({ outputDir: '/dev/null/none' }, o)),
  ),
  mergeFromYaml: checked('overwrite', 'x', (o) =>
    mergeFromYaml(name, with_({ outputDir: '/dev/null/none' }, o)),
  ),
  planMerge: checked('workers', 'x', (o) => planMerge(merging, o)),
  describePlan: checked('maxMemory', true, (o) => describePlan(none, o)),
  mergeTensors: checked('baseIndex', 'x', (o) => mergeTensors([], 'linear', o)),
  greedySoup: checked('evaluate', 3, (o) =>
    greedySoup(with_({ models: [name], evaluate: () => 1, outputDir: '/dev/null/none' }, o)),
  ),
  extractAdapter: checked('rank', 'x', (o) =>
    extractAdapter(with_({ baseModel: name, model: name, outputDir: '/dev/null/none' }, o)),
  ),
  // Devices
  dawn: checked('tuning', 3, (o) => dawn(o)),
  createDawnBackend: checked('tuning', 3, (o) => createDawnBackend(o)),
  // Test kits
  checkGradients: checked('tolerance', 'x', (o) => checkGradients(none, [], o)),
  compareCase: checked('reference', 'x', (o, t) =>
    compareCase(t.model.engine.backend, opCases[0]!, o),
  ),
  conformanceSuite: checked('filter', 'x', (o) => conformanceSuite(none, o)),
  datasetReaderKit: checked('content', 3, (o) =>
    datasetReaderKit(none, with_({ content: '', rows: [] }, o)),
  ),
  scheduleKit: named('options', (o) => scheduleKit(none, o)),
  trackerKit: checked('writesFiles', 'x', (o) =>
    trackerKit(tracker, with_({ writesFiles: true }, o)),
  ),
  peftMethodKit: checked('zeroAtStart', 'x', (o) => peftMethodKit(none, o)),
};

const parts = 'a part of a model: families make it from a config.json that is checked';
const ops = 'recorded for each op of a step, from code: its types say what there is';
const kit = 'a kit for tests: the types of its options say what there is';
const helper = 'a helper of code that has checked its own options';

/** What takes options and looks at no names, and why. */
export const unchecked: Readonly<Record<string, string>> = {
  'ChatTemplate#render': 'Tokenizer#applyChatTemplate, which calls it, refuses them',
  'ChatTemplate#renderSpans': 'as ChatTemplate#render',
  'Tensor#matmul': ops,
  'Engine#backward': ops,
  attendCached: ops,
  causalLmLoss: ops,
  checkTrainerOptions: 'it is what refuses them',
  'DataPipeline.of': 'pipeline, which calls it, refuses them',
  'new Conv1D': parts,
  'new DecodeStream': parts,
  'new DecoderWithHead': parts,
  'new DecoderWithScore': parts,
  'new Embedding': parts,
  'new GatedMlp': parts,
  'new Linear': parts,
  'new BitsAndBytesLinear': parts,
  'new RotaryDecoder': parts,
  'new RotaryTables': parts,
  'new SelfAttention': parts,
  'new StaticKvCache': parts,
  'new ValueHead': parts,
  fillNormal: parts,
  initWeights: parts,
  inverseFrequencies: parts,
  rotaryAngles: parts,
  callbackKit: kit,
  evaluationTaskKit: kit,
  mergeMethodKit: kit,
  modelFamilyKit: kit,
  objectiveKit: kit,
  optimizerKit: kit,
  quantizationFormatKit: kit,
  adamwRule: helper,
  lionRule: helper,
  'new ArenaOptimizer': 'its subclasses hand their own options on to it',
  'new Loader': helper,
  multiInject: 'of inversify',
  opCase: helper,
  formatJson: helper,
  keysToCamel: helper,
  keysToSnake: helper,
  parseJson: helper,
  parseMergeYaml: 'planMerge and mergeFromYaml, which read a config, check theirs',
  readMergeYaml: 'as parseMergeYaml',
  openRegular: helper,
  parseOptions: helper,
  readJsonFile: helper,
  readJsonObject: helper,
  fetchDataset: 'fromHub checks them first',
  readText: helper,
  resolveFolder: 'fromPretrained, loadAdapter and the command check them first',
  writeJson: helper,
  'DawnBackend#tune': 'trainer.tune checks them first',
  'new AttuneError': 'an error is no place for errors',
};

/** What the calls are made on, on one Attune. */
export async function makeThings(): Promise<Things & AsyncDisposable> {
  const { peft } = await import('@attune/peft');
  const attune = await createAttune({ backend: 'reference', plugins: [peft()] });
  const llama = () =>
    AutoModelForCausalLM.fromConfig(
      {
        ...{ model_type: 'llama', vocab_size: 9, hidden_size: 8, intermediate_size: 8 },
        ...{ num_hidden_layers: 1, num_attention_heads: 2, rms_norm_eps: 1e-5 },
        max_position_embeddings: 16,
      },
      { attune },
    );
  const model = await llama();
  const adapted = getPeftModel(await llama(), { peftType: 'LORA', r: 2 });
  const trainer = new SFTTrainer({
    model: await llama(),
    trainDataset: [{ input_ids: [1, 2, 3] }],
    args: { maxSteps: 1, saveStrategy: 'no', outputDir: '/dev/null/none' },
  });
  const tokenizer = new Tokenizer({
    folder: name,
    tokenizer: { model: { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [] } },
    config: {},
    chatTemplate: '{{ messages | length }}',
  });
  return {
    ...{ model, adapted, trainer, tokenizer },
    [Symbol.asyncDispose]: () => attune.dispose(),
  };
}
