import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { trainingArgumentsSchema } from '@attune/core/training';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { dataOptionCalls } from './dataOptionCalls.js';
import { optionCalls, unchecked } from './optionCalls.js';
import { optionTaking } from './optionTaking.js';

// What an editor shows: the language service is asked as an editor asks it, over the sources as in
// this repository, and over their declarations as where the packages are installed. A service
// checks types anew for each set of files, which takes seconds: three of them answer everything.

const root = fileURLToPath(new URL('..', import.meta.url));
const { config } = ts.readConfigFile(join(root, 'tsconfig.base.json'), ts.sys.readFile);
const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
options.typeRoots = [join(root, 'node_modules/@types')];
// The source where there is one, else the declaration.
options.paths = {
  '@attune/core': [join(root, 'packages/core/src/index')],
  '@attune/core/platform': [join(root, 'packages/core/src/platform/node')],
  '@attune/core/*': [join(root, 'packages/core/src/entries/*')],
  '@attune/peft': [join(root, 'packages/peft/src/index')],
  '@attune/merge': [join(root, 'packages/merge/src/index')],
  '@attune/data': [join(root, 'packages/data/src/index')],
};

/** Where files come from, beside those that exist only here. */
interface Disk {
  fileExists(name: string): boolean;
  readFile(name: string): string | undefined;
}

const sources: Disk = ts.sys;

/** Files that several services read are parsed once. */
const parsed = ts.createDocumentRegistry(undefined, root);

/** A language service over the sources, or over `disk`, and files that exist only here. */
function editor(files: ReadonlyMap<string, string>, disk: Disk = sources): ts.LanguageService {
  const host: ts.LanguageServiceHost = {
    getCompilationSettings: () => options,
    getScriptFileNames: () => [...files.keys()],
    getScriptVersion: () => '1',
    getScriptSnapshot(name) {
      const text = files.get(name) ?? disk.readFile(name);
      return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text);
    },
    getCurrentDirectory: () => root,
    getDefaultLibFileName: ts.getDefaultLibFilePath,
    fileExists: (name) => files.has(name) || disk.fileExists(name),
    readFile: (name) => files.get(name) ?? disk.readFile(name),
    directoryExists: ts.sys.directoryExists,
    getDirectories: ts.sys.getDirectories,
    realpath: ts.sys.realpath!,
  };
  return ts.createLanguageService(host, parsed);
}

/** What people import, as `package.json` names it. */
const entryFiles = [
  ...['index', 'testing/index', ...readdirSync(join(root, 'packages/core/src/entries'))].map(
    (name) =>
      `packages/core/src/${name.endsWith('.ts') ? 'entries/' : ''}${name.replace(/\.ts$/, '')}.ts`,
  ),
  ...[
    ...['peft/src/index', 'peft/src/testing/index', 'merge/src/index', 'merge/src/testing/index'],
    ...['backend-dawn/src/index', 'cli/src/index', 'data/src/index', 'data/src/testing/index'],
  ].map((name) => `packages/${name}.ts`),
].map((name) => join(root, name));

const here = join(root, 'integration');
const imports = `
import * as core from '@attune/core';
import * as backend from '@attune/core/backend';
import * as models from '@attune/core/models';
import * as text from '@attune/core/text';
import * as training from '@attune/core/training';
import * as peft from '@attune/peft';
import * as merge from '@attune/merge';
import * as dawn from '@attune/backend-dawn';
`;

/** Everything that users write options for, as types; of the methods of PEFT each by itself. */
const optionTypes = [
  'core.CreateAttuneOptions',
  'core.SftTrainerOptions',
  'core.TrainerOptions',
  'core.TrainingArgumentsInput',
  'core.SftArgumentsInput',
  'core.TrainingArguments',
  'core.SftArguments',
  "NonNullable<core.SftArgumentsInput['lrSchedulerKwargs']>",
  "NonNullable<core.SftArgumentsInput['gradientCheckpointingKwargs']>",
  "Exclude<NonNullable<core.SftArgumentsInput['preflight']>, string>",
  'core.TrainOptions',
  'core.FromPretrainedOptions',
  'models.FromConfigOptions',
  'models.ClassifierFromPretrainedOptions',
  'models.ClassifierFromConfigOptions',
  'core.QuantizationConfig',
  'core.HubOptions',
  'core.GenerateOptions',
  'text.EncodeOptions',
  'text.DecodeOptions',
  'text.ApplyChatTemplateOptions',
  'core.LoadDatasetOptions',
  'text.ShuffleOptions',
  'training.EarlyStoppingOptions',
  'training.TensorBoardOptions',
  'training.WandbOptions',
  'training.MlflowOptions',
  'training.GenerateTaskOptions',
  'training.LoglikelihoodTaskOptions',
  'core.EstimateMemoryOptions',
  'training.GenerationShape',
  'training.PlanMemoryOptions',
  'training.ProfileOptions',
  'backend.TuningOptions',
  'training.ScheduleOptions',
  'training.MetricScheduleOptions',
  'training.CausalLmOptions',
  'training.SequenceClassificationOptions',
  'dawn.DawnOptions',
  'merge.PlanMergeOptions',
  'merge.MergeOptions',
  'merge.DescribePlanOptions',
  'merge.GreedySoupOptions',
  'merge.ExtractAdapterOptions',
  'merge.MergeTensorsOptions',
  'peft.LoadAdapterOptions',
  'peft.SaveAdapterOptions',
  'peft.MergeAndUnloadOptions',
  'peft.WeightedAdapterOptions',
  'peft.ExtractLoraOptions',
  'peft.CheckAdapterOptions',
  'peft.AdviseOptions',
  'peft.CustomPeftConfig',
  ...['Lora', 'Ia3', 'Vera', 'Adapter', 'Bitfit', 'LayerSelect', 'Full'].map(
    (name) => `peft.${name}Config`,
  ),
  ...['PromptTuning', 'PTuning', 'PrefixTuning'].map((name) => `peft.${name}Config`),
];

const virtual = (name: string) => join(here, `virtual-${name}.ts`);
const listFile = virtual('list');
const useFile = virtual('use');
const compiled = join(here, 'optionTypes.ts');
const use = `${imports}
declare const model: core.LanguageModel;
new core.SFTTrainer({ model, args: { /*hover*/learningRate: 1e-3, /*args*/ } });
new core.SFTTrainer({ model, peftConfig: { peftType: 'LORA', /*hover*/loraAlpha: 8, /*lora*/ } });
new core.SFTTrainer({ model, peftConfig: { peftType: 'IA3', /*ia3*/ } });
new core.SFTTrainer({ model, peftConfig: { peft_type: 'LORA', /*snake*/ } });
new core.SFTTrainer({ model, peftConfig: { peftType: '' } });
`;
/** What there is, and how it is used. */
const written = editor(
  new Map([
    [listFile, imports + optionTypes.map((type, i) => `export type T${i} = ${type};`).join('\n')],
    [useFile, use],
    [compiled, readFileSync(compiled, 'utf8')],
    ...entryFiles.map((name) => [name, readFileSync(name, 'utf8')] as const),
  ]),
);

const ofPackages = /\/packages\/(?:core|merge|peft)\/src\//;

/** core, merge and peft as their declarations, each emitted when it is asked for. */
const declarations: Disk = {
  fileExists(name) {
    if (!ofPackages.test(name)) return ts.sys.fileExists(name);
    return name.endsWith('.d.ts') && ts.sys.fileExists(name.replace(/\.d\.ts$/, '.ts'));
  },
  readFile(name) {
    if (!ofPackages.test(name)) return ts.sys.readFile(name);
    if (!this.fileExists(name)) return undefined;
    return written.getEmitOutput(name.replace(/\.d\.ts$/, '.ts'), true, true).outputFiles[0]?.text;
  },
};

interface OptionOf {
  readonly name: string;
  readonly isOptional: boolean;
}

/** The options of a type, by the compiler. */
function optionsOf(index: number): OptionOf[] {
  const program = written.getProgram()!;
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(listFile)!;
  const alias = source.statements.find(
    (s): s is ts.TypeAliasDeclaration =>
      ts.isTypeAliasDeclaration(s) && s.name.text === `T${index}`,
  )!;
  return checker
    .getTypeAtLocation(alias)
    .getProperties()
    .map(({ name, flags }) => ({ name, isOptional: (flags & ts.SymbolFlags.Optional) !== 0 }));
}

const all = optionTypes.map((type, i) => ({ type, options: optionsOf(i) }));
const shape = trainingArgumentsSchema.shape as Readonly<
  Record<string, { safeParse(value: unknown): { data?: unknown } }>
>;
const argumentNames = Object.keys(shape);
const hoverFile = virtual('hover');
/** `const t: T = { seed: null! }`: as a user writes it, so that its type is the context. */
const hovered = [
  imports,
  ...all.map(
    ({ type, options: own }, i) =>
      `const t${i}: ${type} = { ${own.map(({ name }) => `${JSON.stringify(name)}: null!`).join(', ')} };`,
  ),
  `const defaults: core.TrainingArgumentsInput = { ${argumentNames.map((name) => `${name}: null!`).join(', ')} };`,
].join('\n');
const hoverIn = (disk: Disk) => editor(new Map([[hoverFile, hovered]]), disk);
const inSources = hoverIn(sources);

describe.each([
  ['sources', sources, inSources],
  ['declarations', declarations, hoverIn(declarations)],
])('hovering over an option shows what it does and its default: %s', (_, disk, hover) => {
  test('of every type', () => {
    const files = hover.getProgram()!.getSourceFiles();
    const emitted = files.filter(({ fileName }) => fileName.endsWith('core/src/util/options.d.ts'));
    expect(emitted.length).toBe(disk === declarations ? 1 : 0);
    expect(all.filter((entry) => entry.options.length === 0)).toEqual([]);
    expect(all.flatMap((entry) => entry.options).length).toBeGreaterThan(400);
  });

  test.each(all)('$type', ({ type, options: own }) => {
    const line = hovered.indexOf(`: ${type} = {`);
    const bad = own.flatMap(({ name, isOptional }) => {
      const at = hovered.indexOf(`${JSON.stringify(name)}: null!`, line) + 1;
      const info = hover.getQuickInfoAtPosition(hoverFile, at);
      const shown = ts.displayPartsToString(info?.documentation);
      if (shown === '') return [`${name}: nothing`];
      return isOptional && !/default/i.test(shown) ? [`${name}: no default in "${shown}"`] : [];
    });
    expect(bad).toEqual([]);
  });
});

test('the default that is shown is the one that is taken', () => {
  const line = hovered.indexOf('const defaults:');
  const compared = argumentNames.flatMap((name) => {
    const at = hovered.indexOf(` ${name}: null!`, line) + 1;
    const info = inSources.getQuickInfoAtPosition(hoverFile, at);
    const shown = ts.displayPartsToString(info?.documentation);
    const literal = /Default:? ("[^"]*"|-?[\d.]+(?:e-?\d+)?|true|false|null)(?=[\s.:(]|$)/.exec(
      shown,
    )?.[1];
    const taken: unknown = shape[name]!.safeParse(undefined).data;
    if (literal === undefined || taken === undefined) return [];
    return [{ name, shown: JSON.parse(literal.replace(/\.$/, '')) as unknown, taken }];
  });
  expect(compared.length).toBeGreaterThan(40);
  expect(compared.filter(({ shown, taken }) => shown !== taken)).toEqual([]);
});

describe('where a trainer is made', () => {
  const offered = (at: number) =>
    (written.getCompletionsAtPosition(useFile, at, {})?.entries ?? []).map(({ name }) => name);

  test('hovering works in the call', () => {
    const shown = [...use.matchAll(/\/\*hover\*\//g)].map(({ index, 0: mark }) => {
      const info = written.getQuickInfoAtPosition(useFile, index + mark.length);
      return ts.displayPartsToString(info?.documentation);
    });
    expect(shown).toEqual([
      expect.stringMatching(/^Highest learning rate\. Default 5e-5 \(SFTTrainer: 2e-5\)\./),
      expect.stringMatching(/^The update is scaled by loraAlpha \/ r\..* Default 8\.$/),
    ]);
  });

  test('options are offered, and those of the other methods are not', () => {
    expect(offered(use.indexOf('/*args*/'))).toEqual(
      expect.arrayContaining(['numTrainEpochs', 'packing', 'evalStrategy']),
    );
    const lora = offered(use.indexOf('/*lora*/'));
    expect(lora).toEqual(expect.arrayContaining(['r', 'targetModules', 'useDora']));
    expect(lora).not.toContain('feedforwardModules');
    const ia3 = offered(use.indexOf('/*ia3*/'));
    expect(ia3).toEqual(expect.arrayContaining(['feedforwardModules', 'targetModules']));
    for (const other of ['r', 'loraAlpha', 'numVirtualTokens', 'bias', 'lora_alpha'])
      expect(ia3).not.toContain(other);
    const snake = offered(use.indexOf('/*snake*/'));
    expect(snake).toEqual(expect.arrayContaining(['r', 'lora_alpha', 'target_modules']));
    expect(snake).not.toContain('loraAlpha');
  });

  test('the methods are offered', () => {
    expect(offered(use.indexOf("''") + 1)).toEqual(
      expect.arrayContaining(['LORA', 'IA3', 'VERA', 'PREFIX_TUNING', 'LAYER_SELECT']),
    );
  });
});

test('what must not compile does not, and what must does', () => {
  const problems = written
    .getSemanticDiagnostics(compiled)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
  expect(problems).toEqual([]);
});

test('every exported call that takes options is in the table of those that refuse unknown ones', () => {
  const program = written.getProgram()!;
  const checker = program.getTypeChecker();
  const names = entryFiles
    .map((name) => program.getSourceFile(name))
    .flatMap((file) => {
      const symbol = file && checker.getSymbolAtLocation(file);
      return symbol ? checker.getExportsOfModule(symbol) : [];
    });
  const exported = names.map((symbol) =>
    symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol,
  );
  const taking = [...optionTaking(checker, exported)].sort();
  const tables = [optionCalls, dataOptionCalls, unchecked].flatMap((table) => Object.keys(table));
  expect(taking).toEqual(tables.sort());
});
