import { z } from 'zod';
import type { Tracker } from '../callbacks/points.js';
import type { CallbackContext, Logs } from '../training/callback.js';
import { AttuneError } from '../util/errors.js';
import { camelToSnake, keysToSnake } from '../util/json.js';
import type { Logger } from '../util/logger.js';
import { type OptionsInput, type OptionsOutput, parseOptions } from '../util/options.js';

/** What a server takes in one `log-batch`. */
const MOST_METRICS = 1000;
const MOST_PARAMS = 100;
/** Longer values are refused by servers before MLflow 2.8. */
const LONGEST_PARAM = 500;
const TIMEOUT_MS = 30_000;

const mlflowShape = {
  /** The server. Default "http://127.0.0.1:5000", where `mlflow server` listens. */
  trackingUri: z.string().min(1).default('http://127.0.0.1:5000').meta({ aka: 'uri url host' }),
  /** The experiment that the run belongs to. Default "Default"; made if it is not there. */
  experimentName: z.string().min(1).default('Default').meta({ aka: 'experiment project' }),
  /** What the run is called. Default: `runName` of the arguments. */
  runName: z.string().min(1).optional().meta({ aka: 'name run' }),
  /** Tags of the run. Default none. */
  tags: z.record(z.string(), z.string()).readonly().default({}),
  /** Sent as a bearer token. Default none. */
  token: z.string().optional().meta({ aka: 'apikey' }),
};
const mlflowOptions = z.strictObject(mlflowShape);

/** Options of {@link MlflowCallback}. */
export type MlflowOptions = OptionsInput<typeof mlflowShape>;

interface Metric {
  readonly key: string;
  readonly value: number | string;
  readonly timestamp: number;
  readonly step: number;
}

/**
 * Writes a run to an MLflow tracking server, through its REST API. Arguments and model config are
 * parameters; metrics have transformers' names (`loss`, `eval_loss`).
 *
 * Training does not wait for the server: rows are sent in the background, and again with the next
 * ones when the server did not answer. At the end of the run what could not be sent is reported.
 */
export class MlflowCallback implements Tracker {
  readonly name = 'MLflowCallback';
  readonly firstRankOnly = true;
  readonly #options: OptionsOutput<typeof mlflowOptions>;
  #runId: string | null = null;
  #unsent: Metric[] = [];
  #sending: Promise<void> = Promise.resolve();
  #problem: string | null = null;

  /** @throws UNKNOWN_OPTION, INVALID_OPTION */
  constructor(options: MlflowOptions = {}) {
    this.#options = parseOptions(mlflowOptions, options, { where: 'MlflowCallback' });
  }

  /** @throws MLFLOW when the server is not there or refuses the run */
  async onTrainBegin({ args, model }: CallbackContext): Promise<void> {
    const { experimentName, runName = args.runName, tags } = this.#options;
    this.#unsent = [];
    this.#problem = null;
    const { run } = await this.#post<{ run: { info: { run_id: string } } }>('runs/create', {
      experiment_id: await this.#experiment(experimentName),
      start_time: Date.now(),
      ...(runName && { run_name: runName }),
      tags: Object.entries(tags).map(([key, value]) => ({ key, value })),
    });
    this.#runId = run.info.run_id;
    const params = Object.entries({ ...model.config.raw, ...keysToSnake({ ...args }) })
      .map(([key, value]) => ({
        key,
        value: typeof value === 'string' ? value : JSON.stringify(value),
      }))
      .filter(({ value }) => value !== undefined && value.length <= LONGEST_PARAM);
    for (let at = 0; at < params.length; at += MOST_PARAMS)
      await this.#post('runs/log-batch', {
        run_id: this.#runId,
        params: params.slice(at, at + MOST_PARAMS),
      });
  }

  onLog({ state, logger }: CallbackContext, logs: Logs): void {
    if (this.#runId === null) return; // outside of a run
    const timestamp = Date.now();
    for (const [name, value] of Object.entries(logs))
      this.#unsent.push({
        // Characters that MLflow takes in names.
        key: camelToSnake(name).replace(/[^\w\-. :/]/g, '_'),
        value: Number.isFinite(value) ? value : String(value), // JSON has no NaN; protobuf's JSON says "NaN"
        timestamp,
        step: state.globalStep,
      });
    this.#send(logger);
  }

  async onTrainEnd({ logger }: CallbackContext): Promise<void> {
    if (this.#runId === null) return;
    this.#send(logger);
    await this.#sending;
    if (this.#unsent.length > 0)
      logger.error(
        `MLflow: ${this.#unsent.length} values were not sent: ${this.#problem} They are in the log history of the last checkpoint.`,
      );
    await this.#post('runs/update', {
      run_id: this.#runId,
      status: 'FINISHED',
      end_time: Date.now(),
    }).catch((error: AttuneError) => logger.error(`MLflow: ${error.description}`));
    this.#runId = null;
  }

  /** Sends what is there, one request at a time; what fails stays for the next time. */
  #send(logger: Logger): void {
    const runId = this.#runId;
    this.#sending = this.#sending.then(async () => {
      while (this.#unsent.length > 0) {
        const metrics = this.#unsent.slice(0, MOST_METRICS);
        const send = () => this.#post('runs/log-batch', { run_id: runId, metrics });
        try {
          await send().catch(send); // a connection that was idle may be closed when it is used again
          this.#unsent.splice(0, metrics.length);
          this.#problem = null;
        } catch (error) {
          const problem = (error as AttuneError).description;
          if (this.#problem === null)
            logger.warn(`MLflow: ${problem} Training goes on; it is tried again.`);
          this.#problem = problem;
          return;
        }
      }
    });
  }

  async #experiment(name: string): Promise<string> {
    const found = await this.#request<{ experiment: { experiment_id: string } }>(
      'GET',
      `experiments/get-by-name?experiment_name=${encodeURIComponent(name)}`,
    );
    if (found) return found.experiment.experiment_id;
    const made = await this.#post<{ experiment_id: string }>('experiments/create', { name });
    return made.experiment_id;
  }

  async #post<T>(path: string, body: object): Promise<T> {
    const answer = await this.#request<T>('POST', path, body);
    if (answer) return answer;
    throw this.#error(path, 'the server does not know it');
  }

  /** The answer; null for "there is no such thing". @throws MLFLOW */
  async #request<T>(method: string, path: string, body?: object): Promise<T | null> {
    const { token } = this.#options;
    let response: Response;
    let text: string;
    try {
      response = await fetch(`${this.#uri}/api/2.0/mlflow/${path}`, {
        method,
        headers: {
          'content-type': 'application/json',
          ...(token && { authorization: `Bearer ${token}` }),
        },
        signal: AbortSignal.timeout(TIMEOUT_MS),
        ...(body && { body: JSON.stringify(body) }),
      });
      text = await response.text();
    } catch (error) {
      const { message, cause } = error as Error;
      throw this.#error(path, cause instanceof Error ? cause.message || String(cause) : message);
    }
    if (response.ok) return JSON.parse(text || '{}') as T;
    if (response.status === 404 && text.includes('RESOURCE_DOES_NOT_EXIST')) return null;
    throw this.#error(path, `${response.status} ${text.slice(0, 200)}`);
  }

  get #uri(): string {
    return (this.#options.trackingUri ?? 'http://127.0.0.1:5000').replace(/\/+$/, '');
  }

  #error(path: string, problem: string): AttuneError {
    return new AttuneError('MLFLOW', `${this.#uri}: ${path.split('?')[0]} failed: ${problem}.`, {
      remedy: `Start a server (mlflow server), or give the address of yours: new MlflowCallback({ trackingUri: "http://..." }).`,
    });
  }
}
