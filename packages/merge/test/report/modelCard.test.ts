import { expect, test } from 'vitest';
import { parse } from 'yaml';
import type { ModelReference } from '../../src/config/mergeConfig.js';
import { linear } from '../../src/methods/linear.js';
import { type ModelCardFacts, modelCard } from '../../src/report/modelCard.js';
import { configWith, folderOf } from '../tokenizer/support.js';

const model = (
  path: string,
  adapter: ModelReference['adapter'] = null,
  revision: string | null = null,
): ModelReference => ({ path, revision, adapter, key: `${path}${adapter?.path ?? ''}` });

const configOf = (models: readonly ModelReference[], yaml = 'merge_method: linear\n') =>
  configWith({
    modules: new Map([
      [
        'default',
        { models: models.map((one) => ({ model: one, parameters: {} })), parameters: {} },
      ],
    ]),
    baseModel: models[0]!,
    yaml,
  });

function card(facts: Partial<ModelCardFacts>) {
  const [readme, config] = modelCard({
    name: 'out',
    config: configOf([model('owner/base')]),
    method: linear,
    seed: 3,
    parity: 'float32',
    versions: { '@attune/merge': '0.1.0' },
    changes: [],
    ...facts,
  });
  const text = readme!.contents as string;
  const [, front] = text.split(/^---$/m);
  return { text, front: parse(front!) as unknown, config };
}

test('the card of a merge', async () => {
  const folder = await folderOf({});
  const local = model(folder, { path: 'owner/adapter', revision: null });
  const yaml = `merge_method: linear # as it was\nmodels: [${folder}]`;
  const { text, front, config } = card({
    config: configOf([model('owner/base', null, 'v2'), local], yaml),
    changes: ['2 tokens added ("<x>", "*").'],
  });
  const last = folder.split('/').at(-1)!;
  expect(front).toEqual({
    base_model: ['owner/base', 'owner/adapter'],
    library_name: 'transformers',
    tags: ['merge', 'attune'],
  });
  expect(text.slice(text.indexOf('# out'))).toBe(`# out

A merge of 2 language models by [Linear](https://arxiv.org/abs/2203.05482).

## Models

- [owner/base](https://huggingface.co/owner/base) at v2 (the base)
- ${last} with the adapter [owner/adapter](https://huggingface.co/owner/adapter)

## Vocabulary

- 2 tokens added ("\\<x\\>", "\\*").

## Config

\`\`\`yaml
${yaml}
\`\`\`

## Run it again

\`\`\`sh
npx attune merge mergekit_config.yml OUT --seed 3
\`\`\`

mergekit_config.yml lies beside this file. Seed 3, arithmetic in float32, made by @attune/merge 0.1.0.
`);
  expect(config).toEqual({ name: 'mergekit_config.yml', contents: `${yaml}\n` });
});

test('folders alone: no base_model, no path of this machine outside of the config', async () => {
  const folder = await folderOf({});
  const { text, front } = card({
    config: configOf([model(folder), model(`${folder}/tuned`)]),
    parity: 'mergekit',
    changes: [`1 token of ${folder}/tuned is left out; ${folder} has it.`],
  });
  expect(front).toEqual({ library_name: 'transformers', tags: ['merge', 'attune'] });
  expect(text).not.toContain(folder);
  const last = folder.split('/').at(-1)!;
  expect(text).toContain(`- 1 token of tuned is left out; ${last} has it.`);
  expect(text).toContain('--seed 3 --parity mergekit');
});

test('a config that holds a fence ends no block, and names are no markup', () => {
  const { text } = card({
    name: '# [x](y) <b>',
    config: configOf([model('owner/base')], 'chat_template: |\n  ```\n  ````\n'),
    method: { name: 'mine', title: 'Mine' },
  });
  expect(text).toContain('`````yaml\nchat_template: |\n  ```\n  ````\n`````\n');
  expect(text).toContain('# # \\[x\\](y) \\<b\\>');
  expect(text).toContain('by Mine.');
});
