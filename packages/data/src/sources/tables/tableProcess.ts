import { isMainThread, workerData } from 'node:worker_threads';
import type { TableAnswer, TableJob } from './messages.js';
import { Patience } from './patience.js';

// The program of the process that reads a table. The libraries loop and allocate as a file tells
// them: in a process of its own a file that lies can neither hold up the program nor end it. A run
// of 2^31 equal values, one flipped bit of a page, is a fatal error of the engine, in a thread too.

/** Answers each message with what comes next. */
async function serve(job: TableJob): Promise<void> {
  process.on('disconnect', () => process.exit());
  const rowsOf =
    job.kind === 'parquet'
      ? (await import('./parquet.js')).parquetRows
      : (await import('./arrow.js')).arrowRows;
  const patience = new Patience();
  patience.watch(new URL(import.meta.url));
  const answers = rowsOf(job, patience);
  const send = (answer: TableAnswer): void => {
    patience.rest();
    process.send!(answer);
  };
  // Messages that came earlier wait for their listener.
  process.on('message', () => {
    patience.begin();
    answers.next().then(
      ({ done, value }) => send(done ? { kind: 'end' } : value),
      (error: unknown) => {
        const problem = `the file cannot be read (${(error as Error).message}).`;
        send({ kind: 'gap', problem, rows: 1 });
      },
    );
  });
}

if (isMainThread) await serve(JSON.parse(process.argv[2]!));
else new Patience(workerData).guard();
