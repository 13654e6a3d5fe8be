import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { stringify } from 'yaml';
import type { MergeConfig, ModelReference } from '../config/mergeConfig.js';
import type { MergeMethod } from '../contract/mergeMethod.js';
import { namedModels } from '../inputs/references.js';
import type { OutputFile } from '../plan/mergePlan.js';

/** What a model card tells. */
export interface ModelCardFacts {
  /** The model's name: the last part of the output's path. */
  readonly name: string;
  readonly config: MergeConfig;
  readonly method: Pick<MergeMethod, 'name' | 'title' | 'reference'>;
  readonly seed: number;
  readonly parity: 'float32' | 'mergekit';
  /** By name: `{ '@attune/merge': '0.1.0' }`. */
  readonly versions: Readonly<Record<string, string>>;
  /** What became of the vocabulary, a sentence each. */
  readonly changes: readonly string[];
}

/**
 * README.md with the front matter of the Hub, and mergekit_config.yml with the config as it was
 * written. The text names folders of this machine by their last part; the config stays as it is.
 */
export function modelCard(facts: ModelCardFacts): OutputFile[] {
  const { config } = facts;
  return [
    { name: 'README.md', contents: cardText(facts) },
    { name: 'mergekit_config.yml', contents: withNewline(config.yaml) },
  ];
}

function cardText(facts: ModelCardFacts): string {
  const { name, config, method, seed, parity, versions, changes } = facts;
  const models = namedModels(config).map(({ reference }) => reference);
  const onHub = models
    .flatMap(({ path, adapter }) => [path, ...(adapter ? [adapter.path] : [])])
    .filter(isOnHub);
  const metadata = {
    ...(onHub.length > 0 && { base_model: [...new Set(onHub)] }),
    library_name: 'transformers',
    tags: ['merge', 'attune'],
  };
  const list = models.map((model) => {
    const isBase = model.key === config.baseModel?.key;
    return `- ${modelText(model)}${isBase ? ' (the base)' : ''}`;
  });
  const command = [
    'npx attune merge mergekit_config.yml OUT',
    `--seed ${seed}`,
    ...(parity === 'mergekit' ? ['--parity mergekit'] : []),
  ].join(' ');
  const madeBy = Object.entries(versions).map(([program, version]) => `${program} ${version}`);
  const parts = [
    `---\n${stringify(metadata)}---`,
    `# ${asText(name)}`,
    `A merge of ${models.length} language models by ${methodText(method)}.`,
    '## Models',
    list.join('\n'),
    ...(changes.length > 0
      ? [
          '## Vocabulary',
          changes.map((change) => `- ${asText(shortened(change, models))}`).join('\n'),
        ]
      : []),
    '## Config',
    fenced(config.yaml, 'yaml'),
    '## Run it again',
    fenced(command, 'sh'),
    `mergekit_config.yml lies beside this file. Seed ${seed}, arithmetic ${
      parity === 'mergekit' ? 'as in mergekit' : 'in float32'
    }${madeBy.length > 0 ? `, made by ${madeBy.join(', ')}` : ''}.`,
  ];
  return `${parts.join('\n\n')}\n`;
}

/** `[TIES](https://arxiv.org/abs/2306.01708)` */
function methodText({ title, reference }: ModelCardFacts['method']): string {
  const paper = reference && /^arXiv:(\S+)$/i.exec(reference)?.[1];
  const link = paper ? `https://arxiv.org/abs/${paper}` : reference;
  return link && /^https?:/.test(link) ? `[${asText(title)}](${link})` : asText(title);
}

function modelText({ path, revision, adapter }: ModelReference): string {
  const one = (where: string, at: string | null) =>
    isOnHub(where)
      ? `[${asText(where)}](https://huggingface.co/${where})${at === null ? '' : ` at ${asText(at)}`}`
      : asText(basename(resolve(where)));
  const base = one(path, revision);
  return adapter ? `${base} with the adapter ${one(adapter.path, adapter.revision)}` : base;
}

/** A sentence in which folders of this machine go by their last part. */
function shortened(text: string, models: readonly ModelReference[]): string {
  const folders = models
    .flatMap(({ path, adapter }) => [path, ...(adapter ? [adapter.path] : [])])
    .filter((path) => !isOnHub(path))
    .sort((a, b) => b.length - a.length);
  return folders.reduce((short, path) => short.replaceAll(path, basename(resolve(path))), text);
}

/** `owner/name` that is nothing on this machine. */
const isOnHub = (path: string): boolean =>
  /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(path) && !existsSync(path);

/** A name that Markdown takes for no markup, and that begins no tag. */
const asText = (text: string): string => text.replaceAll(/[\\`*[\]<>|]/g, '\\$&');

/** A block of code whose fence no line of it can end. */
function fenced(text: string, language: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`{3,}/g)].map(([marks]) => marks.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}${language}\n${withNewline(text)}${fence}`;
}

const withNewline = (text: string): string => (text.endsWith('\n') ? text : `${text}\n`);
