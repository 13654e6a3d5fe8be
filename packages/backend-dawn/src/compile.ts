/**
 * Compiles a shader beside what the caller does next.
 *
 * A device without guards would compile a module that is no WGSL, too, and end the process: so the
 * module is asked first.
 *
 * @throws Error with what the shader's author has to know
 */
export async function compile(
  device: GPUDevice,
  { code, label, layout }: { code: string; label: string; layout: GPUPipelineLayout | 'auto' },
): Promise<GPUComputePipeline> {
  const module = device.createShaderModule({ code, label });
  const { messages } = await module.getCompilationInfo();
  const fault = messages.find(({ type }) => type === 'error');
  if (fault) throw new Error(`shader "${label}", line ${fault.lineNum}: ${fault.message}`);
  return device.createComputePipelineAsync({
    label,
    layout,
    compute: { module, entryPoint: 'main' },
  });
}
