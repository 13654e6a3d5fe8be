import { AttuneError } from '@attune/core';
import type { BackendStats } from '@attune/core/backend';
import type { BoundsCheck } from './boundsCheck.js';
import { compile } from './compile.js';
import type { Stage } from './kernels/kernel.js';

export interface CachedPipeline {
  readonly layout: GPUBindGroupLayout;
  /** Null while it compiles. */
  pipeline: GPUComputePipeline | null;
  /** Resolves when it is compiled; also when it cannot be, which `onError` is told. */
  ready: Promise<void>;
}

/** Bytes of the immediates that every pipeline reserves: 16 words. */
const IMMEDIATE_BYTES = 64;

/** Compiled shaders by their structural key, and bind group layouts by their number of bindings. */
export class PipelineCache {
  readonly #pipelines = new Map<string, CachedPipeline>();
  readonly #layouts = new Map<
    string,
    { layout: GPUBindGroupLayout; pipeline: GPUPipelineLayout }
  >();

  constructor(
    private readonly device: GPUDevice,
    private readonly stats: BackendStats,
    private readonly onError: (error: Error) => void,
    /** Searches shaders for what lies beyond their buffers; null: they run as they are. */
    private readonly check: BoundsCheck | null = null,
    /** What shaders with subgroups ask for; undefined: there is no choice. */
    private readonly subgroupSize?: number,
  ) {}

  /** Compiles beside what the caller does next, and beside other shaders. */
  get(stage: Stage): CachedPipeline {
    const found = this.#pipelines.get(stage.key);
    if (found) return found;
    const { layout, pipeline: pipelineLayout } = this.#layout(
      stage.reads,
      stage.operands.length + (this.check ? 1 : 0),
    );
    const wgsl = stage.wgsl(this.subgroupSize);
    const code = this.check ? this.check.wgslOf(stage, wgsl) : wgsl;
    const entry: CachedPipeline = { layout, pipeline: null, ready: Promise.resolve() };
    entry.ready = compile(this.device, { code, label: stage.key, layout: pipelineLayout }).then(
      (compiled) => {
        entry.pipeline = compiled;
      },
      this.onError,
    );
    this.stats.pipelines++;
    this.#pipelines.set(stage.key, entry);
    return entry;
  }

  clear(): void {
    this.#pipelines.clear();
    this.#layouts.clear();
  }

  #layout(reads: number, bindings: number) {
    const key = `${reads}/${bindings}`;
    let found = this.#layouts.get(key);
    if (!found) {
      const limit = this.device.limits.maxStorageBuffersPerShaderStage;
      if (bindings > limit)
        throw new AttuneError(
          'KERNEL_BINDINGS',
          `a kernel binds ${bindings} buffers; the device allows ${limit}.`,
          {
            remedy: 'Split the op.',
          },
        );
      const layout = this.device.createBindGroupLayout({
        entries: Array.from({ length: bindings }, (_, binding) => ({
          binding,
          visibility: 4, // GPUShaderStage.COMPUTE
          buffer: { type: binding < reads ? ('read-only-storage' as const) : ('storage' as const) },
        })),
      });
      const descriptor: GPUPipelineLayoutDescriptor & { immediateSize: number } = {
        bindGroupLayouts: [layout],
        immediateSize: IMMEDIATE_BYTES,
      };
      found = { layout, pipeline: this.device.createPipelineLayout(descriptor) };
      this.#layouts.set(key, found);
    }
    return found;
  }
}
