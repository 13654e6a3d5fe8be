import { COMMENTARY, type Commentary } from './commentary.js';
import { drawDocument, type FunctionDocument, type Sample } from './compose.js';
import { type Bug, ISSUES, type Issue, SEVERITY } from './issues.js';
import { ALL_NAMES, inventedPool } from './names.js';
import { suggest } from './review.js';
import { Rng } from './rng.js';

const SPEAKERS = ['Ana', 'Ben', 'Kim', 'Lee', 'Mia', 'Tom'];
const OPENERS = ['can you look at {f}?', 'is {f} ok?', 'what do you think of {f}?'];
/**
 * Verdicts on something absent (no await, no close, no use, no fault at all) are learnt more slowly
 * than those on something present, so a share of the documents is drawn from these alone.
 */
const ABSENCES: readonly Issue[] = [
  'missing-await',
  'missing-await',
  'unclosed-resource',
  'unused-variable',
  'none',
  'none',
];
const ABSENCE_SHARE = 0.3;
/** The share of documents whose nouns are invented. */
const INVENTED_SHARE = 0.15;
const NOTES = ['NOTE', 'TODO', 'FIXME'];

/**
 * The pretraining corpus: an endless, seeded stream of short documents, each some code and what
 * people say about it. It teaches the language of code and of its problems, never the form of a
 * review, which is left for fine-tuning. Combinations kept for
 * evaluation never occur in it.
 */
export function* corpus(seed: number): Generator<string> {
  const rng = new Rng(seed);
  for (;;) {
    const issue = rng.pick(rng.chance(ABSENCE_SHARE) ? ABSENCES : ISSUES);
    const { document, sample } = drawSample(rng, issue);
    yield rng.pick(FORMS)(rng, document, sample);
  }
}

/** Draws families until one can show the issue, so that the classes are equally common. */
export function drawSample(rng: Rng, issue: Issue): { document: FunctionDocument; sample: Sample } {
  for (;;) {
    const pool = rng.chance(INVENTED_SHARE) ? inventedPool(rng) : ALL_NAMES;
    const document = drawDocument(rng, 'train', pool);
    const fitting = document.samples.filter((sample) => sample.issue === issue);
    if (fitting.length > 0) return { document, sample: rng.pick(fitting) };
  }
}

type Form = (rng: Rng, document: FunctionDocument, sample: Sample) => string;

const fill = (text: string, document: FunctionDocument, sample: Sample): string =>
  text.replaceAll('{s}', sample.subject).replaceAll('{f}', document.name);

const talk = (sample: Sample): Commentary => COMMENTARY[sample.issue];

const remark: Form = (rng, document, sample) =>
  fill(rng.pick(talk(sample).remarks), document, sample);

const comment = (document: FunctionDocument, text: string): string =>
  `${document.language === 'py' ? '#' : '//'} ${text}`;

const trailingNote: Form = (rng, document, sample) =>
  `${sample.code}\n${comment(document, `${rng.pick(NOTES)} ${remark(rng, document, sample)}`)}`;

const documented: Form = (rng, document, sample) =>
  [
    comment(document, document.purpose),
    sample.code,
    comment(document, remark(rng, document, sample)),
  ].join('\n');

const commit: Form = (rng, document, sample) =>
  `${sample.code}\n---\ncommit: ${fill(rng.pick(talk(sample).commits), document, sample)}`;

const chat: Form = (rng, document, sample) => {
  const [asks, answers] = rng.shuffle(SPEAKERS);
  const opener = fill(rng.pick(OPENERS), document, sample);
  return `${asks}: ${opener}\n${sample.code}\n${answers}: ${remark(rng, document, sample)}`;
};

const whatIsWrong: Form = (rng, document, sample) => {
  const question = `Q: What is wrong with ${document.name}?`;
  const answer = rng.chance(0.5)
    ? `${talk(sample).term}, ${sample.subject}`
    : remark(rng, document, sample);
  return `${sample.code}\n${question}\nA: ${answer}`;
};

/**
 * Questions about everything that could have gone wrong in this function. The densest form: one
 * reading of the code is judged for several issues, and the answers differ only where it does.
 */
const checklist: Form = (rng, document, sample) => {
  const bugs = document.samples.map((other) => other.issue).filter((issue) => issue !== 'none');
  const strangers = ISSUES.filter((issue) => issue !== 'none' && !bugs.includes(issue));
  const asked = rng.shuffle([...new Set<Issue>([...bugs, rng.pick(strangers)])]) as Bug[];
  const lines = asked.map((bug) => {
    const bad = bug === sample.issue;
    return `${COMMENTARY[bug].question} ${bad ? `no, ${sample.subject}` : 'yes'}`;
  });
  return [sample.code, ...lines].join('\n');
};

/**
 * A line of a bug tracker: the words that a review will use, in another order and in running text.
 */
const ticket: Form = (rng, document, sample) => {
  const severity = SEVERITY[sample.issue];
  const advice = suggest(rng, sample.issue, sample.subject, document.name);
  const closing = rng.pick([
    `issue with ${document.name} - ${sample.issue}, severity ${severity}. ${advice}`,
    `severity ${severity} - issue ${sample.issue} in ${document.name}. ${advice}`,
    `suggestion for ${document.name} - ${advice}`,
  ]);
  return `${sample.code}\n${closing}`;
};

/** The output of a linter: short, and the one place that uses the class names as they stand. */
const lint: Form = (rng, document, sample) => {
  const advice = suggest(rng, sample.issue, sample.subject, document.name);
  return `${sample.code}\nlint: ${sample.issue}, ${sample.subject}\nfix: ${advice}`;
};

/** A few lines out of their function: the shortest text that still decides the matter. */
const snippet: Form = (rng, document, sample) => {
  const verdict = rng.chance(0.5) ? talk(sample).term : sample.issue;
  return `${rng.pick(sample.snippets)}\n${comment(document, verdict)}`;
};

/**
 * A listing with a remark behind every line. It ties each problem to the line where it shows, which
 * a remark below the whole function does only after many more documents.
 */
const annotated: Form = (rng, document, sample) => {
  const lines = sample.code.split('\n');
  const correct = document.samples[0]?.code.split('\n') ?? [];
  const faulty = sample.issue === 'none' ? -1 : lines.findIndex((line, at) => line !== correct[at]);
  return lines
    .map((line, at) => `${line} ${comment(document, at === faulty ? talk(sample).term : 'ok')}`)
    .concat(comment(document, remark(rng, document, sample)))
    .join('\n');
};

const lesson: Form = (rng, document, sample) =>
  `### Notes on ${talk(sample).term}\n${rng.pick(talk(sample).lessons)}\n${document.purpose}:\n${sample.code}`;

/** Forms with their weight: how often each occurs among 25 documents. */
const WEIGHTED: readonly (readonly [Form, number])[] = [
  [snippet, 6],
  [annotated, 4],
  [lint, 2],
  [ticket, 4],
  [whatIsWrong, 2],
  [checklist, 2],
  [trailingNote, 1],
  [documented, 1],
  [commit, 1],
  [chat, 1],
  [lesson, 1],
];
const FORMS = WEIGHTED.flatMap(([form, weight]) => Array<Form>(weight).fill(form));
