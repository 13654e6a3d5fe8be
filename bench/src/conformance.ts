// Is what the device computes right? The conformance suite against the float64 reference: first the
// cases that the device tests choose, one for each path through a kernel, an op at a time in turn;
// then all others. --seconds ends it, --from goes on where another run ended.
import type { DawnBackend } from '@attune/backend-dawn';
import { compareCase, type OpCase, opCases } from '@attune/core/testing';
import { factsOf } from '../../packages/backend-dawn/src/deviceFacts.js';
import { KernelPaths } from '../../packages/backend-dawn/test/kernelPaths.js';
import { bench } from './harness/bench.js';

/** Between two lines of how far it is: a driver that ends the process leaves the last one. */
const PROGRESS_MS = 10_000;

await bench([], async ({ attune, options, software, print, isOver }) => {
  const backend = attune.backend as DawnBackend;
  const cases = inOrder(backend).filter(({ name }) => name.includes(options.only));
  const { bench, from } = options;
  let failures = 0;
  let next = from;
  const progress = () => ({
    bench,
    case: `cases ${from} to ${next} of ${cases.length}`,
    adapter: backend.info.device,
    software,
    passed: next - from - failures,
    failures,
    next,
  });
  let printed = performance.now();
  while (next < cases.length && !isOver()) {
    const each = cases[next++]!;
    const { ok, message } = await compareCase(backend, each);
    if (!ok) {
      failures++;
      print({ bench, case: each.name, failed: message });
    }
    if (performance.now() - printed > PROGRESS_MS) {
      print(progress());
      printed = performance.now();
    }
  }
  const left = cases.length - next;
  print({ ...progress(), ...(left > 0 && { skipped: `${left} cases: no time was left` }) });
  if (failures > 0) throw new Error(`${failures} cases differ from the reference.`);
});

function inOrder({ device, choice }: DawnBackend): OpCase[] {
  const byOp = new Map<string, OpCase[]>();
  for (const each of opCases) {
    const { name } = each.op;
    byOp.set(name, [...(byOp.get(name) ?? []), each]);
  }
  const facts = factsOf(device, choice);
  const chosen = [...byOp.values()].map((cases) => new KernelPaths().choose(cases, facts));
  const most = Math.max(...chosen.map(({ length }) => length));
  const first = Array.from({ length: most }, (_, i) => chosen.flatMap((cases) => cases[i] ?? []));
  return [...new Set([...first.flat(), ...opCases])];
}
