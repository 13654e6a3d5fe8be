import type { BackendStats } from '@attune/core/backend';

/** One binding: which buffer, and which part of it. */
export interface Binding {
  readonly id: number;
  readonly gpu: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}

/**
 * Bind groups by what they bind. The pool hands out the same buffers in every step of equal shapes,
 * so that after the first steps every group is found here.
 */
export class BindGroupCache {
  readonly #groups = new Map<string, GPUBindGroup>();

  constructor(
    private readonly device: GPUDevice,
    private readonly stats: BackendStats,
    /** Above this many, the oldest are forgotten: shapes that never come back must not pile up. */
    private readonly capacity = 20_000,
  ) {}

  clear(): void {
    this.#groups.clear();
  }

  get(layout: GPUBindGroupLayout, layoutKey: string, bindings: readonly Binding[]): GPUBindGroup {
    let key = layoutKey;
    for (const b of bindings) key += `|${b.id},${b.offset},${b.size}`;
    const found = this.#groups.get(key);
    if (found) return found;
    const group = this.device.createBindGroup({
      layout,
      entries: bindings.map((b, binding) => ({
        binding,
        resource: { buffer: b.gpu, offset: b.offset, size: b.size },
      })),
    });
    this.stats.bindGroups++;
    if (this.#groups.size >= this.capacity) this.#groups.delete(this.#groups.keys().next().value!);
    this.#groups.set(key, group);
    return group;
  }
}
