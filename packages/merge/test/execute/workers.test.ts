import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'tsup';
import { beforeAll, describe, expect, test } from 'vitest';
import { mergeWorker } from '../../../../scripts/mergeWorker.js';
import { defineMergeMethod } from '../../src/contract/mergeMethod.js';
import { executeMerge } from '../../src/execute/index.js';
import { CallingThread, WorkerThread } from '../../src/execute/threads.js';
import { builtinMethods } from '../../src/methods/index.js';
import type { MergeProgress } from '../../src/options.js';
import {
  hashes,
  makeModel,
  mergedInMemory,
  optionsWith,
  planOf,
  temporaryFolder,
} from './support.js';

let workerScript: URL;
beforeAll(async () => {
  const folder = await temporaryFolder();
  await build({ ...mergeWorker(folder), config: false, silent: true });
  workerScript = pathToFileURL(join(folder, 'worker.js'));
});

const weight = [0.3, 0.7];
const plan = async (method = 'linear', parameters: object = { weight }) =>
  planOf(
    [await makeModel(1, 'bfloat16'), await makeModel(2, 'bfloat16')],
    method,
    { ...parameters },
    {
      dtype: 'bfloat16',
    },
  );

test('any number of workers writes the same bytes', async () => {
  const linear = await plan();
  const whole = await mergedInMemory(linear);
  for (const workers of [0, 1, 2, 4]) {
    const told: MergeProgress[] = [];
    const onProgress = (progress: MergeProgress) => void told.push(progress);
    const options = await optionsWith({ workers, workerScript, verify: true, onProgress });
    expect(await executeMerge(linear, options)).toMatchObject({ workers });
    expect(await hashes(options.outputDir)).toMatchObject(whole);
    expect(told.at(-1)!.bytesDone).toBe(told.at(-1)!.bytesTotal);
  }
});

describe('a method that is not built in', () => {
  const code = `export default {
    name: 'first', title: 'First', base: 'ignored', parameters: {},
    merge: () => ({ inputs }, out) => out.set(inputs[0]),
  };`;

  test('is loaded by workers from its module', async () => {
    const path = join(await temporaryFolder(), 'first.mjs');
    await writeFile(path, code);
    const first = defineMergeMethod({
      name: 'first',
      title: 'First',
      base: 'ignored',
      parameters: {},
      module: pathToFileURL(path).href,
      merge: () => () => {
        throw new Error('must not run on this thread');
      },
    });
    const options = await optionsWith({ workers: 2, workerScript, methods: [first] });
    await executeMerge(await plan('first', {}), options);
    const kept = defineMergeMethod({
      ...first,
      merge:
        () =>
        ({ inputs }, out) =>
          out.set(inputs[0]!),
    });
    const whole = await mergedInMemory(await plan('first', {}), '5GB', [kept]);
    expect(await hashes(options.outputDir)).toMatchObject(whole);
  });

  test('runs on the calling thread where it names none', async () => {
    let calls = 0;
    const counted = defineMergeMethod({
      name: 'counted',
      title: 'Counted',
      base: 'ignored',
      parameters: {},
      merge: () => {
        calls++;
        return ({ inputs }, out) => out.set(inputs[0]!);
      },
    });
    const given = await plan('counted', {});
    const options = await optionsWith({ workers: 2, workerScript, methods: [counted] });
    await executeMerge(given, options);
    expect(calls).toBe(given.tasks.length);
  });

  test('that its module does not export is an error with both names', async () => {
    const path = join(await temporaryFolder(), 'first.mjs');
    await writeFile(path, code);
    const other = defineMergeMethod({
      name: 'other',
      title: 'Other',
      base: 'ignored',
      parameters: {},
      module: pathToFileURL(path).href,
      merge: () => () => undefined,
    });
    const options = await optionsWith({ workers: 1, workerScript, methods: [other] });
    await expect(executeMerge(await plan('other', {}), options)).rejects.toMatchObject({
      code: 'MERGE_METHOD',
      message: expect.stringMatching(/first\.mjs exports no merge method "other"/),
    });
  });
});

test('an error of a worker arrives as what it is', async () => {
  const thread = new WorkerThread(workerScript);
  const own = new CallingThread();
  const [task] = (await plan()).tasks;
  const gone = { ...task!.inputs[0]!.source.tensor, path: '/nowhere/model.safetensors' };
  const input = { ...task!.inputs[0]!, source: { kind: 'file' as const, tensor: gone } };
  const job = {
    task: { ...task!, inputs: [input, input] },
    parameters: { weight, normalize: true },
    path: join(await temporaryFolder(), 'out'),
    begin: 0,
    seed: 0,
    measured: false,
    deltas: [null, null],
    written: null,
  };
  const linear = builtinMethods.find(({ name }) => name === 'linear')!;
  for (const each of [thread, own]) {
    await expect(each.run(job, linear, () => undefined)).rejects.toMatchObject({
      code: 'MERGE_INPUT',
      description: '/nowhere/model.safetensors was there when the merge was planned, and is gone.',
      remedy: expect.stringContaining('Put the file back'),
    });
    await each.close();
  }
});

test('what the listener to progress throws ends the merge, also of a worker', async () => {
  const onProgress = () => {
    throw new Error('no terminal');
  };
  for (const workers of [0, 1]) {
    const options = await optionsWith({ workers, workerScript, onProgress });
    await expect(executeMerge(await plan(), options)).rejects.toThrow('no terminal');
  }
});

test('a worker that dies is an error, not a wait', async () => {
  const path = join(await temporaryFolder(), 'dies.mjs');
  await writeFile(path, 'process.exit(3);');
  const options = await optionsWith({ workers: 1, workerScript: pathToFileURL(path) });
  await expect(executeMerge(await plan(), options)).rejects.toMatchObject({ code: 'MERGE_WORKER' });
});
