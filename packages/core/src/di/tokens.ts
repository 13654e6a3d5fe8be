import type { ServiceIdentifier } from 'inversify';
import type { Attune } from '../attune.js';
import type { Backend } from '../backend/backend.js';
import type { Communicator } from '../distributed/communicator.js';
import type { AdapterService } from '../models/adapterHost.js';
import type { Engine } from '../tensor/engine.js';
import type { Logger } from '../util/logger.js';

/** A name of a service, with the type of what it stands for. */
export type Token<T> = ServiceIdentifier<T> & symbol;

/**
 * Makes a typed injection token. It is made with `Symbol.for`, so that two copies of core agree.
 */
export const token = <T>(name: string): Token<T> => Symbol.for(`attune.${name}`) as Token<T>;

/** Services that a plugin's classes may `@inject`. */
export const TOKENS = {
  Logger: token<Logger>('Logger'),
  Backend: token<Backend>('Backend'),
  Engine: token<Engine>('Engine'),
  Attune: token<Attune>('Attune'),
  /** Applies a `peftConfig` to a model; a PEFT plugin provides it. */
  AdapterService: token<AdapterService>('AdapterService'),
  /**
   * How the ranks of a run reach one another. `createAttune` takes it, or one plugin provides it.
   */
  Communicator: token<Communicator>('Communicator'),
} as const;
