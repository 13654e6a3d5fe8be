import { create, globals } from 'webgpu';
import { reason } from '../harness/measure.js';
import { faults } from './faults.js';
import { type Jax, loadJax } from './jax.js';
import { loadNanogpt, type Nanogpt } from './nanogpt.js';
import { patience } from './patience.js';
import { loadTfjs, type Tfjs } from './tfjs.js';

/** The libraries beside which we run; undefined: not asked for, or not to be loaded. */
export interface Peers {
  readonly tfjs?: Tfjs | undefined;
  readonly jax?: Jax | undefined;
  readonly nanogpt?: Nanogpt | undefined;
}

export type PeerName = keyof Peers;

const loaders: { readonly [P in PeerName]-?: () => Promise<NonNullable<Peers[P]>> } = {
  tfjs: loadTfjs,
  jax: loadJax,
  nanogpt: loadNanogpt,
};

/** Loads peers onto the adapter that ours runs on. One that fails is reported and left out. */
export async function loadPeers<P extends PeerName>(
  names: readonly P[],
  ours: { readonly software: boolean; readonly device: string },
): Promise<Pick<Peers, P>> {
  const peers: Partial<Record<PeerName, unknown>> = {};
  if (names.length > 0) {
    try {
      await provideWebGpu(ours.device);
      faults.install(globals);
      if (ours.software) patience.install();
    } catch (error) {
      console.error(`no peers: ${reason(error)}`);
      return {} as Pick<Peers, P>;
    }
  }
  for (const name of names)
    try {
      peers[name] = await loaders[name]();
    } catch (error) {
      console.error(`peer ${name} is left out: ${reason(error)}`);
    }
  return peers as Pick<Peers, P>;
}

/** Makes Node look like a browser with WebGPU, which is what the peers expect. */
async function provideWebGpu(device: string): Promise<void> {
  const gpu = create(['enable-dawn-features=allow_unsafe_apis']);
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  const found = adapter?.info.description || adapter?.info.device || 'none';
  if (found !== device) throw new Error(`the peers' adapter is ${found}, ours is ${device}.`);
  Object.assign(globalThis, globals);
  // Held for the life of the process: devices go with their instance when it is collected.
  Object.defineProperty(globalThis, 'navigator', {
    value: { gpu, userAgent: 'node' },
    configurable: true,
  });
  globalThis.requestAnimationFrame ??= (callback) =>
    Number(setTimeout(() => callback(performance.now()), 1));
}
