import { roleOf } from '@attune/core/text';
import { briefly, isPlainObject } from '@attune/core/util';
import { z } from 'zod';

/** Roles that chat templates know; "function" and "ipython" are those of older ones. */
const ROLES = ['system', 'developer', 'user', 'assistant', 'tool', 'function', 'ipython'];
const roles: ReadonlySet<unknown> = new Set(ROLES);

/** What an issue carries, so that rows with one odd role are counted together. */
export interface RoleIssue {
  readonly role: string;
}

/** What a message may say beside its content, or without it. */
const SAYINGS = ['tool_calls', 'function_call', 'reasoning_content', 'thinking', 'reasoning'];

/** What is wrong within a message, and where. */
interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly params?: RoleIssue;
}

type Message = Readonly<Record<string, unknown>>;

const found = (value: unknown): string => (value === undefined ? 'not given' : briefly(value, 60));

function roleIssue(name: 'role' | 'from', role: unknown): Issue | null {
  const path = [name];
  if (typeof role !== 'string')
    return { path, message: `is ${found(role)}; expected who speaks, as text` };
  if (name === 'role' && roles.has(role)) return null;
  const known = roleOf(role);
  if (known === null)
    return {
      path,
      message: `is ${briefly(role)}, no role that is in use; expected ${ROLES.join(', ')}`,
      params: { role },
    };
  if (name === 'from') return null;
  return {
    path,
    message: `is ${briefly(role)}, another name of "${known}"; convertTo: 'messages' maps it`,
  };
}

/** Text, parts, or an object: what a tool answered. */
const isContent = (value: unknown): boolean =>
  typeof value === 'string' ||
  isPlainObject(value) ||
  (Array.isArray(value) && value.every((part) => typeof part === 'string' || isPlainObject(part)));

function contentIssue(message: Message): Issue | null {
  const content = message.content ?? message.value;
  if (content == null) {
    // A null that is written is an empty turn; where nothing is written, nothing is said.
    if (message.content === null || message.value === null) return null;
    if (SAYINGS.some((key) => message[key] != null)) return null;
  } else if (isContent(content)) return null;
  const name = message.content == null && ('value' in message || 'from' in message);
  return {
    path: [name ? 'value' : 'content'],
    message: `is ${found(content)}; expected text, or a list of parts`,
  };
}

function callIssue({ tool_calls: calls }: Message): Issue | null {
  if (calls == null) return null;
  if (!Array.isArray(calls))
    return { path: ['tool_calls'], message: `is ${found(calls)}; expected a list of calls` };
  const wrong = calls.findIndex((call: unknown) => {
    const called: unknown = isPlainObject(call) ? (call.function ?? call) : null;
    return !isPlainObject(called) || typeof called.name !== 'string';
  });
  if (wrong < 0) return null;
  return {
    path: ['tool_calls', wrong],
    message: `is ${found(calls[wrong])}; expected { type: 'function', function: { name, arguments } }`,
  };
}

function issuesOf(message: unknown): (Issue | null)[] {
  if (!isPlainObject(message))
    return [{ path: [], message: `is ${found(message)}; expected { role, content }` }];
  const name = message.role == null && 'from' in message ? 'from' : 'role';
  return [roleIssue(name, message[name]), contentIssue(message), callIssue(message)];
}

/** A list of messages, { role, content } or { from, value }. */
export const messagesSchema: z.ZodType<readonly unknown[]> = z
  .custom<readonly unknown[]>()
  .superRefine((value: unknown, context) => {
    if (!Array.isArray(value) || value.length === 0) {
      const isJson = typeof value === 'string' && /^\s*\[\s*\{/.test(value);
      const hint = isJson ? "; it is JSON as text, which convertTo: 'messages' reads" : '';
      const message = `is ${found(value)}; expected a list of messages${hint}`;
      return context.addIssue({ code: 'custom', message });
    }
    for (let i = 0; i < value.length; i++)
      for (const issue of issuesOf(value[i]))
        if (issue) context.addIssue({ code: 'custom', ...issue, path: [i, ...issue.path] });
  });
