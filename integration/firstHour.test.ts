import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type Attune,
  AttuneError,
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  createAttune,
  EarlyStoppingCallback,
  loadDataset,
  ProgressCallback,
  SFTTrainer,
  silentLogger,
  type Tokenizer,
  Trainer,
} from '@attune/core';
import { getPeftModel, PeftModel, peft } from '@attune/peft';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

// The mistakes of the first hour, as JavaScript lets them through: every one is an error with what
// was found and one thing to do about it.

const fixtures = fileURLToPath(new URL('../parity/fixtures', import.meta.url));
const path = join(fixtures, 'tiny-llama');
const rows = [{ text: 'Once upon a time' }, { text: 'there was a cat' }];

let attune: Attune;
let gone: Attune;
let model: CausalLM;
let goneModel: CausalLM;
let tokenizer: Tokenizer;
let folder: string;
let adapter: string;

const open = () => createAttune({ backend: 'reference', plugins: [peft()], logger: silentLogger });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-first-hour-'));
  adapter = join(folder, 'adapter');
  attune = await open();
  model = await AutoModelForCausalLM.fromPretrained(path, { attune });
  tokenizer = await AutoTokenizer.fromPretrained(join(fixtures, 'tokenizers/bpe-bytefallback'));
  gone = await open();
  goneModel = await AutoModelForCausalLM.fromPretrained(path, { attune: gone });
  const other = await AutoModelForCausalLM.fromPretrained(path, { attune });
  await getPeftModel(other, { peftType: 'LORA', r: 2 }).savePretrained(adapter);
  await gone.dispose();
  await writeFile(join(folder, 'rows.jsonl'), '{"text":"a"}\n');
});

afterAll(async () => {
  await Promise.all(loads);
  await attune.dispose();
  await rm(folder, { recursive: true });
});

/** What TypeScript would refuse. */
// biome-ignore lint/suspicious/noExplicitAny: JavaScript has no types
type Js = any;

const sft = (options: object): unknown => new SFTTrainer({ model, ...options } as Js);
const withArgs = (args: unknown): unknown => sft({ args: args as Js });
/** Some are never awaited: they end before the Attune does. */
const loads: Promise<unknown>[] = [];
const load = (name: unknown, options?: unknown) => {
  const loading = AutoModelForCausalLM.fromPretrained(name as Js, options as Js);
  loads.push(loading.catch(() => undefined));
  return loading;
};
const generate = (options: unknown) => model.generate(options as Js);
const adapted = (config: unknown) => getPeftModel(model, config as Js);
const trained = async (options: object) =>
  new SFTTrainer({
    model: await AutoModelForCausalLM.fromPretrained(path, { attune }),
    tokenizer,
    args: { outputDir: join(folder, 'out'), maxSteps: 1, maxLength: 16, preflight: 'off' },
    ...options,
  } as Js).train();

/** What is done, and what the error says: its code and parts of its message. */
type Mistake = readonly [what: string, make: () => unknown, code: string, parts: readonly string[]];

const mistakes: Readonly<Record<string, readonly Mistake[]>> = {
  createAttune: [
    [
      'createAttune()',
      () => createAttune(),
      'NO_BACKEND',
      [
        'no plugin brings a device to compute on.',
        'then createAttune({ plugins: [dawn(), ...] }). Or pass backe',
      ],
    ],
    [
      'plugins: [fn]',
      () => createAttune({ plugins: [peft] } as Js),
      'PLUGIN_INVALID',
      ['plugins[0] is a function peft', 'Call it: peft()'],
    ],
    [
      'plugins: fn()',
      () => createAttune({ plugins: peft() } as Js),
      'PLUGIN_INVALID',
      [
        'createAttune: plugins: expected a list, found an object with name, ver',
        'Pass plugins: [dawn(), peft()].',
      ],
    ],
    [
      'plugins: string',
      () => createAttune({ plugins: ['dawn'] } as Js),
      'PLUGIN_INVALID',
      [
        'createAttune: plugins[0] is text "dawn", expected a plugin.',
        'Pass what a plugin package gives: dawn(), peft(), ...',
      ],
    ],
    [
      'plugins: undefined in list',
      () => createAttune({ plugins: [undefined] } as Js),
      'PLUGIN_INVALID',
      [
        'createAttune: plugins[0] is nothing (undefined), expected a plugin.',
        'Pass what a plugin package gives: dawn(), peft(), ...',
      ],
    ],
    [
      'plugins: promise',
      () => createAttune({ plugins: [Promise.resolve(peft())] } as Js),
      'PLUGIN_INVALID',
      [
        'createAttune: plugins[0] is a promise (not awaited), expected a plugin',
        'Pass what a plugin package gives: dawn(), peft(), ...',
      ],
    ],
    [
      'plugin key',
      () => createAttune({ plugin: [], device: 'gpu', adapter: 'gpu' } as Js),
      'UNKNOWN_OPTION',
      ['createAttune: there is no option "plugin". Did you mean "plugins"?'],
    ],
    [
      'createAttune(string)',
      () => createAttune('dawn' as Js),
      'ATTUNE_OPTION',
      [
        'createAttune: expected its options as an object, found text "dawn".',
        'Pass { plugins, backend, seed, ... }.',
      ],
    ],
    [
      'createAttune([peft()])',
      () => createAttune([peft()] as Js),
      'ATTUNE_OPTION',
      [
        'createAttune: expected its options as an object, found an array of 1.',
        'Pass { plugins, backend, seed, ... }.',
      ],
    ],
    [
      'backend unknown',
      () => createAttune({ backend: 'cuda' }),
      'UNKNOWN_NAME',
      ['unknown backend "cuda".', 'Known: reference. More come with plugins: createAttune({ plu'],
    ],
    [
      'seed text',
      () => createAttune({ backend: 'reference', seed: '1' } as Js),
      'ATTUNE_OPTION',
      [
        'createAttune: seed is "1"; expected a whole number from 0.',
        'Pass a whole number from 0, or leave seed out.',
      ],
    ],
    [
      'logger text',
      () => createAttune({ backend: 'reference', logger: 'silent' } as Js),
      'ATTUNE_OPTION',
      [
        'createAttune: logger is "silent"; expected a Logger, such as sile',
        'Pass a Logger, such as silentLogger, or leave logger out.',
      ],
    ],
  ],
  models: [
    [
      'load()',
      () => load(undefined),
      'MODEL_NAME',
      [
        'fromPretrained: expected a folder or a Hub id, found nothing (undefine',
        "Pass its path first: '.",
      ],
    ],
    [
      'load({attune})',
      () => load({ attune }),
      'MODEL_NAME',
      [
        'fromPretrained: expected a folder or a Hub id, found an object with at',
        "Pass its path first: '.",
      ],
    ],
    [
      'load(path)',
      () => load(path),
      'ATTUNE_NEEDED',
      [
        'fromPretrained was given no options, so no Attune.',
        'Pass fromPretrained(path, { attune }), with attune = await c',
      ],
    ],
    [
      'load(path,{})',
      () => load(path, {}),
      'ATTUNE_NEEDED',
      [
        'fromPretrained: attune: expected an Attune, found nothing (undefined).',
        'Pass { attune }, with attune = await createAttune({ plugins:',
      ],
    ],
    [
      'load(path, attune)',
      () => load(path, attune),
      'ATTUNE_NEEDED',
      [
        'fromPretrained: the Attune is one of the options.',
        'Pass fromPretrained(path, { attune }).',
      ],
    ],
    [
      'load promise attune',
      () => load(path, { attune: open() }),
      'ATTUNE_NEEDED',
      [
        'fromPretrained: attune: expected an Attune, found a promise (not await',
        'Write await: const attune = await createAttune({ plugins: [d',
      ],
    ],
    [
      'load after dispose',
      () => load(path, { attune: gone }),
      'ATTUNE_DISPOSED',
      ['the Attune was disposed before'],
    ],
    [
      'load hf options',
      () =>
        load(path, {
          attune,
          torch_dtype: 'float16',
          device_map: 'auto',
          load_in_4bit: true,
          trust_remote_code: true,
        }),
      'UNKNOWN_OPTION',
      [
        '"torch_dtype". Did you mean "dtype"',
        '"device_map": the model goes to the device of the Attune',
        '"load_in_4bit": write quantization: { loadIn4bit: true }',
        '"trust_remote_code": nothing',
      ],
    ],
    [
      'load dtype',
      () => load(path, { attune, dtype: 'fp32' }),
      'DTYPE_UNKNOWN',
      [
        'fromPretrained: dtype "fp32" stores no weights.',
        'Use "auto", "float32", "float16" or "bfloat16".',
      ],
    ],
    [
      'load dtype int8',
      () => load(path, { attune, dtype: 'int8' }),
      'DTYPE_UNKNOWN',
      [
        'fromPretrained: dtype "int8" stores no weights.',
        'Use "auto", "float32", "float16" or "bfloat16".',
      ],
    ],
    [
      'load adapter folder',
      () => load(adapter, { attune }),
      'ADAPTER_NOT_MODEL',
      [
        'holds an adapter, and no model',
        'PeftModel.fromPretrained(await AutoModelForCausalLM.fromPretrained(',
      ],
    ],
    [
      'load config.json',
      () => load(join(path, 'config.json'), { attune }),
      'MODEL_FOLDER_MISSING',
      ['is a file, expected a folder.', 'Give the folder that holds config.json.'],
    ],
    [
      'load missing',
      () => load('./nowhere/at/all', { attune }),
      'MODEL_FOLDER_MISSING',
      ['there is no folder ".', 'Check the path; it is taken from'],
    ],
    [
      'quantization unknown',
      () => load(path, { attune, quantization: { bits: 4, quant_type: 'nf4' } }),
      'UNKNOWN_OPTION',
      ['quantization: there is no option "bits". Did you mean "loadIn4bit"?'],
    ],
    [
      'quantization text',
      () => load(path, { attune, quantization: '4bit' }),
      'QUANTIZATION_INVALID',
      ['quantization: found text "4bit", expected an object.', 'Pass { loadIn4bit: true }.'],
    ],
  ],
  tokenizers: [
    [
      'tokenizer undefined',
      () => AutoTokenizer.fromPretrained(undefined as Js),
      'MODEL_NAME',
      [
        'AutoTokenizer.fromPretrained: expected a folder or a Hub id, found not',
        "Pass its path first: '.",
      ],
    ],
    [
      'tokenizer model folder w/o',
      () => AutoTokenizer.fromPretrained(path),
      'TOKENIZER_MISSING',
      ['has no tokenizer.json.', 'Save it from Python: AutoTokenizer.from_pretrained(id, use_f'],
    ],
    [
      'tokenizer attune',
      () => AutoTokenizer.fromPretrained(path, { attune, use_fast: true } as Js),
      'UNKNOWN_OPTION',
      ['AutoTokenizer.fromPretrained: there is no option "attune": a tokenizer'],
    ],
    [
      'encode number',
      () => tokenizer.encode(5 as Js),
      'TOKENIZER_INPUT',
      ['encode: expected a string, found number 5.', 'Call encode once for each text.'],
    ],
    [
      'encode list',
      () => tokenizer.encode(['a'] as Js),
      'TOKENIZER_INPUT',
      ['encode: expected a string, found an array of 1.', 'Call encode once for each text.'],
    ],
    [
      'decode text',
      () => tokenizer.decode('abc' as Js),
      'TOKENIZER_INPUT',
      [
        'decode: expected token ids, found text "abc".',
        'Pass one row of ids: tokenizer.decode(sequences[0]).',
      ],
    ],
    [
      'chat text',
      () => tokenizer.applyChatTemplate('hi' as Js),
      'CHAT_TEMPLATE_MISSING',
      ['has no chat template.', 'Set tokenizer.chatTemplate to a Jinja template, or give prom'],
    ],
  ],
  'data sets': [
    [
      'loadDataset(path)',
      () => loadDataset('train.jsonl' as Js, undefined as Js),
      'DATASET_FORMAT',
      [
        'loadDataset("train.jsonl"): there is no such reader.',
        "Write loadDataset('json', { dataFiles: 'train.jsonl' }).",
      ],
    ],
    [
      'loadDataset(json, path)',
      () => loadDataset('json', 'train.jsonl' as Js),
      'DATASET_OPTION',
      [
        'loadDataset: expected its options as an object, found text "train.json',
        'Write { dataFiles: "train.jsonl" }.',
      ],
    ],
    [
      'loadDataset(json)',
      () => loadDataset('json', undefined as Js),
      'DATASET_FILE',
      ['loadDataset was given no dataFiles.', 'Pass { dataFiles: "train.jsonl" }.'],
    ],
    [
      'loadDataset data_files',
      () => loadDataset('json', { data_files: 'x', split: 'train', num_proc: 3 } as Js),
      'UNKNOWN_OPTION',
      ['loadDataset: there is no option "data_files". Did you mean "dataFiles"'],
    ],
    [
      'loadDataset missing',
      () => loadDataset('json', { dataFiles: 'nowhere.jsonl' }),
      'DATASET_FILE',
      ['data file nowhere.jsonl does not exist.', 'Check the path; it is relative to'],
    ],
    [
      'loadDataset csv',
      () => loadDataset('csv' as Js, { dataFiles: 'a.csv' }),
      'DATASET_FORMAT',
      [
        'loadDataset("csv"): there is no such reader.',
        'Use "json" or "text" with local dataFiles; download data set',
      ],
    ],
  ],
  trainers: [
    [
      'SFT()',
      () => new SFTTrainer(undefined as Js),
      'TRAINER_OPTION',
      [
        'SFTTrainer: expected its options as an object, found nothing (undefine',
        'Pass { model, tokenizer, trainDataset, ... }.',
      ],
    ],
    [
      'SFT(model)',
      () => new SFTTrainer(model as Js),
      'TRAINER_OPTION',
      [
        'SFTTrainer takes one object of options, found a CausalLM.',
        'Write new SFTTrainer({ model, tokenizer, trainDataset, args',
      ],
    ],
    [
      'SFT({})',
      () => new SFTTrainer({} as Js),
      'TRAINER_OPTION',
      [
        'SFTTrainer: model: expected a language model, found nothing (undefined',
        'Pass model: await AutoModelForCausalLM.fromPretrained(path,',
      ],
    ],
    [
      'model promise',
      () => sft({ model: load(path, { attune }) }),
      'TRAINER_OPTION',
      ['found a promise (not awaited)', 'Write await'],
    ],
    [
      'model path',
      () => sft({ model: path }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: model: expected a language model, found text "',
        'Pass model: await AutoModelForCausalLM.fromPretrained(path,',
      ],
    ],
    [
      'model tokenizer',
      () => sft({ model: tokenizer }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: model: expected a language model, found a Tokenizer.',
        'Pass it as tokenizer, and model: await AutoModelForCausalLM.',
      ],
    ],
    [
      'model disposed',
      () => sft({ model: goneModel }),
      'ATTUNE_DISPOSED',
      [
        'SFTTrainer: model: its Attune was disposed before.',
        'Train before `await using attune` leaves its block, or befor',
      ],
    ],
    [
      'tokenizer promise',
      () => sft({ tokenizer: Promise.resolve(tokenizer) }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: expected a tokenizer, found a promise (not awaited).',
        'Write await before AutoTokenizer.fromPretrained(...).',
      ],
    ],
    [
      'tokenizer path',
      () => sft({ tokenizer: path }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: tokenizer: expected one of AutoTokenizer.fromPretrained, f',
        'Pass tokenizer: await AutoTokenizer.fromPretrained(path).',
      ],
    ],
    [
      'tokenizer model',
      () => sft({ tokenizer: model }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: tokenizer: expected one of AutoTokenizer.fromPretrained, f',
        'Pass tokenizer: await AutoTokenizer.fromPretrained(path).',
      ],
    ],
    [
      'rows path',
      () => sft({ trainDataset: 'train.jsonl' }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: trainDataset: expected rows, found text "train.jsonl".',
        "Read the file: await loadDataset('json', { dataFiles: 'train",
      ],
    ],
    [
      'rows promise',
      () => sft({ trainDataset: loadDataset('json', { dataFiles: join(folder, 'rows.jsonl') }) }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: trainDataset: expected rows, found a promise (not awaited)',
        "Write await: await loadDataset('json', { dataFiles: 'train.j",
      ],
    ],
    [
      'rows object',
      () => sft({ trainDataset: { train: rows } }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: trainDataset: expected rows, found an object with train.',
        "Pass an array of rows, or await loadDataset('json', { dataFi",
      ],
    ],
    [
      'eval path',
      () => sft({ evalDataset: 'dev.jsonl' }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: evalDataset: expected rows, found text "dev.jsonl".',
        "Read the file: await loadDataset('json', { dataFiles: 'train",
      ],
    ],
    [
      'eval named path',
      () => sft({ evalDataset: { math: 'dev.jsonl' } }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: evalDataset.math: expected rows, found text "dev.jsonl".',
        "Read the file: await loadDataset('json', { dataFiles: 'train",
      ],
    ],
    [
      'callbacks class',
      () => sft({ callbacks: [EarlyStoppingCallback] }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: callbacks: expected a callback or the name of one, found t',
        'Make one: new EarlyStoppingCallback().',
      ],
    ],
    [
      'callbacks one',
      () => sft({ callbacks: new ProgressCallback() }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: callbacks: expected a list, found a ProgressCallback.',
        'Pass callbacks: [new ProgressCallback()].',
      ],
    ],
    [
      'callback name',
      () => sft({ callbacks: ['progres'] }),
      'UNKNOWN_NAME',
      ['unknown callback "progres".', 'Known: progress. Did you mean "progress"?'],
    ],
    [
      'early stopping',
      () => new EarlyStoppingCallback({ patience: 3, monitor: 'loss' } as Js),
      'UNKNOWN_OPTION',
      ['EarlyStoppingCallback: there is no option "patience". Did you mean "ea'],
    ],
    [
      'early stopping number',
      () => new EarlyStoppingCallback(3 as Js),
      'EARLY_STOPPING',
      [
        'EarlyStoppingCallback: expected its options as an object, found number',
        'Pass { earlyStoppingPatience, earlyStoppingThreshold }.',
      ],
    ],
    [
      'options of trl',
      () =>
        sft({
          train_dataset: rows,
          processing_class: tokenizer,
          peft_config: {},
          dataset: rows,
          lora: {},
          data_collator: 1,
          compute_loss_func: 1,
          formatting_func: 1,
          max_seq_length: 5,
          batchSize: 4,
          learningRate: 1,
          epochs: 2,
          model_name: 'x',
        }),
      'UNKNOWN_OPTION',
      [
        '"train_dataset". Did you mean "trainDataset"',
        '"processing_class". Did you mean "tokenizer"',
        '"peft_config". Did you mean "peftConfig"',
        '"dataset". Did you mean "trainDataset"',
        '"lora". Did you mean "peftConfig"',
        '"data_collator": the objective',
        '"max_seq_length" here. It belongs into args: { maxLength }',
        '"batchSize" here. It belongs into args: { perDeviceTrainBatchSize }',
        '"epochs" here. It belongs into args: { numTrainEpochs }',
        '"model_name": load the model first',
      ],
    ],
    [
      'objective',
      () => sft({ objective: {} }),
      'UNKNOWN_OPTION',
      ['SFTTrainer: there is no option "objective".'],
    ],
    [
      'Trainer without objective',
      () => new Trainer({ model } as Js),
      'TRAINER_OPTION',
      [
        'Trainer: objective is not given.',
        'Pass objective: causalLmObjective({ ... }), or use SFTTraine',
      ],
    ],
    [
      'train no rows',
      () => (sft({}) as SFTTrainer).train(),
      'NO_ROWS',
      ['train() needs training rows.', 'Pass trainDataset to the trainer.'],
    ],
    [
      'train(true)',
      () => (sft({ trainDataset: rows }) as SFTTrainer).train(true as Js),
      'TRAINER_OPTION',
      [
        'train: expected its options as an object, found boolean true.',
        'Pass { resumeFromCheckpoint, signal, handleSignals }.',
      ],
    ],
    [
      'train unknown',
      () => (sft({ trainDataset: rows }) as SFTTrainer).train({ resume: true } as Js),
      'UNKNOWN_OPTION',
      ['train: there is no option "resume". Did you mean "resumeFromCheckpoint'],
    ],
    [
      'empty rows',
      () => trained({ trainDataset: [] }),
      'NO_ROWS',
      ['there are no training rows.', 'Give a data set with rows.'],
    ],
    [
      'rows of text',
      () => trained({ trainDataset: ['a', 'b'] }),
      'ROW_FORMAT',
      [
        'training rows[0]: a row is an object with named fields; this is "a".',
        'Accepted: { prompt, completion } as strings or message lists',
      ],
    ],
    [
      'rows of other names',
      () => trained({ trainDataset: [{ question: 'a', answer: 'b' }] }),
      'ROW_FORMAT',
      [
        'training rows[0]: the row has the fields "question", "answer"; that is',
        'Accepted: { prompt, completion } as strings or message lists',
      ],
    ],
    [
      'rows without tokenizer',
      () => trained({ trainDataset: rows, tokenizer: undefined }),
      'TOKENIZER_MISSING',
      [
        'training rows[0]: the row is text and there is no tokenizer.',
        'Pass tokenizer: await AutoTokenizer.fromPretrained(...), or',
      ],
    ],
    [
      'evaluate without',
      () => (sft({ trainDataset: rows }) as SFTTrainer).evaluate(),
      'NO_ROWS',
      ['evaluate() needs rows.', 'Pass evalDataset or evaluationTasks to the trainer, or a dat'],
    ],
    [
      'evaluate path',
      () => (sft({ trainDataset: rows }) as SFTTrainer).evaluate('dev.jsonl' as Js),
      'TRAINER_OPTION',
      [
        'evaluate(): expected rows, found text "dev.jsonl".',
        "Read the file: await loadDataset('json', { dataFiles: 'train",
      ],
    ],
    [
      'save none',
      () => model.savePretrained(undefined as Js),
      'SAVE_FOLDER',
      [
        'savePretrained: expected the folder to write to, found nothing (undefi',
        "Pass a path: savePretrained('out",
      ],
    ],
    [
      'saveModel number',
      () => (sft({ trainDataset: rows }) as SFTTrainer).saveModel(5 as Js),
      'SAVE_FOLDER',
      [
        'saveModel: expected the folder to write to, found number 5.',
        "Pass a path: saveModel('out",
      ],
    ],
  ],
  adapters: [
    [
      'peftConfig text',
      () => sft({ peftConfig: 'LORA' }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: peftConfig: expected an object, found text "LORA".',
        "Pass peftConfig: { peftType: 'LORA', r: 8 }.",
      ],
    ],
    [
      'peftConfig fn',
      () => sft({ peftConfig: peft }),
      'TRAINER_OPTION',
      [
        'SFTTrainer: peftConfig: expected an object, found a function peft.',
        "Pass peftConfig: { peftType: 'LORA', r: 8 }.",
      ],
    ],
    [
      'peftConfig no type',
      () => sft({ peftConfig: { r: 8 } }),
      'PEFT_TYPE_UNKNOWN',
      [
        'peftConfig has no peftType.',
        "Add one: peftType: 'LORA'. Known: LORA, IA3, VERA, ADAPTER,",
      ],
    ],
    [
      'peftConfig lower',
      () => sft({ peftConfig: { peftType: 'lora' } }),
      'PEFT_TYPE_UNKNOWN',
      [
        'peftConfig: unknown peftType "lora".',
        'Did you mean "LORA"? Known: LORA, IA3, VERA, ADAPTER, BITFIT',
      ],
    ],
    [
      'peftConfig words',
      () =>
        adapted({
          peftType: 'LORA',
          rank: 8,
          alpha: 16,
          dropout: 0.1,
          target: 'x',
          lora_rank: 3,
          foo: 1,
        }),
      'UNKNOWN_OPTION',
      [
        'peftConfig.rank is not an option of LORA. Did you mean "r"',
        'peftConfig.alpha is not an option of LORA. Did you mean "loraAlpha"',
        'peftConfig.dropout',
        '"targetModules"',
        'peftConfig.foo is not an option of LORA.',
      ],
    ],
    [
      'peftConfig other',
      () => adapted({ peftType: 'IA3', r: 8, loraAlpha: 16 }),
      'UNKNOWN_OPTION',
      ['peftConfig.r is not an option of IA3.'],
    ],
    [
      'peftConfig text number',
      () => adapted({ peftType: 'LORA', r: '8' }),
      'PEFT_CONFIG_INVALID',
      [
        'peftConfig.r is "8": Invalid input: expected number, received string.',
        'Change the value, or leave the option out for its default.',
      ],
    ],
    [
      'peftConfig negative',
      () => adapted({ peftType: 'LORA', r: -8, loraAlpha: 0 }),
      'PEFT_CONFIG_INVALID',
      [
        'peftConfig.r is -8: Too small: expected number to be >=1.',
        'Change the value, or leave the option out for its default.',
      ],
    ],
    [
      'peftConfig none',
      () => adapted(undefined),
      'PEFT_CALL',
      [
        'getPeftModel: expected the config of an adapter, found nothing (undefi',
        "Pass { peftType: 'LORA', r: 8, targetModules: 'all-linear' }",
      ],
    ],
    [
      'peftConfig targets',
      () => adapted({ peftType: 'LORA', targetModules: ['query'] }),
      'PEFT_NO_TARGET',
      [
        'targetModules ["query"] match none of the 15 linear layers of llama.',
        'Names: embed_tokens, q_proj, k_proj, v_proj, o_proj, gate_pr',
      ],
    ],
    [
      'getPeft promise',
      () => getPeftModel(load(path, { attune }) as Js, { peftType: 'LORA' }),
      'PEFT_CALL',
      ['found a promise (not awaited)', 'Write await'],
    ],
    [
      'getPeft swapped',
      () => getPeftModel({ peftType: 'LORA' } as Js, model as Js),
      'PEFT_CALL',
      [
        'getPeftModel: expected a language model first, found an object with pe',
        'Pass await AutoModelForCausalLM.fromPretrained(path, { attun',
      ],
    ],
    [
      'Peft.from(base)',
      () => PeftModel.fromPretrained(model, undefined as Js),
      'PEFT_CALL',
      [
        'PeftModel.fromPretrained: expected the folder or the Hub id of an adap',
        "Pass PeftModel.fromPretrained(model, '.",
      ],
    ],
    [
      'Peft.from(path)',
      () => PeftModel.fromPretrained(adapter as Js, undefined as Js),
      'PEFT_CALL',
      [
        'PeftModel.fromPretrained: expected a language model first, found text',
        'Pass await AutoModelForCausalLM.fromPretrained(path, { attun',
      ],
    ],
    [
      'Peft.from(path, attune)',
      () => PeftModel.fromPretrained(adapter as Js, { attune } as Js),
      'PEFT_CALL',
      [
        'PeftModel.fromPretrained: expected a language model first, found text',
        'Pass await AutoModelForCausalLM.fromPretrained(path, { attun',
      ],
    ],
    [
      'Peft.from(base, missing)',
      () => PeftModel.fromPretrained(model, './nowhere'),
      'PEFT_ADAPTER_MISSING',
      ['there is no folder ".', 'Give the folder that holds adapter_config.json, from'],
    ],
    [
      'Peft.from(base, model)',
      () => PeftModel.fromPretrained(model, path),
      'PEFT_ADAPTER_MISSING',
      ['has no adapter_config.json.', 'Give the folder that savePretrained (or PEFT) wrote.'],
    ],
  ],
  arguments: [
    [
      'args words',
      () =>
        withArgs({
          batchSize: 4,
          batch_size: 4,
          epochs: 1,
          lr: 1,
          steps: 4,
          dataset: 1,
          alpha: 3,
          lora: 1,
          r: 3,
          max_seq_length: 4,
          optimizer: 'adam',
          scheduler: 1,
          warmup: 3,
          output: 'x',
          evaluation_strategy: 'steps',
          dtype: 'fp16',
          temperature: 4,
          model_name: 'x',
          device: 'cuda',
        }),
      'ARGUMENTS_INVALID',
      ['"batchSize" and "batch_size" are the same option.', 'Give it once.'],
    ],
    [
      'args absent',
      () => withArgs({ dataset_text_field: 'content', push_to_hub: true, deepspeed: 'x', foo: 1 }),
      'UNKNOWN_OPTION',
      [
        'there is no option "foo"',
        'dataset_text_field: "content"',
        'rows of { text } need it not',
        'push_to_hub: true',
        'deepspeed: "x"',
      ],
    ],
    [
      'args absent only',
      () => withArgs({ dataset_text_field: 'content', fsdp: 'full_shard' }),
      'OPTION_ABSENT',
      ['rows of { text } need it not', 'fsdp: "full_shard"', 'one device trains'],
    ],
    [
      'args off',
      () =>
        withArgs({
          dataset_text_field: 'text',
          deepspeed: null,
          log_level: 'passive',
          outputDir: 7,
        }),
      'ARGUMENTS_INVALID',
      ['outputDir is 7: Invalid input: expected string, received number.', 'Change outputDir.'],
    ],
    [
      'args text',
      () => withArgs('out'),
      'ARGUMENTS_INVALID',
      [
        'args: expected an object of options, found text "out".',
        "Pass args: { outputDir: 'out', learningRate: 1e-4, ... }.",
      ],
    ],
    [
      'args list',
      () => withArgs([]),
      'ARGUMENTS_INVALID',
      [
        'args: expected an object of options, found an array of 0.',
        "Pass args: { outputDir: 'out', learningRate: 1e-4, ... }.",
      ],
    ],
    [
      'args number as text',
      () => withArgs({ learningRate: '1e-3', maxSteps: '10', perDeviceTrainBatchSize: '8' }),
      'ARGUMENTS_INVALID',
      ['maxSteps is "10"', 'learningRate is "1e-3": Invalid input: expected number'],
    ],
    [
      'args negative',
      () =>
        withArgs({
          perDeviceTrainBatchSize: -1,
          numTrainEpochs: 0,
          maxSteps: 0,
          maxLength: -3,
          warmupRatio: 5,
          seed: -1,
          learningRate: Number.NaN,
          maxGradNorm: -1,
        }),
      'ARGUMENTS_INVALID',
      [
        'numTrainEpochs is 0',
        'perDeviceTrainBatchSize is -1',
        'learningRate is NaN',
        'seed is -1',
        'maxLength is -3',
      ],
    ],
    [
      'args word',
      () => withArgs({ saveStrategy: 'eposch', optim: 'adam', evalStrategy: 'step' }),
      'ARGUMENTS_INVALID',
      [
        'evalStrategy is "step": Invalid option: expected one of "no"|"steps"|"epoch".',
        'Change evalStrategy. Change saveStrategy.',
      ],
    ],
    [
      'args schedule',
      () => withArgs({ lrSchedulerType: 'cosin' }),
      'UNKNOWN_NAME',
      [
        'unknown learning-rate schedule "cosin".',
        'Known: linear, cosine, cosine_with_restarts',
        'Did you mean "cosine"?',
      ],
    ],
    [
      'args optim',
      () => withArgs({ optim: 'adam' }),
      'UNKNOWN_NAME',
      ['unknown optimizer "adam".', 'Known: adamw_torch, adamw_torch_fused, adamw, adamw_bnb_8bit'],
    ],
    [
      'args boolean text',
      () => withArgs({ bf16: 'true', packing: 'yes' }),
      'ARGUMENTS_INVALID',
      [
        'bf16 is "true": Invalid input: expected boolean, received string.',
        'Change bf16. Change packing.',
      ],
    ],
    [
      'args both',
      () => withArgs({ learning_rate: 1, learningRate: 2 }),
      'ARGUMENTS_INVALID',
      ['"learning_rate" and "learningRate" are the same option.', 'Give it once.'],
    ],
    [
      'args eval without',
      () => withArgs({ evalStrategy: 'steps' }),
      'ARGUMENTS_INVALID',
      [
        'evalStrategy is "steps", but there is no evalDataset and there are no',
        'Pass evalDataset or evaluationTasks, or leave evalStrategy a',
      ],
    ],
    [
      'args maxMemory',
      () => withArgs({ maxMemory: '8 gigs' }),
      'SIZE_INVALID',
      [
        'maxMemory is "8 gigs"; expected a size.',
        'Give bytes as a number, or text such as "500MB", "5GB" or "8',
      ],
    ],
    [
      'args reportTo',
      () => withArgs({ reportTo: 'tensorbord' }),
      'UNKNOWN_NAME',
      ['unknown tracker "tensorbord".', 'Known: tensorboard, wandb, mlflow, jsonl, html. Di'],
    ],
  ],
  generation: [
    [
      'generate()',
      () => generate(undefined),
      'GENERATE_OPTION',
      [
        'generate: expected its options as an object, found nothing (undefined)',
        'Pass { inputIds, attentionMask, maxNewTokens, ... }.',
      ],
    ],
    [
      'generate text',
      () => generate('Once'),
      'GENERATE_OPTION',
      [
        'generate takes one object of options, found text "Once".',
        'Pass { inputIds: tokenizer.encode(text), maxNewTokens: 40 }.',
      ],
    ],
    [
      'generate ids',
      () => generate([1, 2]),
      'GENERATE_OPTION',
      [
        'generate takes one object of options, found an array of 2.',
        'Pass { inputIds: tokenizer.encode(text), maxNewTokens: 40 }.',
      ],
    ],
    [
      'generate {}',
      () => generate({}),
      'GENERATE_OPTION',
      [
        'generate: inputIds is undefined; expected token ids: tokenizer.encode(',
        'Pass inputIds: tokenizer.encode(text).',
      ],
    ],
    [
      'generate inputIds text',
      () => generate({ inputIds: 'Once upon' }),
      'GENERATE_OPTION',
      [
        'generate: inputIds is "Once upon"; expected token ids: tokenizer.encod',
        'Pass inputIds: tokenizer.encode(text).',
      ],
    ],
    [
      'generate inputIds texts',
      () => generate({ inputIds: ['Once', 'upon'] }),
      'GENERATE_OPTION',
      [
        'generate: inputIds is ["Once","upon"]; expected token ids: tokenizer.e',
        'Pass tokenizer.encode(text) for each text.',
      ],
    ],
    [
      'generate inputIds object',
      () => generate({ inputIds: { input_ids: [1] } }),
      'GENERATE_OPTION',
      [
        'generate: inputIds is "an object with input_ids"; expected token ids:',
        'Pass inputIds: tokenizer.encode(text).',
      ],
    ],
    [
      'generate empty',
      () => generate({ inputIds: [] }),
      'GENERATE_PROMPT_EMPTY',
      [
        'generate: prompt 0 has no tokens; a model continues at least one.',
        'Start with the bos token: tokenizer.encode("") or [tokenizer',
      ],
    ],
    [
      'generate words',
      () =>
        generate({
          inputIds: [1],
          max_new_tokens: 4,
          max_tokens: 4,
          stop: 'x',
          prompt: 'a',
          n: 3,
          top_k: 3,
        }),
      'UNKNOWN_OPTION',
      [
        '"max_tokens". Did you mean "maxNewTokens"',
        '"stop". Did you mean "stopStrings"',
        '"prompt": write inputIds: tokenizer.encode(text)',
        '"top_k". Did you mean "topK"',
      ],
    ],
    [
      'generate number text',
      () => generate({ inputIds: [1], maxNewTokens: '5' }),
      'GENERATE_OPTION',
      ['generate: maxNewTokens is "5"; expected a whole number'],
    ],
    [
      'generate zero',
      () => generate({ inputIds: [1], maxNewTokens: 0 }),
      'GENERATE_OPTION',
      ['generate: maxNewTokens is 0; expected a whole number'],
    ],
    [
      'generate temp 0',
      () => generate({ inputIds: [1], doSample: true, temperature: 0 }),
      'GENERATE_OPTION',
      [
        'generate: temperature is 0; expected a number above 0.',
        'For the likeliest token each time pass doSample: false.',
      ],
    ],
    [
      'generate id range',
      () => generate({ inputIds: [100000] }),
      'GENERATE_TOKEN_OUT_OF_RANGE',
      [
        'generate: prompt 0 has the id 100000 at position 0; the model knows 0',
        'Use the tokenizer that belongs to this model.',
      ],
    ],
    [
      'generate stopStrings number',
      () => generate({ inputIds: [1], stopStrings: 5 }),
      'GENERATE_OPTION',
      ['generate: stopStrings is 5; expected a text, or a list of texts'],
    ],
    [
      'generate doSample text',
      () => generate({ inputIds: [1], doSample: 'yes' }),
      'GENERATE_OPTION',
      [
        'generate: doSample is "yes"; expected true or false.',
        'Pass true or false, or leave doSample out.',
      ],
    ],
    [
      'generate disposed',
      () => goneModel.generate({ inputIds: [1] }),
      'ATTUNE_DISPOSED',
      [
        'generate: the Attune was disposed before.',
        'Load and train before `await using attune` leaves its block,',
      ],
    ],
  ],
};

describe.each(Object.entries(mistakes))('%s', (_, list) => {
  test.each(list)('%s', async (_what, make, code, parts) => {
    const error = await (async () => make())().then(
      () => null,
      (thrown: unknown) => thrown,
    );
    if (!AttuneError.isInstance(error)) throw new Error(`no AttuneError: ${String(error)}`);
    expect(error.code).toBe(code);
    for (const part of parts) expect(error.message).toContain(part);
    expect(error.remedy).toMatch(/\w/);
    expect(error.message).not.toMatch(/\[object |undefined is not|\?\./);
  });
});

test('there are many', () => {
  expect(Object.values(mistakes).flat().length).toBeGreaterThan(100);
});
