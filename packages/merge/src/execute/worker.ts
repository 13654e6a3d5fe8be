import { type MessagePort, parentPort } from 'node:worker_threads';
import { AttuneError } from '@attune/core/util';
import type { MergeMethod } from '../contract/mergeMethod.js';
import { builtinMethods } from '../methods/index.js';
import { TaskRunner } from './mergeTask.js';
import { type FromWorker, type MethodPlace, sendable, type ToWorker } from './messages.js';

/** A message costs some microseconds: progress is told this often, in milliseconds. */
const PROGRESS_MS = 100;

/** Runs the tasks that come, one after the other. */
function serve(port: MessagePort): void {
  const runner = new TaskRunner();
  const loaded = new Map<string, Promise<MergeMethod>>();
  const send = (message: FromWorker) => port.postMessage(message);
  const find = (place: MethodPlace): Promise<MergeMethod> => {
    const key = `${place.module} ${place.name}`;
    const method = loaded.get(key) ?? findMethod(place);
    loaded.set(key, method);
    return method;
  };
  port.on('message', async ({ job, method }: ToWorker) => {
    try {
      const steps = runner.run(job, method && (await find(method)));
      let bytes = 0;
      let told = performance.now();
      for (let step = steps.next(); ; step = steps.next()) {
        if (step.done) {
          send({ kind: 'progress', bytes });
          return send({ kind: 'done', result: step.value });
        }
        bytes += step.value;
        if (performance.now() - told < PROGRESS_MS) continue;
        send({ kind: 'progress', bytes });
        [bytes, told] = [0, performance.now()];
      }
    } catch (error) {
      send({ kind: 'failed', error: sendable(error) });
    }
  });
}

async function findMethod({ name, module }: MethodPlace): Promise<MergeMethod> {
  const isIt = (value: unknown): value is MergeMethod =>
    (value as MergeMethod | null)?.name === name &&
    typeof (value as MergeMethod).merge === 'function';
  const found = module === null ? builtinMethods : Object.values((await import(module)) as object);
  const method = found.find(isIt);
  if (method) return method;
  throw new AttuneError('MERGE_METHOD', `${module} exports no merge method "${name}".`, {
    remedy: 'Export it there, or leave out `module`: the method then runs on the calling thread.',
  });
}

if (parentPort) serve(parentPort);
