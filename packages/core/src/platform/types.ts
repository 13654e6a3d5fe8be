/**
 * What Attune asks of the system that it runs on: files, paths, hashes, the process. `#platform` is
 * one of two modules with these functions: `node.ts` in Node, `web.ts` where a bundler asks for
 * the condition `browser`. Every other file is the same in both.
 */
export interface Platform {
  // Files

  /** The file as text, in UTF-8. */
  readFile(path: string, encoding: 'utf8'): Promise<string>;
  /** Replaces the file. @param options `wx` refuses one that is there */
  writeFile(path: string, data: string | Uint8Array, options?: { flag?: 'wx' }): Promise<void>;
  appendFile(path: string, data: string | Uint8Array): Promise<void>;
  copyFile(from: string, to: string): Promise<void>;
  /** @param flags as of `fopen`, or `READ_WITHOUT_WAITING` */
  open(path: string, flags: OpenFlags): Promise<FileHandle>;
  /** The bytes of a file in parts, in their order. */
  readParts(path: string): AsyncIterable<Uint8Array>;
  /** Follows links. */
  stat(path: string): Promise<FileStats>;
  /** Does not follow links: a link is what it tells about. */
  lstat(path: string): Promise<FileStats>;
  /** A second name of a file. */
  link(path: string, name: string): Promise<void>;
  symlink(target: string, path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  rm(path: string, options?: { recursive?: boolean; force?: boolean }): Promise<void>;
  /** Sets when a file was read and written last. */
  utimes(path: string, read: Date, written: Date): Promise<void>;

  // Folders

  mkdir(path: string, options?: { recursive?: boolean }): Promise<unknown>;
  readdir: ReadFolder;
  /** Free blocks of the disk that a path lies on, and their size in bytes. */
  statfs(path: string): Promise<{ readonly bavail: number; readonly bsize: number }>;
  /** The folder in which Hugging Face's libraries keep what they fetched. */
  hubCacheFolder(): string;
  /** Relative paths begin here. */
  currentFolder(): string;

  // Paths

  join(...parts: string[]): string;
  dirname(path: string): string;
  basename(path: string): string;
  relative(from: string, to: string): string;
  resolve(...parts: string[]): string;

  // Bytes

  createHash(name: 'sha1' | 'sha256'): Hash;
  isUtf8(bytes: Uint8Array): boolean;

  // The process

  /** The name of this machine. */
  hostname(): string;
  /** Whether there is a process of that number. One that may not be asked counts. */
  isProcessAlive(id: number): boolean;
  /** When the process began, in the system's own ticks; null where the system does not say. */
  processStart(id: number): Promise<string | null>;
  /** Calls `listener` when the system asks the process to end. @returns what takes it off again */
  onEndSignal(listener: (signal: EndSignal) => void): () => void;
  /** Ends a wait without keeping the process alive for it. @returns what takes the timer off */
  afterMs(milliseconds: number, fn: () => void): () => void;
  /** Runs `fn` after what the event loop holds now. */
  nextTurn(fn: () => void): void;
  /** Whether standard output is a terminal with colours; knows NO_COLOR and TERM=dumb. */
  outputHasColors(): boolean;
}

/** What is known of the system when the module is loaded. */
export interface PlatformFacts {
  /** Between the parts of a path. */
  readonly sep: '/' | '\\';
  /** The number of this process. */
  readonly processId: number;
  /** Most UTF-16 units of a text. */
  readonly maxStringLength: number;
  /** Flags that read a file, and of a pipe without a writer do not wait for one for ever. */
  readonly READ_WITHOUT_WAITING: OpenFlags;
  readonly standardOutput: OutputStream;
  readonly standardError: OutputStream;
}

export type EndSignal = 'SIGINT' | 'SIGTERM';

/**
 * `r` reads, `r+` reads and writes, `w` replaces, `wx` refuses a file that is there, `a` appends.
 */
export type OpenFlags = 'r' | 'r+' | 'w' | 'wx' | 'a' | number;

export interface FileHandle {
  /** @param position null or none: after what was read last */
  read(
    target: Uint8Array,
    offset: number,
    length: number,
    position?: number | null,
  ): Promise<{ readonly bytesRead: number }>;
  write(
    bytes: Uint8Array,
    offset: number,
    length: number,
  ): Promise<{ readonly bytesWritten: number }>;
  /** All of it, after what was written last. */
  writeFile(data: string | Uint8Array): Promise<void>;
  stat(): Promise<FileStats>;
  /** Waits until the disk has it. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface FileStats {
  /** Bytes. */
  readonly size: number;
  /** When it was written last, in milliseconds since 1970. */
  readonly mtimeMs: number;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
  isFIFO(): boolean;
  isSocket(): boolean;
}

export interface FolderEntry {
  readonly name: string;
  isFile(): boolean;
  isDirectory(): boolean;
}

export interface ReadFolder {
  (path: string, options?: { readonly recursive?: boolean }): Promise<string[]>;
  (path: string, options: { readonly withFileTypes: true }): Promise<FolderEntry[]>;
}

export interface Hash {
  update(data: string | Uint8Array): this;
  digest(encoding: 'hex'): string;
}

/** An error of the operating system, as Node's file functions throw it. */
export interface SystemError extends Error {
  /** `ENOENT`, `EACCES`, ... */
  readonly code?: string;
  readonly syscall?: string;
  readonly path?: string;
}

/** A stream of text that may be a terminal: standard output and standard error. */
export interface OutputStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}
