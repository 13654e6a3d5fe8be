import { Engine, ReferenceBackend, ops } from '@attune/core';
import { expect, test } from 'vitest';
import { createDawnBackend } from '../src/index.js';

test('smoke', async () => {
  const backend = await createDawnBackend();
  console.log(backend.info.device, backend.info.features.join());
  const e = new Engine(backend);
  const a = e.tensor([1, 2, 3, 4, 5, 6], [2, 3]);
  const b = e.tensor([1, 0, 0, 1, 1, 1], [3, 2]);
  expect([...(await a.matmul(b).data())]).toEqual([4, 5, 10, 11]);
  expect([...(await a.mul(2).add(a).exp().log().data())].map((v) => Math.round(v))).toEqual([3, 6, 9, 12, 15, 18]);
  for (const [m, n, k] of [[16, 64, 64], [40, 36, 172], [8, 8, 64], [100, 8, 32]]) {
    for (const l of ['NN', 'NT', 'TN'] as const) {
      const ref = new Engine(new ReferenceBackend());
      const A = Array.from({ length: m! * k! }, (_, i) => Math.sin(i * 1.3));
      const B = Array.from({ length: n! * k! }, (_, i) => Math.cos(i * 0.7));
      const sa = l[0] === 'N' ? [m!, k!] : [k!, m!];
      const sb = l[1] === 'N' ? [k!, n!] : [n!, k!];
      const o = { transposeA: l[0] === 'T', transposeB: l[1] === 'T' };
      const y = await e.tensor(A, sa).matmul(e.tensor(B, sb), o).data();
      const z = await ref.tensor(A, sa).matmul(ref.tensor(B, sb), o).data();
      let worst = 0;
      y.forEach((v, i) => { worst = Math.max(worst, Math.abs(v - z[i]!)); });
      console.log(m, n, k, l, worst);
    }
  }
  void ops;
  await backend[Symbol.asyncDispose]();
});
