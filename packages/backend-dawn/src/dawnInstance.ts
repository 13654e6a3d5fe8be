import { create } from 'webgpu';

/**
 * The one thing that Attunes of a process share: Dawn's instances, for each driver one with guards
 * and one without, when it is first asked for. An instance starts threads of its own (5 on two
 * cores) and has no way to stop them but being collected as garbage, which may be never: one for
 * each Attune would add as many each time. Drivers are chosen for the whole process already
 * (environment variables, a library that is mapped once). Devices, queues, buffers and errors
 * belong to the devices: they do not meet in it.
 *
 * Held weakly: whoever has a device holds it; when nobody does, it goes.
 */
const instances = new Map<string, WeakRef<GPU>>();

/** Timestamps in nanoseconds, not in steps of 100 us: the profiler is no web page. */
const OFF = ['timestamp_quantization'];
/**
 * Matrix units are an experiment of Dawn's; NVIDIA's float16 and its memory model are behind
 * toggles.
 */
const ON = ['allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia', 'use_vulkan_memory_model'];

/**
 * What a web page needs and kernels that were tested do without: Dawn clears a buffer before it is
 * first used, ...
 */
const GUARDS = ['lazy_clear_resource_on_first_use'];
/**
 * ... it validates commands, clamps indices, clears workgroup memory, and compares integer divisors
 * with 0.
 */
const NO_GUARDS = [
  'skip_validation',
  'disable_robustness',
  'disable_workgroup_init',
  'disable_polyfills_on_integer_div_and_mod',
];

/**
 * Dawn's instance for the driver that the environment names now.
 *
 * @param guarded whether its devices guard against commands and kernels that are wrong
 */
export function dawnInstance(guarded: boolean): GPU {
  const { VK_DRIVER_FILES, VK_ICD_FILENAMES } = process.env;
  const key = `${VK_DRIVER_FILES}|${VK_ICD_FILENAMES}|${guarded}`;
  const held = instances.get(key)?.deref();
  if (held) return held;
  const gpu = create([
    `disable-dawn-features=${[...OFF, ...(guarded ? [] : GUARDS)]}`,
    `enable-dawn-features=${[...ON, ...(guarded ? [] : NO_GUARDS)]}`,
  ]);
  instances.set(key, new WeakRef(gpu));
  return gpu;
}
