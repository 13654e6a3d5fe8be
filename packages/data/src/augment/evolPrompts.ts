/** Raised with any word below: what was kept for other words is not taken. */
export const EVOL_PROMPT_VERSION = 1;

/** How an instruction is evolved: five ways to make it harder, one to make another one. */
export type EvolOperation =
  | 'constraints'
  | 'deepen'
  | 'concretise'
  | 'reasoning'
  | 'complicate-input'
  | 'breadth';

export const EVOL_OPERATIONS = [
  'constraints',
  'deepen',
  'concretise',
  'reasoning',
  'complicate-input',
  'breadth',
] as const satisfies readonly EvolOperation[];

const HARDER: Readonly<Record<Exclude<EvolOperation, 'breadth'>, string>> = {
  constraints: 'Add one condition or requirement that a solution has to meet.',
  deepen: 'If it asks about a subject, ask further and more thoroughly about the same subject.',
  concretise: 'Put particular cases, names or quantities in the place of its general notions.',
  reasoning:
    'If a moment of thought solves it, change it so that several steps of reasoning are needed.',
  'complicate-input':
    'Give it material to work on, such as a table, a snippet of code, a formula or a record of data.',
};

/** What a model is told to do with an instruction: our words for the paper's operations. */
export const evolPrompt = (operation: EvolOperation, instruction: string): string =>
  operation === 'breadth'
    ? `Here is an exercise for an assistant:\n\n<exercise>\n${instruction}\n</exercise>\n\nInvent another exercise from the same field that is rarer in everyday use. It should be about as long and as hard, and an assistant that reads and writes text must be able to do it. Write nothing but the exercise.`
    : `Here is an exercise for an assistant:\n\n<exercise>\n${instruction}\n</exercise>\n\nMake a somewhat harder version of it. ${HARDER[operation]} Keep all code, tables and data that it has. It must make sense, stay within reach of an expert, and grow by no more than about twenty words, not counting added material. Write nothing but the harder version.`;

/** Words of the prompt above, and of others of its kind, that betray a copy of it. */
export const PROMPT_WORDS: readonly string[] = [
  '<exercise>',
  '</exercise>',
  'harder version',
  'exercise for an assistant',
  'given prompt',
  'rewritten prompt',
  'created prompt',
  'new prompt',
];

/** Whether two instructions ask the same. */
export const equalPrompt = (before: string, after: string): string =>
  `<first>\n${before}\n</first>\n\n<second>\n${after}\n</second>\n\nDo the two exercises ask for the same, with the same requirements and at the same depth? Reply with one word: "equal" or "different".`;

/** The word that the last line of a reply is; null: it is neither. */
export function readEquality(text: string): 'equal' | 'different' | null {
  const word = /^\W*(equal|different)\W*$/i.exec(text.trim().split('\n').at(-1) ?? '')?.[1];
  return (word?.toLowerCase() as 'equal' | 'different' | undefined) ?? null;
}
