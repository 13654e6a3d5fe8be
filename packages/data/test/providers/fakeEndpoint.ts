import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { LLMRequest } from '@attune/data';

/** A request as the endpoint saw it. */
export interface SeenRequest {
  readonly body: Record<string, unknown> & { readonly messages: LLMRequest['messages'] };
  readonly headers: IncomingMessage['headers'];
  readonly url: string;
  /** How many came before it. */
  readonly index: number;
  readonly atMs: number;
}

export type Respond = (seen: SeenRequest, response: ServerResponse) => unknown;

export interface FakeEndpoint extends AsyncDisposable {
  readonly baseUrl: string;
  readonly seen: SeenRequest[];
  /** Most requests that were under way at once. */
  readonly mostAtOnce: number;
}

/** An endpoint in this process that answers as a test says, well or badly. */
export async function fakeEndpoint(respond: Respond): Promise<FakeEndpoint> {
  const seen: SeenRequest[] = [];
  let active = 0;
  let mostAtOnce = 0;
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => {
      text += chunk;
    });
    request.on('end', () => {
      active++;
      mostAtOnce = Math.max(mostAtOnce, active);
      response.on('close', () => active--);
      const one: SeenRequest = {
        body: JSON.parse(text),
        headers: request.headers,
        url: request.url ?? '',
        index: seen.length,
        atMs: performance.now(),
      };
      seen.push(one);
      void respond(one, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    baseUrl: `http://127.0.0.1:${port}/v1`,
    seen,
    get mostAtOnce() {
      return mostAtOnce;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export const json = (
  response: ServerResponse,
  value: unknown,
  status = 200,
  headers: Record<string, string> = {},
) =>
  response
    .writeHead(status, { 'content-type': 'application/json', ...headers })
    .end(JSON.stringify(value));

/** A completion as OpenAI gives it. */
export const completion = (texts: string | readonly string[], more: object = {}) => ({
  id: 'x',
  model: 'tiny-1',
  choices: [texts].flat().map((content, index) => ({
    index,
    message: { role: 'assistant', content },
    finish_reason: 'stop',
  })),
  usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 },
  ...more,
});

/** The last user's words of a request. */
export const asked = ({ body }: SeenRequest): string => body.messages.at(-1)!.content;
