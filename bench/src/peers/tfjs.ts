import { createRequire } from 'node:module';
import type { Contender } from '../harness/measure.js';

type TensorFlow = typeof import('@tensorflow/tfjs');
type TfTensor = import('@tensorflow/tfjs').Tensor;

/** The part of tfjs-backend-webgpu that waiting needs. */
interface WebGpuBackend {
  readonly queue: GPUQueue;
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  submitQueue(): void;
}

/** TensorFlow.js on WebGPU. */
export interface Tfjs {
  readonly tf: TensorFlow;
  tensor(values: Float32Array, shape: readonly number[]): TfTensor;
  /** Runs what was recorded: no copy to the host is charged. */
  sync(): Promise<void>;
  /** Repeats `work` and waits; what it returns and makes is freed. */
  contender(work: () => TfTensor | TfTensor[], inner?: number): Contender;
}

/** CommonJS on purpose: core and backend must be the same copy of tfjs-core. */
export async function loadTfjs(): Promise<Tfjs> {
  const require = createRequire(import.meta.url);
  const tf = require('@tensorflow/tfjs') as TensorFlow;
  require('@tensorflow/tfjs-backend-webgpu');
  if (!(await tf.setBackend('webgpu'))) throw new Error('setBackend("webgpu") failed.');
  await tf.ready();
  const backend = tf.backend() as unknown as WebGpuBackend;
  const sync = async () => {
    backend.ensureCommandEncoderReady(); // it may just have sent a full one
    backend.endComputePassEncoder();
    backend.submitQueue();
    await backend.queue.onSubmittedWorkDone();
  };
  return {
    tf,
    sync,
    tensor: (values, shape) => tf.tensor(values, [...shape]),
    contender: (work, inner = 1) => ({
      async run() {
        for (let i = 0; i < inner; i++) tf.dispose(tf.tidy(work));
        await sync();
      },
    }),
  };
}
