import { create } from 'webgpu';

/**
 * The one thing that Attunes of a process share: Dawn's instance, for each driver one. It starts
 * threads of its own (5 on two cores) and has no way to stop them but being collected as garbage,
 * which may be never: an instance for each Attune would add as many each time. Drivers are chosen
 * for the whole process already (environment variables, a library that is mapped once). Devices,
 * queues, buffers and errors belong to the devices: they do not meet in it.
 *
 * Held weakly: whoever has a device holds it; when nobody does, it goes.
 */
const instances = new Map<string, WeakRef<GPU>>();

/** Dawn's instance for the driver that the environment names now. */
export function dawnInstance(): GPU {
  const driver = `${process.env.VK_DRIVER_FILES}|${process.env.VK_ICD_FILENAMES}`;
  const held = instances.get(driver)?.deref();
  if (held) return held;
  const gpu = create([
    // Timestamps in nanoseconds, not in steps of 100 us: the profiler is no web page.
    'disable-dawn-features=timestamp_quantization',
    // Matrix units are an experiment of Dawn's; NVIDIA's float16 and its memory model are behind
    // toggles.
    'enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia,use_vulkan_memory_model',
  ]);
  instances.set(driver, new WeakRef(gpu));
  return gpu;
}
