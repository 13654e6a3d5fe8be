import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * A local server with one repository that speaks as much of the Hub's protocol as fetching needs.
 */
export interface HubServer extends AsyncDisposable {
  readonly url: string;
  /** "GET /owner/name/resolve/main/config.json bytes=0-0" */
  readonly requests: string[];
  readonly sha: string;
  /** The next body of this file stops after so many bytes; once each. */
  breakOnce: Map<string, number>;
  /**
   * Breaks the connection that stopped: once the other side has got what was sent, or it would be
   * lost.
   */
  cut(): void;
  /** Content that differs from the hash that is listed. */
  corrupt: Set<string>;
  /** Bearer token that the repository asks for. */
  token: string | null;
  /** Answers in the place of the server where it returns true. */
  answer: ((request: IncomingMessage, response: ServerResponse) => boolean) | null;
}

export interface HubServerOptions {
  readonly repo: string;
  readonly files: Readonly<Record<string, Uint8Array>>;
  /** Files at least so large are listed as large files, by their sha256. Default 1000. */
  readonly largeFrom?: number;
  readonly revisions?: readonly string[];
}

export async function serveHub(options: HubServerOptions): Promise<HubServer> {
  const { repo, files, largeFrom = 1000, revisions = ['main'] } = options;
  const sha = createHash('sha1')
    .update(JSON.stringify(Object.keys(files)))
    .digest('hex');
  const known = [...revisions, sha];
  const entries = Object.entries(files).map(([path, content]) => {
    const oid = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
    const large = createHash('sha256').update(content).digest('hex');
    return {
      type: 'file',
      path,
      size: content.length,
      oid,
      ...(content.length >= largeFrom && {
        lfs: { oid: large, size: content.length, pointerSize: 134 },
      }),
    };
  });
  const hub = {
    requests: [] as string[],
    sha,
    breakOnce: new Map<string, number>(),
    cut: () => {},
    corrupt: new Set<string>(),
    token: null as string | null,
    answer: null as HubServer['answer'],
  };

  const answer = (request: IncomingMessage, response: ServerResponse) => {
    const { pathname } = new URL(request.url!, 'http://local');
    const { range = '' } = request.headers;
    hub.requests.push(`${request.method} ${decodeURIComponent(pathname)} ${range}`.trim());
    if (hub.answer?.(request, response)) return;
    const fail = (status: number, code: string) =>
      response.writeHead(status, { 'x-error-code': code }).end(code);
    const json = (value: unknown) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    if (hub.token && request.headers.authorization !== `Bearer ${hub.token}`)
      return fail(401, 'RepoNotFound');
    const info = new RegExp(`^/api/models/${repo}/revision/(.+)$`).exec(pathname);
    const tree = new RegExp(`^/api/models/${repo}/tree/(.+)$`).exec(pathname);
    const file = new RegExp(`^/${repo}/resolve/([^/]+)/(.+)$`).exec(pathname);
    const revision = decodeURIComponent((info ?? tree ?? file)?.[1] ?? '');
    if (!known.includes(revision)) return fail(404, 'RevisionNotFound');
    if (info) return json({ _id: '1', id: repo, sha, private: false, gated: false });
    if (tree) return json(entries);
    const path = file![2]!;
    const content = files[path];
    if (!content) return fail(404, 'EntryNotFound');
    const [, from = '0', to] = /^bytes=(\d+)-(\d*)$/.exec(range) ?? [];
    const start = Number(from);
    const end = Math.min(to ? Number(to) + 1 : content.length, content.length);
    const body = Buffer.from(content.subarray(start, end));
    if (hub.corrupt.has(path) && body.length > 1) body[1]! ^= 1;
    response.writeHead(range ? 206 : 200, {
      etag: `"${'e'.repeat(40)}"`,
      'accept-ranges': 'bytes',
      'content-length': body.length,
      ...(range && { 'content-range': `bytes ${start}-${end - 1}/${content.length}` }),
    });
    const cut = hub.breakOnce.get(path);
    if (cut !== undefined && body.length > 1) {
      hub.breakOnce.delete(path);
      response.write(body.subarray(0, cut));
      hub.cut = () => void response.destroy();
      return;
    }
    response.end(body);
  };

  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return Object.assign(hub, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  });
}
