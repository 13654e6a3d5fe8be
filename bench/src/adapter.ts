// What the figures were taken on: one line of facts.
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import type { DawnBackend } from '@attune/backend-dawn';
import { bench } from './harness/bench.js';
import { deviceMemory } from './harness/deviceMemory.js';
import { probePeak } from './harness/peak.js';

await bench([], async ({ attune, options, software, print }) => {
  const backend = attune.backend as DawnBackend;
  const { choice, device } = backend;
  const { info, limits } = choice.adapter;
  const peak = await probePeak(backend);
  print({
    bench: 'adapter',
    adapter: backend.info.device,
    software,
    date: new Date().toISOString(),
    vendor: info.vendor,
    architecture: info.architecture,
    device: info.device,
    description: info.description,
    nvidiaDriver: nvidiaDriver(),
    peakGflops: peak.float32,
    matrixUnitPeakGflops: peak.matrixUnit,
    matrixUnit: choice.matrixUnit,
    subgroups: choice.subgroupSizes,
    subgroupSize: choice.subgroupSize,
    memoryBytes: options.memory ?? deviceMemory(),
    maxBufferSize: limits.maxBufferSize,
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
    maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    features: [...device.features].sort(),
    offered: [...choice.adapter.features].sort(),
    cpu: cpus()[0]?.model ?? '',
    cores: availableParallelism(),
    hostBytes: totalmem(),
    kernel: release(),
    node: process.version,
  });
});

function nvidiaDriver(): string | null {
  try {
    return readFileSync('/proc/driver/nvidia/version', 'utf8').split('\n')[0] ?? null;
  } catch {
    return null;
  }
}
