import { expect, test } from 'vitest';
import { parseMergeYaml } from '../src/config/index.js';

test('x', () => {
  const c = parseMergeYaml(
    'merge_method: linear\nmodels:\n  - model: a@b+c\n    parameters: {weight: [0, 1e-5]}\n  - {model: b, parameters: {weight: yes}}\ndtype: torch.bfloat16\n',
    { file: 'x.yml' },
  );
  console.dir(c, { depth: 9 });
  for (const s of [
    'merge_method: linar\nmodel:\n - a\n',
    '\tx: 1',
    'merge_method: linear\nnormalize: true\nmodels:\n  - model: a\n    parametres: {}\n  - model: a\n    parameters: {weigth: 3, weight: x, normalize: true, density: 1}\n',
  ])
    try {
      parseMergeYaml(s, { file: 'x.yml' });
    } catch (e) {
      console.log(String(e));
    }
});
