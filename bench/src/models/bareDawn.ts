import { threadCpuMs } from '../harness/threadCpu.js';

interface Command {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly words: GPUAllowSharedBufferSource | null;
  readonly grid: readonly [number, number, number];
}

/**
 * The commands of an update, given to Dawn again by a loop that does nothing else.
 *
 * @param update runs one update
 * @returns encodes and submits them once; resolves to the milliseconds of CPU time that it took
 *   this thread, when the device has done them
 */
export async function bareDawn(
  device: GPUDevice,
  update: () => Promise<unknown>,
): Promise<() => Promise<number>> {
  const commands = await commandsOf(device, update);
  return async () => {
    const began = threadCpuMs() ?? performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const { pipeline, group, words, grid } of commands) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      if (words) pass.setImmediates(0, words);
      pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
    const ms = (threadCpuMs() ?? performance.now()) - began;
    await device.queue.onSubmittedWorkDone();
    return ms;
  };
}

/** Listens to what an update tells its compute passes. */
async function commandsOf(device: GPUDevice, update: () => Promise<unknown>): Promise<Command[]> {
  const encoder = device.createCommandEncoder();
  const probe = encoder.beginComputePass();
  probe.end();
  const methods: GPUComputePassEncoder = Object.getPrototypeOf(probe);
  const { setPipeline, setBindGroup, setImmediates, dispatchWorkgroups } = methods;
  const commands: Command[] = [];
  const now = {} as { -readonly [K in keyof Command]: Command[K] };
  methods.setPipeline = function (pipeline) {
    now.pipeline = pipeline;
    now.words = null;
    return setPipeline.call(this, pipeline);
  };
  methods.setBindGroup = function (
    this: GPUComputePassEncoder,
    index: number,
    group: GPUBindGroup,
  ) {
    now.group = group;
    return (setBindGroup as (index: number, group: GPUBindGroup) => undefined).call(
      this,
      index,
      group,
    );
  } as GPUComputePassEncoder['setBindGroup'];
  methods.setImmediates = function (offset, words) {
    now.words = words;
    return setImmediates.call(this, offset, words);
  };
  methods.dispatchWorkgroups = function (x, y = 1, z = 1) {
    commands.push({ ...now, grid: [x, y, z] });
    return dispatchWorkgroups.call(this, x, y, z);
  };
  try {
    await update();
  } finally {
    Object.assign(methods, { setPipeline, setBindGroup, setImmediates, dispatchWorkgroups });
  }
  return commands;
}
