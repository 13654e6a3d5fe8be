import { briefly, explainUnknown } from '@attune/core/util';
import type { MergeMethod } from '../contract/mergeMethod.js';
import { type ConfigPath, formatPath, MergeProblems } from '../problems.js';
import { checkInputsOf, type SliceInputs } from './checkInputs.js';
import type {
  InputModel,
  InputSlice,
  MergeConfig,
  ModelReference,
  OutputModule,
  OutputSlice,
  Settings,
} from './mergeConfig.js';
import { ReferenceFault, readModelReference } from './modelReference.js';
import { readDtype, readTokenizer } from './outputSections.js';
import {
  asInteger,
  found,
  readSection,
  readText,
  type Section,
  type SectionReader,
  type SectionShape,
} from './section.js';
import { readSettings } from './settings.js';

/** How a config was given. */
export interface ConfigOrigin extends Pick<MergeConfig, 'file' | 'placeOf'> {
  spell(name: string): string;
  isHolder?(path: ConfigPath): boolean;
}

const CONFIG: SectionShape = {
  what: 'the config',
  keys: [
    'mergeMethod',
    'models',
    'slices',
    'modules',
    'baseModel',
    'parameters',
    'dtype',
    'outDtype',
    'tokenizer',
    'tokenizerSource',
    'chatTemplate',
  ],
  synonyms: { method: 'mergeMethod', base: 'baseModel', template: 'chatTemplate' },
  notes: {
    name: 'names belong to files with several merges, of which each is a file of its own here',
    experts: 'mixtures of experts are not built here',
    gatemode: 'mixtures of experts are not built here',
    layerrange: 'it belongs to a source of a slice',
    sources: 'they belong to an entry of slices',
    padtomultipleof: 'it belongs into tokenizer',
    tokens: 'they belong into tokenizer',
  },
};
const MODEL: SectionShape = {
  what: 'a model',
  keys: ['model', 'parameters'],
  notes: { layerrange: 'layers are chosen by slices, not by models' },
};
const SOURCE: SectionShape = { what: 'a source', keys: ['model', 'layerRange', 'parameters'] };
const SLICE: SectionShape = {
  what: 'a slice',
  keys: ['sources', 'baseModel', 'residualWeight', 'parameters'],
  notes: {
    layerrange: 'it belongs to a source of the slice',
    model: 'it belongs to a source of the slice',
  },
};
const MODULE: SectionShape = { what: 'a module', keys: ['models', 'slices', 'parameters'] };

const FORMS = ['models', 'slices', 'modules'] as const;
type Form = (typeof FORMS)[number];

/** Names of methods elsewhere. */
const METHODS: Readonly<Record<string, string>> = {
  average: 'linear',
  soup: 'linear',
  modelsoup: 'linear',
  dare: 'dare_ties',
  frankenmerge: 'passthrough',
  stock: 'model_stock',
  taskvector: 'task_arithmetic',
};

/** Reads one config, collects all that is wrong with it, and throws it at once. */
export class ConfigParser implements SectionReader {
  readonly problems = new MergeProblems();
  readonly #warnings: string[] = [];
  readonly #paths = new WeakMap<Settings, ConfigPath>();
  readonly spell = (name: string): string => this.origin.spell(name);
  readonly isHolder = (path: ConfigPath): boolean => this.origin.isHolder?.(path) ?? false;
  #method: MergeMethod | null = null;
  #base: ModelReference | null = null;

  constructor(
    readonly methods: readonly MergeMethod[],
    private readonly origin: ConfigOrigin,
  ) {}

  /** @throws MERGE_INVALID */
  parse(value: unknown, yaml: string): MergeConfig {
    const config = this.#section(value, [], CONFIG);
    const parsed = config && this.#config(config, yaml);
    this.problems.throwIfAny(this.origin);
    return parsed!;
  }

  #config(config: Section, yaml: string): MergeConfig {
    this.#method = this.#readMethod(config);
    this.#base = this.#optionalModel(config, 'baseModel');
    const parameters = this.#settings(config);
    const form = this.#form(config);
    return {
      mergeMethod: this.#method?.name ?? '',
      baseModel: this.#base,
      form: form ?? 'models',
      modules: form === null ? new Map() : this.#modules(config, form),
      parameters,
      dtype: readDtype(config, 'dtype', this),
      outDtype: readDtype(config, 'outDtype', this),
      tokenizer: readTokenizer(config, this),
      chatTemplate: readText(config, 'chatTemplate', this),
      yaml,
      file: this.origin.file,
      warnings: this.#warnings,
      placeOf: this.origin.placeOf,
      pathOf: (settings) => this.#paths.get(settings) ?? null,
    };
  }

  #readMethod(config: Section): MergeMethod | null {
    const name = config.get('mergeMethod');
    const method = this.methods.find((candidate) => candidate.name === name);
    if (method) return method;
    const names = this.methods.map((candidate) => candidate.name);
    const key = this.spell('mergeMethod');
    this.problems.add({
      path: config.at('mergeMethod'),
      message:
        typeof name === 'string'
          ? explainUnknown(
              name,
              { known: names, synonyms: METHODS },
              `there is no ${key} ${briefly(name)}`,
            )
          : `${key} is ${found(name)}, expected the name of a method.`,
      remedy: `Methods: ${names.join(', ')}.`,
    });
    return null;
  }

  /** Which of the three there is; null: none, or several. */
  #form(config: Section): Form | null {
    const given = filled(config, FORMS);
    const [form] = given;
    if (form !== undefined && given.length === 1) return form;
    this.problems.add({
      path: given.length > 0 ? config.at(given[1]!) : config.path,
      message: `the config has ${given.length > 0 ? given.join(' and ') : 'neither models nor slices nor modules'}, expected exactly one of them.`,
      remedy: 'Write one of models, slices and modules.',
    });
    return null;
  }

  #modules(config: Section, form: Form): ReadonlyMap<string, OutputModule> {
    if (form !== 'modules') {
      const content = this.#content(config, form);
      return new Map([['default', { ...content, parameters: {} }]]);
    }
    const modules = config.get('modules');
    const path = config.at('modules');
    if (
      typeof modules !== 'object' ||
      Array.isArray(modules) ||
      Object.keys(modules!).length === 0
    ) {
      this.#wrong(path, `modules is ${found(modules)}, expected a mapping from names to modules`);
      return new Map();
    }
    return new Map(
      Object.entries(modules!).flatMap(([name, value]) => {
        const module = this.#module(value, [...path, name]);
        return module ? [[name, module] as const] : [];
      }),
    );
  }

  #module(value: unknown, path: ConfigPath): OutputModule | null {
    const section = this.#section(value, path, MODULE);
    if (!section) return null;
    const parameters = this.#settings(section);
    const forms = filled(section, ['models', 'slices']);
    if (forms.length !== 1) {
      this.#wrong(
        path,
        `the module ${path.at(-1)} has ${forms.length > 0 ? 'models and slices' : 'neither models nor slices'}, expected one of them`,
      );
      return null;
    }
    return { ...this.#content(section, forms[0]!), parameters };
  }

  #content(section: Section, form: 'models' | 'slices') {
    const path = section.at(form);
    if (form === 'models') {
      const models = this.#list(section, form, (value, at) => this.#model(value, at));
      if (models.length > 0) this.#checkInputs({ path, sources: models, base: this.#base }, true);
      return { models };
    }
    return { slices: this.#list(section, form, (value, at) => this.#slice(value, at)) };
  }

  #model(value: unknown, path: ConfigPath): InputModel | null {
    const section = this.#section(value, path, MODEL);
    if (!section) return null;
    const model = this.reference(section, 'model');
    const parameters = this.#settings(section, 'input');
    return model && { model, parameters };
  }

  #slice(value: unknown, path: ConfigPath): OutputSlice | null {
    const section = this.#section(value, path, SLICE);
    if (!section) return null;
    const baseModel = this.#optionalModel(section, 'baseModel');
    const parameters = this.#settings(section);
    const residual = section.get('residualWeight') ?? null;
    if (residual !== null && typeof residual !== 'number')
      this.#wrong(
        section.at('residualWeight'),
        `${this.spell('residualWeight')} is ${found(residual)}, expected a number`,
      );
    else if (residual !== null)
      this.#warnings.push(
        `${formatPath(section.at('residualWeight'))} has no effect, here as in mergekit.`,
      );
    const sources = this.#list(section, 'sources', (item, at) => this.#source(item, at));
    const inputs = { path: section.at('sources'), sources, base: baseModel ?? this.#base };
    if (sources.length > 0) this.#checkInputs(inputs, false);
    return { sources, baseModel, parameters };
  }

  #source(value: unknown, path: ConfigPath): InputSlice | null {
    const section = this.#section(value, path, SOURCE);
    if (!section) return null;
    const model = this.reference(section, 'model');
    const parameters = this.#settings(section, 'input');
    const layerRange = this.#layerRange(section);
    return model && layerRange && { model, layerRange, parameters };
  }

  #layerRange(section: Section): readonly [number, number] | null {
    const value = section.get('layerRange');
    const path = section.at('layerRange');
    const bounds = Array.isArray(value) ? value.map(asInteger) : [];
    const [begin, end] = bounds;
    const name = this.spell('layerRange');
    if (bounds.length !== 2 || begin === null || end === null)
      return this.#wrong(path, `${name} is ${found(value)}, expected two whole numbers`, LAYERS);
    if (begin! < 0 || end! < 0)
      return this.#wrong(path, `${name} [${begin}, ${end}] has a negative layer`, LAYERS);
    if (begin! >= end!)
      return this.#wrong(
        path,
        `${name} [${begin}, ${end}] has no layers: its end is ${begin === end ? 'its beginning' : 'before its beginning'}`,
        LAYERS,
      );
    return [begin!, end!];
  }

  #checkInputs(inputs: SliceInputs, isWhole: boolean): void {
    checkInputsOf(inputs, isWhole, this.#method, this);
  }

  /** Items of a list that must have some; those that are wrong are left out. */
  #list<T>(
    section: Section,
    name: string,
    read: (value: unknown, path: ConfigPath) => T | null,
  ): readonly T[] {
    const path = section.at(name);
    const value = section.get(name);
    if (!Array.isArray(value) || value.length === 0) {
      const what = Array.isArray(value) ? 'an empty list' : found(value);
      this.#wrong(path, `${path.at(-1)} is ${what}, expected a list`);
      return [];
    }
    // Also what a list of code leaves out: [, b].
    return Array.from(value, (item, i) => read(item, [...path, i])).filter((item) => item !== null);
  }

  /** A model that must be there. */
  reference(section: Section, name: string): ModelReference | null {
    const value = section.get(name);
    if (value === undefined)
      return this.#wrong(section.path, `${this.spell(name)} is missing`, 'Name the model.');
    const read = readModelReference(value);
    if (!(read instanceof ReferenceFault)) return read;
    const what =
      typeof value === 'string' ? `${this.spell(name)} ${briefly(value, 400)}` : this.spell(name);
    return this.#wrong(section.at(name), `${what} ${read.message}`, read.remedy);
  }

  #optionalModel(section: Section, name: string): ModelReference | null {
    return section.has(name) ? this.reference(section, name) : null;
  }

  #settings(section: Section, scope: 'tensor' | 'input' = 'tensor'): Settings {
    const value = section.get('parameters') ?? {};
    const path = section.at('parameters');
    const settings = readSettings(value, path, { scope, method: this.#method, reader: this });
    this.#paths.set(settings, path);
    return settings;
  }

  #section(value: unknown, path: ConfigPath, shape: SectionShape): Section | null {
    const methods = this.#method ? [this.#method] : this.methods;
    const known = methods.flatMap(({ parameters }) => Object.keys(parameters).map(this.spell));
    const place = (name: string) => `parameters: { ${name}: ... }`;
    return readSection(value, path, { ...shape, elsewhere: [{ hints: { known }, place }] }, this);
  }

  #wrong(path: ConfigPath, message: string, remedy = 'Write it as expected.'): null {
    this.problems.add({ path, message: `${message}.`, remedy });
    return null;
  }
}

/** Which of the names have something in them; where none has, which are there. */
function filled<Name extends string>(section: Section, names: readonly Name[]): readonly Name[] {
  const there = names.filter((name) => section.has(name));
  const full = there.filter((name) => Object.keys(section.get(name) as object).length > 0);
  return full.length > 0 ? full : there;
}

const LAYERS = 'Write the first layer and the one after the last: [0, 8].';
