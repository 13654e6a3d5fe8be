import { Console } from 'node:console';
import { dawn } from '@attune/backend-dawn';
import { type Attune, createAttune, type Engine, type Logger } from '@attune/core';
import { peft } from '@attune/peft';
import { loadPeers, type PeerName, type Peers } from '../peers/index.js';
import { PythonYardstick } from '../peers/python.js';
import { printLine } from './lines.js';
import { type Case, measure, reason } from './measure.js';
import { type BenchOptions, benchOptions, Refusal } from './options.js';

/** What a bench works with. */
export interface Bench<P extends PeerName = never> {
  readonly options: BenchOptions;
  readonly attune: Attune;
  readonly engine: Engine;
  /** A CPU that pretends to be a GPU. */
  readonly software: boolean;
  /** Those that could be loaded. */
  readonly peers: Pick<Peers, P>;
  /** NumPy or PyTorch, with --torch. */
  readonly python: PythonYardstick | null;
  /**
   * Measures a case and prints its line. `make` is not called for a case that --only leaves out, or
   * for which no time is left; where it throws `Unfit` the line says why there is no figure.
   */
  run(name: string, make: () => Case | Promise<Case>): Promise<void>;
  /** Prints that a case was not measured, and why. */
  skip(name: string, why: string): void;
  /** Prints a line of another kind. */
  print(line: Readonly<Record<string, unknown>>): void;
  /** Whether the time that --seconds gives is over. */
  isOver(): boolean;
}

/** Why a case cannot be measured on this device: no defect of the program. */
export class Unfit extends Error {}

/** Names of adapters that compute on the CPU, should a backend not know them as such. */
const SOFTWARE_ADAPTER = /llvmpipe|lavapipe|swiftshader|basic render|software/i;

// The same for whatever else a library prints.
globalThis.console = new Console(process.stderr, process.stderr);

const logger: Logger = {
  info: (message) => console.error(message),
  warn: (message) => console.error(message),
  error: (message) => console.error(message),
};

/** Opens Attune on Dawn, its messages on standard error. */
export const openAttune = (): Promise<Attune> =>
  createAttune({ plugins: [dawn(), peft()], logger });

/**
 * Opens the device, loads the peers, runs `cases`, ends the process: the main program of a bench.
 *
 * @param peerNames peers that this bench compares with
 */
export async function bench<const P extends PeerName>(
  peerNames: readonly P[],
  cases: (bench: Bench<P>) => Promise<void>,
): Promise<never> {
  let status = 1;
  try {
    status = (await run(benchOptions(), peerNames, cases)) ? 0 : 1;
  } catch (error) {
    console.error(error instanceof Refusal ? error.message : error);
  }
  // Peers leave timers and devices behind that would keep the process alive.
  process.exit(status);
}

async function run<P extends PeerName>(
  options: BenchOptions,
  peerNames: readonly P[],
  cases: (bench: Bench<P>) => Promise<void>,
): Promise<boolean> {
  const until = performance.now() + options.seconds * 1000;
  await using attune = await openAttune();
  const { info } = attune.backend;
  const software = info.software || SOFTWARE_ADAPTER.test(info.device);
  console.error(`${options.bench}: ${info.device}${software ? ' (software: no GPU)' : ''}`);
  if (options.gpu && software)
    throw new Refusal(
      `--gpu: the adapter is ${info.device}, which computes on the CPU. Install the GPU's Vulkan driver, or leave --gpu out.`,
    );
  // After our own device: choosing it may point the Vulkan loader to another driver.
  const peers = await loadPeers(options.alone ? [] : peerNames, { software, device: info.device });
  const python = options.torch ? await PythonYardstick.start(options.torch) : null;
  const facts = { options, software, device: info.device, until };
  const print = printLine;
  const skip = (name: string, why: string) =>
    print({ bench: options.bench, case: name, adapter: info.device, software, skipped: why });
  const isOver = () => performance.now() > until;
  let good = true;
  await cases({
    options,
    attune,
    engine: attune.engine,
    software,
    peers,
    python,
    print,
    skip,
    isOver,
    async run(name, make) {
      if (!name.includes(options.only)) return;
      if (isOver()) return skip(name, 'no time was left');
      try {
        print({ ...(await measure(facts, name, await make())) });
      } catch (error) {
        if (error instanceof Unfit) return skip(name, error.message);
        good = false;
        console.error(error);
        print({ bench: options.bench, case: name, adapter: info.device, failed: reason(error) });
      }
    },
  });
  python?.stop();
  return good;
}
