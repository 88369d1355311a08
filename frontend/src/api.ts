// What the server says: see /api/v1/openapi.json.

export type BuildStatus = "running" | "completed" | "error" | "canceled";

export interface Build {
  ref: string;
  name: string;
  context: string;
  dockerfile: string;
  target: string | null;
  platform: string | null;
  tags: string[];
  buildArgs: { name: string; value: string | null }[];
  status: BuildStatus;
  error: string | null;
  createdAt: string;
  completedAt: string | null;
  durationMs: number;
  image: string | null;
  names: string[];
  network: string | null;
  noCache: boolean;
  trigger: Trigger | null;
  steps: { total: number; completed: number; cached: number };
  source?: string | null;
}

/** Who asked for a build, where, and in which words. */
export interface Trigger {
  command: string[];
  directory: string;
  user: string;
}

export interface Attestation {
  predicateType: string;
  places: string[];
  /** Of a list of packages there is none: the image has it. */
  predicate: unknown;
}

/** The part of a document in SPDX that is shown. */
export interface Packages {
  packages: { SPDXID: string; name: string; versionInfo?: string; sourceInfo?: string; licenseDeclared?: string }[];
}

export interface Amount {
  files: number;
  bytes: number;
}

export interface ImageRow {
  id: string;
  tags: string[];
  digests: string[];
  platform: string;
  createdAt: string;
  size: number;
  containers: number;
}

export interface Layer {
  diffId: string;
  size: number;
  compressed: number | null;
  createdBy: string;
  added: Amount;
  replaced: Amount;
  removed: Amount;
  hidden: number;
}

export interface Image {
  id: string;
  tags: string[];
  platform: string;
  createdAt: string;
  size: number;
  config: { config?: Record<string, unknown> };
  history: { createdAt: string | null; createdBy: string; size: number; comment: string }[];
  layers: Layer[];
  visible: Amount;
  wasted: number;
  largest: { path: string; size: number; layer: number }[];
  worst: { path: string; wasted: number; layers: number[] }[];
}

export type Change = "added" | "changed" | "removed" | "same";

export interface FileEntry {
  name: string;
  type: string;
  change: Change;
  size: number;
  files: number;
  hides: number;
}

/** The document of `bld diff --format json`, in its spelling. */
export interface Diff {
  Before: DiffImage;
  After: DiffImage;
  Same: boolean;
  Fields: { Path: string; Before: unknown; After: unknown }[];
  Layers: { Status: Change | "replaced"; Before: DiffLayer | null; After: DiffLayer | null }[];
  Files: DiffFile[];
}

export interface DiffImage {
  Id: string;
  Name: string | null;
  Platform: string;
}

export interface DiffLayer {
  Index: number;
  DiffID: string;
  Size: number;
  CreatedBy: string;
}

export interface DiffFile {
  Path: string;
  Status: Change;
  Changed: string[];
  Before: DiffNode | null;
  After: DiffNode | null;
  /** Of one path that was asked for. */
  Text?: { Kind: "unified" | "binary" | "large"; Diff?: string; OmittedLines?: number };
}

export interface DiffNode {
  Type: string;
  Mode: string;
  Uid: number;
  Gid: number;
  Size: number;
  ModTime: string;
  Target?: string;
}

export interface Container {
  id: string;
  name: string;
  image: string;
  imageId: string;
  command: string[];
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
  status: string;
  health: string | null;
  exitCode: number;
  error: string;
  oomKilled: boolean;
  restarts: number;
  ports: { port: number; protocol: string; host: string }[];
  tty: boolean;
  mounts?: { target: string; [key: string]: unknown }[];
  networks?: Record<string, unknown>;
}

export interface Stats {
  cpuPercent: number;
  memoryBytes: number;
  memoryLimit: number;
  netRx: number;
  netTx: number;
  ioRead: number;
  ioWrite: number;
  pids: number;
}

export interface Volume {
  name: string;
  labels: Record<string, string>;
  createdAt: string;
  anonymous: boolean;
  mountpoint: string;
  size: number;
  usedBy: string[];
}

export interface Network {
  id: string;
  name: string;
  driver: string;
  subnet: string | null;
  gateway: string | null;
  internal: boolean;
  predefined: boolean;
  labels: Record<string, string>;
  usedBy: string[];
}

export interface DiskEntry {
  id: string;
  kind: string;
  description: string;
  createdAt: string;
  usedAt: string | null;
  size: number;
  inUse: boolean;
  shared: boolean;
}

export interface Disk {
  total: number;
  reclaimable: number;
  kinds: { kind: string; count: number; size: number }[];
  entries: DiskEntry[];
}

export interface Pruned {
  total: number;
  entries: DiskEntry[];
}

export interface About {
  version: string;
  readOnly: boolean;
  root: string;
  hostname: string;
}

const BASE = "/api/v1";

/** Why the server did not do what was asked. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

async function request(path: string, options: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(BASE + path, options);
  } catch {
    throw new ApiError("unreachable", "");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new ApiError(body.error?.code ?? "failed", body.error?.message ?? response.statusText);
}

/** A document. */
export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await request(path, { signal: signal ?? null })).json();
}

/** Changes something. */
export async function send(method: "POST" | "DELETE", path: string, body?: unknown): Promise<unknown> {
  const options: RequestInit = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "content-type": "application/json" };
  }
  const response = await request(path, options);
  return response.status === 204 ? null : response.json();
}

/** The address of a WebSocket. */
export function address(path: string): string {
  return `${location.origin.replace(/^http/, "ws")}${BASE}${path}`;
}

interface Told {
  event: string;
  id: number | null;
  data: never;
}

/**
 * Listens to events by name until the returned function is called. What breaks off is asked for again: from
 * the last event on if they have numbers, else from the beginning, and then `anew` is called before. `lost`
 * is told when nobody answers, and when somebody does again.
 */
export function listen(
  path: string,
  handlers: Record<string, (data: never) => void>,
  anew?: () => void,
  lost?: (is: boolean) => void,
): () => void {
  let socket: WebSocket;
  let timer = 0;
  let over = false;
  let heard: number | null = null;
  let wait = 500;
  const open = (again: boolean) => {
    socket = new WebSocket(address(heard === null ? path : `${path}?after=${heard}`));
    socket.onopen = () => {
      wait = 500;
      lost?.(false);
      if (again && heard === null) anew?.();
    };
    socket.onmessage = ({ data }: MessageEvent<string>) => {
      for (const { event, id, data: document } of JSON.parse(data) as Told[]) {
        if (id !== null) heard = id;
        // The last word.
        if (event === "end" || event === "failed") over = true;
        handlers[event]?.(document);
      }
    };
    socket.onclose = () => {
      if (over) return;
      // Once is a moment's break.
      if (wait > 500) lost?.(true);
      timer = setTimeout(open, wait, true);
      wait = Math.min(wait * 2, 15_000);
    };
  };
  open(false);
  return () => {
    over = true;
    clearTimeout(timer);
    socket.close();
  };
}

/** A part of an address. */
export const part = encodeURIComponent;
