/**
 * Names of who speaks, as data sets have them, by the role that chat templates know. Written in
 * lower case; "Human" is "human".
 */
const NAMES = {
  user: ['user', 'human', 'prompter', 'question', 'instruction', 'person', 'customer'],
  assistant: [
    ...['assistant', 'gpt', 'bot', 'model', 'ai', 'llm', 'agent', 'response', 'answer'],
    ...['chatgpt', 'gpt-3.5', 'gpt-3.5-turbo', 'gpt-4', 'gpt3', 'gpt4', 'chatbot', 'chatglm'],
    ...['bing', 'bard', 'gemini', 'llama', 'vicuna', 'alpaca', 'mistral', 'qwen'],
    ...['function_call', 'function-call', 'tool_call', 'tool-call'],
  ],
  system: ['system', 'system_prompt', 'system-prompt', 'sys'],
  developer: ['developer'],
  tool: [
    ...['tool', 'observation', 'function', 'ipython', 'environment'],
    ...['function_response', 'function-response', 'function_result'],
    ...['tool_response', 'tool-response', 'tool_result', 'tool-result'],
  ],
} as const;

/** A role that chat templates know. */
export type ChatRole = keyof typeof NAMES;

const roles: ReadonlyMap<string, ChatRole> = new Map(
  Object.entries(NAMES).flatMap(([role, names]) =>
    names.map((name) => [name, role as ChatRole] as const),
  ),
);

/**
 * The role that a data set's name of a speaker stands for: "human" is "user", "gpt" is "assistant",
 * "observation" is "tool".
 *
 * @returns null for a name that is not in use
 */
export const roleOf = (speaker: string): ChatRole | null =>
  roles.get(speaker) ?? roles.get(speaker.trim().toLowerCase()) ?? null;

/** Every name that {@link roleOf} knows. */
export const ROLE_NAMES: readonly string[] = [...roles.keys()];
