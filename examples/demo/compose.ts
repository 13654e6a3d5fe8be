import type { Block, Language, ResultBlock } from './block.js';
import { CHECKS_PY, RESULTS_PY, SOURCES_PY } from './blocksPy.js';
import { CHECKS_JS } from './checksJs.js';
import type { Bug, Issue } from './issues.js';
import { drawNames, type NamePool, type Names, POOLS, type Split } from './names.js';
import { RESULTS_JS } from './resultsJs.js';
import { hashText, type Rng } from './rng.js';
import { SOURCES_JS } from './sourcesJs.js';

/** One version of a function, and what a reviewer ought to say about it. */
export interface Sample {
  readonly code: string;
  readonly issue: Issue;
  /** The identifier at fault; for a function without a fault, its own name. */
  readonly subject: string;
  /** The lines that decide: those of the faulty block, or of any block of a correct function. */
  readonly snippets: readonly string[];
}

/** A function family: one correct version and one broken version for each bug that fits. */
export interface FunctionDocument {
  /** `invoice/js:fetch+state+ratio`: the entity and the blocks. Versions of a family share it. */
  readonly id: string;
  readonly language: Language;
  readonly name: string;
  readonly purpose: string;
  /** The first sample is the correct version. */
  readonly samples: readonly Sample[];
}

const BLOCKS = {
  js: { sources: SOURCES_JS, checks: CHECKS_JS, results: RESULTS_JS },
  py: { sources: SOURCES_PY, checks: CHECKS_PY, results: RESULTS_PY },
} as const;

const PYTHON_SHARE = 0.2;
const CHECK_SHARE = 0.45;
const RESERVED_PERCENT = 15;
/** Longer functions are drawn again, so that a row of the demo stays below about 110 tokens. */
const MAX_CODE_LENGTH = 190;

/**
 * Whether a combination of blocks is kept for the eval side. Decided by a hash of the combination
 * alone, so that pretraining, fine-tuning and evaluation agree without sharing any state.
 */
export function isReserved(signature: string): boolean {
  return hashText(signature) % 100 < RESERVED_PERCENT;
}

/**
 * Draws a function family. Train families use train names and unreserved combinations, eval
 * families use eval names and reserved combinations: an eval family is new in both respects.
 */
export function drawDocument(
  rng: Rng,
  split: Split,
  pool: NamePool = POOLS[split],
): FunctionDocument {
  for (;;) {
    const language: Language = rng.chance(PYTHON_SHARE) ? 'py' : 'js';
    const { sources, checks, results } = BLOCKS[language];
    const result = rng.pick(results);
    const shape = result.shape ?? 'one';
    const fits = (block: Block): boolean => block.shape === undefined || block.shape === shape;
    const check = rng.chance(CHECK_SHARE) ? [rng.pick(checks.filter(fits))] : [];
    const blocks: Block[] = [rng.pick(sources.filter(fits)), ...check, result];
    const signature = `${language}:${blocks.map((block) => block.id).join('+')}`;
    if (isReserved(signature) !== (split === 'eval') || clashes(blocks)) continue;
    const names = drawNames(rng, pool, shape);
    const document = build(rng, language, signature, blocks, result, names);
    if (document.samples.every((sample) => sample.code.length <= MAX_CODE_LENGTH)) return document;
  }
}

/**
 * Each bug has one place in a function at most. Two blocks that both declare a local would collide;
 * and with two files or two promises, one of them treated well, the verdict asks for more
 * bookkeeping than a model of this size learns in a few million tokens.
 */
function clashes(blocks: readonly Block[]): boolean {
  const bugs = blocks.flatMap((block) => Object.keys(block.hosts));
  return new Set(bugs).size < bugs.length;
}

function build(
  rng: Rng,
  language: Language,
  signature: string,
  blocks: readonly Block[],
  result: ResultBlock,
  names: Names,
): FunctionDocument {
  const title = result.title(names);
  const name = language === 'py' ? title.join('_').toLowerCase() : camelCase(title);
  const params = [...new Set(blocks.flatMap((block) => block.params?.(names) ?? []))];
  const header = drawHeader(
    rng,
    language,
    name,
    params,
    blocks.some((block) => block.async),
  );
  const version = (faulty: number, bug: Bug | undefined, subject: string): Sample => {
    const bodies = blocks.map((block, at) => block.lines(names, at === faulty ? bug : undefined));
    const indented = bodies.flat().map((line) => `  ${line}`);
    const deciding = faulty < 0 ? bodies : [bodies[faulty] ?? []];
    return {
      code: [header.open, ...indented, ...header.close].join('\n'),
      issue: bug ?? 'none',
      subject,
      snippets: deciding.filter((body) => body.length > 0).map((body) => body.join('\n')),
    };
  };
  const samples: Sample[] = [version(-1, undefined, name)];
  blocks.forEach((block, at) => {
    for (const [bug, subject] of Object.entries(block.hosts) as [Bug, (n: Names) => string][]) {
      samples.push(version(at, bug, subject(names)));
    }
  });
  return {
    id: `${names.one}/${signature}`,
    language,
    name,
    purpose: result.purpose(names),
    samples,
  };
}

interface Header {
  readonly open: string;
  readonly close: readonly string[];
}

function drawHeader(
  rng: Rng,
  language: Language,
  name: string,
  params: readonly string[],
  isAsync: boolean,
): Header {
  const list = params.join(', ');
  const prefix = isAsync ? 'async ' : '';
  if (language === 'py') return { open: `${prefix}def ${name}(${list}):`, close: [] };
  const style = rng.below(4);
  if (style === 0) return { open: `const ${name} = ${prefix}(${list}) => {`, close: ['};'] };
  const exported = style === 1 ? 'export ' : '';
  return { open: `${exported}${prefix}function ${name}(${list}) {`, close: ['}'] };
}

function camelCase(parts: readonly string[]): string {
  return parts
    .map((part, at) => (at === 0 ? part : part.charAt(0).toUpperCase() + part.slice(1)))
    .join('');
}
