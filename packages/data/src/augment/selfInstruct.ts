import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { type DataRow, formatOrigin } from '../contract/dataRow.js';
import { defineDataStage, type HeldRows, type StageContext } from '../contract/dataStage.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import { type Asking, providerFingerprint, type SpentFact } from '../providers/asking.js';
import { orderedMap } from '../providers/orderedMap.js';
import type { Refusal } from '../providers/refusal.js';
import { type Ask, askOf, madeRow, rngOf } from './askOf.js';
import { askingOf, askingShape, leaveOut } from './augmentShape.js';
import { BLOCKED_STARTS, BLOCKED_WORDS, instructionFault, readList } from './instructionFilter.js';
import { RougePool } from './rouge.js';
import { textFault } from './textRules.js';

/** Raised with any word below. */
const PROMPT_VERSION = 1;

const selfInstructShape = {
  ...askingShape,
  /** New instructions that are wanted. */
  count: z.int().min(1).meta({ aka: 'numinstructions n numinstructionstogenerate' }),
  /** Instructions that a request shows: from the rows, and up to a quarter new ones. Default 8. */
  examples: z.int().min(1).default(8).meta({ aka: 'numpromptinstructions' }),
  /** New instructions that a request asks for. Default 8. */
  perRequest: z.int().min(1).default(8),
  /**
   * Requests that are made at once, all from the pool as it stands then. Part of what comes out:
   * whatever the endpoint's speed, it is the same. Default 4.
   */
  requestsPerRound: z.int().min(1).default(4),
  /** Most requests for instructions. Default: five times as many as would do without filters. */
  maxRequests: z.int().min(1).optional(),
  /** ROUGE-L F above which an instruction is too like one of the pool. Default 0.7, the paper's. */
  maxRouge: z.number().min(0).max(1).default(0.7).meta({ aka: 'rougethreshold threshold' }),
  /** Least words, between spaces. Default 4, as the authors' code has it. */
  minWords: z.int().min(1).default(4),
  /** Most words. Default 150. */
  maxWords: z.int().min(1).default(150),
  /** Words that no instruction may have. Default the authors': image, graph, file, "go to". */
  blockedWords: z
    .array(z.string().min(1))
    .default([...BLOCKED_WORDS])
    .meta({ aka: 'blacklist' }),
  /** Words that no instruction may begin with. Default the authors': "write a program". */
  blockedStarts: z.array(z.string().min(1)).default([...BLOCKED_STARTS]),
  /** Whether each new instruction is answered. Default true. */
  answer: z.boolean().default(true),
  /** Words of a request of one's own, for examples and a number. Default: ours. */
  prompt: z
    .custom<(examples: readonly string[], count: number) => string>(
      (value) => typeof value === 'function',
      'expected a function of examples and a number',
    )
    .optional(),
};

/** What the report of `selfInstruct` has beside its counts. */
export type SelfInstructReport = { readonly spent: SpentFact };

/** Options of {@link selfInstruct}. */
export type SelfInstructOptions = OptionsInput<typeof selfInstructShape>;

const options = z.strictObject(selfInstructShape);
type Options = z.output<typeof options>;

const WHERE = 'selfInstruct';

const selfPrompt = (examples: readonly string[], count: number): string =>
  `These are tasks that people gave to an assistant:\n\n${examples
    .map((text, i) => `${i + 1}. ${text}`)
    .join(
      '\n\n',
    )}\n\nThink of ${count} further tasks. They should differ from these and from one another in subject, in kind (explaining, sorting, rewriting, computing, inventing, planning, coding) and in wording. Each stands by itself, holds all it needs, and can be done by reading and writing text. Reply with a list numbered from 1 to ${count} and nothing else.`;

/** An instruction of the pool. */
interface Known {
  readonly text: string;
  /** The row that new rows are written like. */
  readonly index: number;
}

/** Adds instructions that a model makes up after those of the rows. */
export const selfInstructStage = defineDataStage({
  name: WHERE,
  options,
  isCostly: true,
  fingerprint: async ({ provider, prompt }) => ({
    provider: await providerFingerprint(provider),
    prompt: prompt ? String(prompt) : PROMPT_VERSION,
  }),
  async *run(rows, parsed, context) {
    await using held = await context.hold(rows);
    const seeds: Known[] = [];
    const pool = new RougePool();
    for (let index = 0; index < held.length; index++) {
      const item = await held.at(index);
      const ask = askOf(item.row);
      if (ask) {
        // Rows that are held out are never shown; what is like them is filtered all the same.
        if ((item.split ?? 'train') === 'train') seeds.push({ text: ask.instruction, index });
        pool.add(ask.instruction);
      }
      yield item;
    }
    if (seeds.length === 0) {
      context.warn('no row of train asks anything: there is nothing to make instructions after.');
      return;
    }
    const asking = askingOf(parsed.provider, parsed.onRefusal, context, WHERE);
    const seed = parsed.seed ?? context.seed;
    const found = invent(asking, { parsed, context, seed, seeds, pool, held });
    for await (const made of orderedMap(found, asking.provider.maxConcurrent, (one) =>
      answered(asking, one, parsed, seed),
    )) {
      context.added(made.item, 'made up');
      const { item, fault } = made;
      if (fault === null) yield item;
      else if (typeof fault === 'string') context.drop(item, fault);
      else leaveOut(context, parsed.onRefusal, item, fault);
    }
    context.fact('spent', asking.spentFact);
  },
});

interface Inventing {
  readonly parsed: Options;
  readonly context: StageContext;
  readonly seed: number;
  readonly seeds: readonly Known[];
  readonly pool: RougePool;
  readonly held: HeldRows;
}

/** A new instruction that passed the filters. */
interface Invented {
  readonly parent: DataRow;
  readonly ask: Ask;
  readonly text: string;
  readonly how: Readonly<Record<string, string | number | string[]>>;
}

/** Round by round: requests from the pool as it stands, their answers in the order of requests. */
async function* invent(asking: Asking, parts: Inventing): AsyncGenerator<Invented> {
  const { parsed, context, seed, seeds, pool, held } = parts;
  const { count, perRequest, requestsPerRound, prompt = selfPrompt } = parsed;
  const maxRequests = parsed.maxRequests ?? 5 * Math.ceil(count / perRequest);
  const known: Known[] = [];
  let requests = 0;
  let filtered = 0;
  let refused = 0;
  let lastRefusal: Refusal | null = null;
  let withoutList = 0;
  while (known.length < count && requests < maxRequests) {
    const round = Array.from(
      { length: Math.min(requestsPerRound, maxRequests - requests) },
      (_, i) => {
        const number = requests + i;
        return { number, ...draw(seeds, known, parsed.examples, seed, number) };
      },
    );
    requests += round.length;
    const replies = await Promise.all(
      round.map(({ number, shown }) =>
        asking.ask({
          messages: [
            {
              role: 'user',
              content: prompt(
                shown.map(({ text }) => text),
                perRequest,
              ),
            },
          ],
          temperature: parsed.temperature,
          maxTokens: parsed.maxTokens,
          seed: seed + number,
        }),
      ),
    );
    for (const [i, { completion: reply, refusal }] of replies.entries()) {
      const { number, shown, parent: first } = round[i]!;
      if (refusal) {
        refused++;
        lastRefusal = refusal;
        continue;
      }
      const listed = readList(reply.texts[0]!);
      if (listed.length === 0) withoutList++;
      // The last of a list that is cut off is half an instruction.
      const isCut = ['length', 'content_filter'].includes(reply.finishReasons[0]!);
      const whole = isCut ? listed.slice(0, -1) : listed;
      const parent = await held.at(first.index);
      for (const text of whole) {
        if (known.length >= count) break;
        const like = pool.findLike(text, parsed.maxRouge);
        const fault =
          instructionFault(text, parsed) ??
          (like && { reason: 'like another', detail: `ROUGE-L ${like.f.toFixed(2)}` });
        const origins = await Promise.all(
          shown.map(async ({ index }) => formatOrigin((await held.at(index)).origin)),
        );
        const one: Invented = {
          parent,
          ask: askOf(parent.row)!,
          text,
          how: {
            method: WHERE,
            request: number,
            model: reply.model,
            examples: [...new Set(origins)],
            promptVersion: parsed.prompt ? 0 : PROMPT_VERSION,
          },
        };
        if (fault) {
          filtered++;
          const item = rowOf(one, null);
          context.added(item, 'made up');
          context.drop(item, fault.reason, fault.detail);
          continue;
        }
        pool.add(text);
        known.push({ text, index: first.index });
        yield one;
      }
    }
    context.progress(known.length, count);
  }
  if (lastRefusal)
    context.warn(
      `${refused} of ${requests} requests for instructions were refused; the last: ${lastRefusal.detail}`,
    );
  if (known.length < count)
    context.warn(
      `${known.length} of ${count} instructions came of ${requests} requests; ${filtered} were filtered. ${
        withoutList === 0
          ? 'Raise maxRequests, or maxRouge.'
          : `${withoutList} replies have no list numbered "1. ...": look at what the model replies, or ask it with a prompt of yours.`
      }`,
    );
}

/**
 * Rows of the pool for one request: up to a quarter of them new ones, without repetition, in an
 * order of their own. What comes of it is written like the first that is a row.
 */
function draw(
  seeds: readonly Known[],
  known: readonly Known[],
  count: number,
  seed: number,
  request: number,
): { readonly shown: readonly Known[]; readonly parent: Known } {
  const rng = rngOf(seed, WHERE, String(request));
  const pick = (from: readonly Known[], n: number) =>
    [...rng.permutation(from.length).slice(0, n)].map((i) => from[i]!);
  const newer = pick(known, Math.min(known.length, Math.floor(count / 4)));
  const rows = pick(seeds, count - newer.length);
  const all = [...rows, ...newer];
  return { shown: [...rng.permutation(all.length)].map((i) => all[i]!), parent: rows[0]! };
}

const rowOf = ({ parent, ask, text, how }: Invented, answer: string | null): DataRow => ({
  ...parent,
  row: madeRow(ask.write(text, answer), how),
});

async function answered(
  asking: Asking,
  one: Invented,
  { answer, temperature, maxTokens }: Options,
  seed: number,
): Promise<{ readonly item: DataRow; readonly fault: string | Refusal | null }> {
  if (!answer) return { item: rowOf(one, null), fault: null };
  const { completion, refusal } = await asking.ask({
    messages: [{ role: 'user', content: one.text }],
    temperature,
    maxTokens,
    seed,
  });
  if (refusal) return { item: rowOf(one, null), fault: refusal };
  const text = completion.texts[0]!.trim();
  const fault = textFault(text, completion.finishReasons[0]);
  // By the authors' rule what ends so is most often not all of it.
  const wrong = fault ?? (text.endsWith(':') ? 'cut off' : null);
  return { item: rowOf(one, text), fault: wrong && `answer is ${wrong}` };
}

/**
 * Adds new instructions that a model makes up after examples from the rows, with its answers.
 *
 * All rows stay, and come first. After a split the examples are of train alone. New ones have the
 * format of one row that was shown, its origin and its other columns, and a column `augmentation`
 * with the request and the origins of all examples. Filtered by the rules of the authors' code are
 * instructions "too short", "too long", with an "odd first character", a "blocked word", a "blocked
 * start", or "like another" of the rows and of the new ones by ROUGE-L; and those whose answer is
 * empty, filtered, cut off (it ends with a colon, too) or a refusal, or whose request the provider
 * refuses. They count as added and as dropped.
 *
 * @see Wang et al., "Self-Instruct: Aligning language models with self-generated instructions",
 *   arXiv:2212.10560
 * @example const { rows: more } = await selfInstruct(rows, { provider, count: 500 });
 */
export const selfInstruct = stageFunction<SelfInstructOptions, SelfInstructReport>(
  selfInstructStage,
);
