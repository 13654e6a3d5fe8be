import { quality } from '@attune/data';
import { describe, expect, test } from 'vitest';

/** The reason for which a row is dropped; null: it stays. */
async function reasonOf(
  row: Record<string, unknown>,
  options: object = {},
): Promise<string | null> {
  const { dropped } = await quality([row], { checks: [{ name: 'completeness', ...options }] });
  return dropped[0]?.reason ?? null;
}
const answer = (completion: string, prompt = 'Tell me about it.', options = {}) =>
  reasonOf({ prompt, completion }, options);

describe('whole answers stay', () => {
  test.each([
    ['a sentence', 'The capital of France is Paris.'],
    ['a word', 'Paris'],
    ['a name of four words', 'The Lord of Rings'],
    ['a number', 'We add them up. The sum is 42'],
    ['an answer tag', 'They sold 72 clips.\n#### 72'],
    ['a command', 'find . -type f -name "*.txt" -a -newer the'],
    ['a command in words', 'mkdir a b c d e'],
    ['a shell with its own number', 'ps -p $$ -o comm='],
    ['a list', 'You need:\n- flour and milk\n- three eggs from the'],
    ['a numbered list', 'Steps. Do this.\n1. Open the door\n2. Walk through it and then turn left'],
    ['a code block', 'Here it is:\n\n```python\nprint("hi")\n```'],
    ['nested Markdown', 'So:\n\n```markdown\n# A\n```js\nx();\n```\n```\n'],
    ['an address', 'It is described there. See https://example.com/a/b/the'],
    ['an emoji', 'That went well. I am so happy for you 🎉'],
    ['a quote', 'She turned around. "I never said that I would go with you"'],
    ['a formula', 'The area follows. It is $\\pi r^2$'],
    ['a displayed formula', 'So\n$$\nx^{2}\n$$'],
    ['a signature', 'Thank you for your time. We will see.\n\nKind regards,\nAnna Maria Lee'],
    ['a result in words', 'A is wrong. B is wrong, too. So the final answer is Paris'],
    ['a greeting', 'That is fine. See you'],
    ['a choice', 'Let us see. The right one is option B'],
    ['Chinese', '法国的首都是巴黎。它很大。'],
    ['Chinese without a stop', '法国的首都是巴黎'],
    ['Japanese', 'フランスの首都はパリです。'],
    ['Japanese without a last stop', 'はい。フランスの首都はパリです'],
    ['Hindi', 'यह एक वाक्य है। यह भी एक वाक्य है।'],
    ['Arabic', 'هذه جملة كاملة. هل هذه جملة؟'],
    ['Thai', 'นี่คือประโยคที่สมบูรณ์ และนี่คืออีกประโยคหนึ่ง'],
    ['a smiley', 'That is fine. I like it a lot :('],
    ['a slip of the pen', 'There are two (or three of them. That is all.'],
    ['JSON', '{"a": [1, 2, {"b": "}"}]}'],
    ['a letter with a slot', 'Dear Sir,\n\nThank you.\n\nSincerely,\n[Your Name]'],
    ['a to-do in code', 'Do:\n```js\n// TODO: more\n```'],
    ['a word about it', 'Write a TODO list with three items.'],
    ['reasoning', '<think>\nHm.\n</think>\nYes.'],
    ['a word about a tag', 'Use the <think> tag for it.'],
    ['a word about a formula', 'Use \\begin{align} to start several lines.'],
    ['a bare table', 'It is so. See:\n\n| a | b |\n|---|---|\n| 1 | 2 |'],
  ])('%s', async (_name, text) => {
    expect(await answer(text)).toBeNull();
  });
});

describe('what is missing is found', () => {
  test.each([
    [
      'cut off',
      'Paris is the capital. It is large. It is old. It lies on the river Seine and has many old',
    ],
    ['cut off', 'She had been so happy. She did not know what to do. She'],
    ['cut off', 'Paris is the capital of France, which'],
    ['cut off', 'First, install the package. Then run the command to'],
    ['cut off', 'Rivers flow to the sea. The water carries sand. Deltas form where it slo'],
    ['cut off', 'The best known of all of them is the'],
    ['cut off', 'You need apples, pears, plums,'],
    ['cut off', 'There are three steps. Here is the list of them:'],
    ['cut off', 'Die Stadt liegt am Fluss. Sie ist sehr alt und'],
    ['cut off', '法国的首都是巴黎。巴黎很大。巴黎很老。它位于塞纳河畔，有许多古老的'],
    ['cut off', 'フランスの首都はパリです。パリは、'],
    ['cut off', 'Москва — столица России. Она стоит на реке и на'],
    ['cut off', 'القاهرة هي عاصمة مصر وهي تقع على'],
    ['cut off', 'まず、お湯を'],
    ['unclosed bracket', 'He came home (after a long'],
    ['unclosed quote', 'She looked up and said, "I will come'],
    ['no answer', ' \u200b\n'],
    ['unclosed fence', 'Here it is:\n\n```python\nprint("hi")'],
    ['unclosed tag', '<think>\nLet me see. First I look at it.'],
    ['unclosed formula', 'So we have\n$$\n\\frac{1}{2}'],
    ['unclosed formula', '\\begin{align}\nx &= 1'],
    ['unclosed bracket', '{"a": [1, 2, {"b": 3}'],
    ['unclosed quote', '{"name": "Anna", "city": "Par'],
    ['unclosed bracket', 'Paris is large. It has many museums (for example Louvre'],
    ['placeholder', 'TODO'],
    ['placeholder', '[insert answer here]'],
    ['placeholder', '<your answer>'],
    ['placeholder', 'The capital of the country is [insert city here].'],
    ['placeholder', 'First point.\nTODO: write the rest'],
    ['no answer', ''],
    ['no answer', ' \n'],
  ])('%s: %s', async (reason, text) => {
    expect(await answer(text)).toBe(reason);
  });

  test('refusals, when they are asked for', async () => {
    const refusals = [
      "I'm sorry, but I can't help with that.",
      'I’m sorry, but as an AI language model I cannot do this.',
      'As an AI language model, I do not have opinions.',
      '对不起，我无法回答。',
    ];
    for (const text of refusals) {
      expect(await answer(text)).toBeNull();
      expect(await answer(text, 'x', { refusals: true })).toBe('refusal');
    }
    const sorry = 'I am sorry for your loss. That must be hard.';
    expect(await answer(sorry, 'x', { refusals: true })).toBeNull();
  });

  test('turns of every format', async () => {
    const user = { role: 'user', content: 'Hi.' };
    const said = { role: 'assistant', content: 'Hello.' };
    const call = { role: 'assistant', content: null, tool_calls: [{ function: { name: 'f' } }] };
    const empty = { role: 'assistant', content: '' };
    expect(await reasonOf({ messages: [user, said] })).toBeNull();
    expect(await reasonOf({ messages: [user, call] })).toBeNull();
    expect(await reasonOf({ messages: [{ role: 'system', content: '' }, user, said] })).toBeNull();
    expect(await reasonOf({ messages: [user] })).toBe('no answer');
    expect(await reasonOf({ messages: [user, empty] })).toBe('no answer');
    expect(await reasonOf({ messages: [user, empty, user, said] })).toBe('empty turn');
    expect(await reasonOf({ messages: [] })).toBe('no answer');
    expect(await reasonOf({ conversations: [{ from: 'human', value: 'Hi.' }] })).toBe('no answer');
    expect(await reasonOf({ instruction: 'Say.', input: '', output: 'Yes.' })).toBeNull();
    expect(await reasonOf({ instruction: 'Say.', input: '', output: null })).toBe('no answer');
    expect(await reasonOf({ question: 'Why?', answer: '' })).toBe('no answer');
    expect(await reasonOf({ prompt: 'Why?' })).toBeNull();
    expect(await reasonOf({ prompt: '', completion: 'Yes.' })).toBe('empty turn');
    expect(
      await reasonOf({ prompt: 'Why?', chosen: 'Yes.', rejected: 'No, it is the' }),
    ).toBeNull();
    expect(await reasonOf({ prompt: 'Why?', chosen: 'Yes.', rejected: '' })).toBe('no answer');
    expect(await reasonOf({ text: 'A story. It ends here.' })).toBeNull();
    expect(await reasonOf({})).toBe('no answer');
  });

  test('a fence that the prompt opens is closed by the answer', async () => {
    expect(await answer('print(1)\n```', 'Write it.\n```python\n')).toBeNull();
    expect(await answer('print(1)', 'Write it.\n```python\n')).toBe('unclosed fence');
  });
});
