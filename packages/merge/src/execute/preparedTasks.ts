import type { Attune } from '@attune/core';
import { type AdapterDeltas, adaptersOf } from '@attune/core/models';
import { AttuneError, nearest } from '@attune/core/util';
import { bindParameters } from '../arithmetic/bindParameters.js';
import type { MergeMethod } from '../contract/mergeMethod.js';
import type { TensorTask } from '../contract/tensorTask.js';

/** Methods by name. */
export type MethodTable = ReadonlyMap<string, MergeMethod>;

export const methodTable = (methods: readonly MergeMethod[]): MethodTable =>
  new Map(methods.map((method) => [method.name, method]));

/** A task with its method, and its parameters checked. */
export interface PreparedTask {
  readonly task: TensorTask;
  readonly method: MergeMethod | null;
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** @throws MERGE_METHOD, MERGE_PARAMETER */
export const prepareTasks = (
  tasks: readonly TensorTask[],
  methods: MethodTable,
): readonly PreparedTask[] =>
  tasks.map((task) => {
    if (task.method === null) return { task, method: null, parameters: {} };
    const method = methods.get(task.method);
    if (!method) throw unknownMethod(task.method, methods);
    const counts = { numInputs: task.inputs.length, baseIndex: task.baseIndex };
    return { task, method, parameters: bindParameters(method, task.parameters, counts) };
  });

function unknownMethod(name: string, methods: MethodTable): AttuneError {
  const near = nearest(name, methods.keys());
  return new AttuneError('MERGE_METHOD', `There is no merge method "${name}".`, {
    remedy: near ? `Did you mean "${near}"?` : `There are: ${[...methods.keys()].join(', ')}.`,
  });
}

/** Adapters that a merge reads, opened when they are first needed. */
export class AdapterReader implements AsyncDisposable {
  readonly #opened = new Map<string, Promise<AdapterDeltas>>();

  constructor(private readonly attune: Attune | undefined) {}

  /** What adapters add to the inputs of a task, whole; null for inputs without one. */
  async read({ inputs }: TensorTask): Promise<(Float32Array | null)[]> {
    const deltas: (Float32Array | null)[] = [];
    for (const { source } of inputs) {
      if (source.kind !== 'adapted') {
        deltas.push(null);
        continue;
      }
      const { data } = await (await this.#open(source.adapter)).read(source.name);
      const values = data as Float32Array;
      // What goes to another thread leaves this one with all of its memory.
      const isAlone = values.byteLength === values.buffer.byteLength;
      deltas.push(isAlone ? values : values.slice());
    }
    return deltas;
  }

  #open(adapter: string): Promise<AdapterDeltas> {
    const known = this.#opened.get(adapter);
    if (known) return known;
    if (!this.attune)
      throw new AttuneError(
        'PEFT_MISSING',
        `The adapter ${adapter} is merged, but there is no Attune that reads adapters.`,
        {
          remedy: 'Give { attune: await createAttune({ plugins: [peft()] }) }.',
        },
      );
    const opened = adaptersOf(this.attune, `the adapter ${adapter} is merged`).openDeltas(adapter);
    this.#opened.set(adapter, opened);
    return opened;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const opened of this.#opened.values()) await opened.then((d) => d.close()).catch(() => {});
  }
}
