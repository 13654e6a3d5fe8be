import type { Contender } from '../harness/measure.js';

type JaxLibrary = typeof import('@jax-js/jax');
export type JaxArray = import('@jax-js/jax').Array;

/**
 * jax-js on WebGPU. Its arrays are consumed by what reads them; `x.ref` is one more use of x.
 */
export interface Jax {
  readonly jax: JaxLibrary;
  readonly np: JaxLibrary['numpy'];
  array(values: Float32Array | Int32Array, shape: readonly number[]): JaxArray;
  /** Sends what the arrays come from to the device, and consumes them. */
  submit(arrays: readonly JaxArray[]): void;
  /** Waits for everything that was sent. */
  sync(): Promise<void>;
  /** Repeats `work`, a call of a jitted function, and waits; what it returns is freed. */
  contender(work: () => readonly JaxArray[], inner?: number): Contender;
}

export async function loadJax(): Promise<Jax> {
  const jax = await import('@jax-js/jax');
  const devices = await jax.init();
  if (!devices.includes('webgpu')) throw new Error('jax-js found no WebGPU device.');
  jax.defaultDevice('webgpu');
  const np = jax.numpy;
  // Not blockUntilReady: that copies from every array, which many small results would be charged
  // for.
  const submit = (arrays: readonly JaxArray[]) => {
    for (const array of arrays) array.gpuBufferSync();
  };
  const sync = async () => {
    await jax.getWebGPUDevice().queue.onSubmittedWorkDone();
  };
  return {
    jax,
    np,
    submit,
    sync,
    array: (values, shape) =>
      np
        .array(values, { dtype: values instanceof Int32Array ? np.int32 : np.float32 })
        .reshape([...shape]),
    contender: (work, inner = 1) => ({
      async run() {
        for (let i = 0; i < inner; i++) submit(work());
        await sync();
      },
    }),
  };
}
