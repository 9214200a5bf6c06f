/**
 * Downloads one file from the hub into the cache. An interrupted download resumes where it stopped, and the bytes are
 * verified before the file gets its name.
 */
import { randomBytes } from 'node:crypto';
import { constants, copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { open, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { HubError } from '../errors';
import { withLock } from '../processes';
import { hasEtag } from './cache';
import { amount, TooLarge, type Connection, type Subject } from './connection';
import type { OnProgress } from './progress';
import { Passing } from './refusal';

export interface RemoteFile {
  /** Path below the endpoint, such as /gpt2/resolve/<commit>/model.safetensors. */
  readonly path: string;
  readonly subject: Subject & { readonly file: string };
  /** The sha256 of a large file, or git's sha1 of a small one, in hexadecimal (64 or 40 digits). */
  readonly etag: string;
  /** Size in bytes; null if the hub does not state it. */
  readonly size: number | null;
}

/**
 * Creates `blobs/<etag>` unless it exists. The bytes go to a file that no other process writes to,
 * `blobs/<etag>.alignbook-<random>.incomplete` (Python uses similar names, and `hf cache` lists and removes both).
 * After a failure the file remains, and the next attempt, by this process or another, copies it and requests only the
 * rest.
 *
 * @param lock the path of the lock.
 * @throws HubError if the file cannot be downloaded, or if its bytes do not match the hash that the hub lists.
 */
export async function fetchBlob(
  blobs: string,
  lock: string,
  remote: RemoteFile,
  connection: Connection,
  onProgress: OnProgress,
): Promise<void> {
  const blob = join(blobs, remote.etag);
  if (isWhole(blob, remote)) return;
  mkdirSync(blobs, { recursive: true });
  const { file, repository } = remote.subject;
  const most = mostOf(remote.subject, connection);
  const another =
    remote.subject.kind === 'dataset'
      ? `and at most ${amount(most)} of one file are downloaded: download it with Python's hf, and give the file`
      : `but no GPT-2's has more than ${amount(most)}: name another model, or check HF_ENDPOINT`;
  if (remote.size !== null && remote.size > most)
    throw new TooLarge(`${file} of "${repository}" has ${amount(remote.size)} according to the hub, ${another}`);
  const wait = (pause: string) => onProgress({ file, received: 0, total: remote.size, pause });
  await withLock(
    lock,
    async () => {
      if (isWhole(blob, remote)) return; // another process downloaded it while we waited
      const partial = join(blobs, `${remote.etag}.alignbook-${randomBytes(4).toString('hex')}.incomplete`);
      try {
        adopt(blobs, remote.etag, partial);
        await checkSpace(partial, remote);
        // Try twice: bytes kept from an earlier attempt may be damaged, but a fresh download must match.
        if (
          !(await receive(partial, remote, connection, onProgress)) &&
          !(await receive(partial, remote, connection, onProgress))
        ) {
          throw new HubError(
            `${file} of "${remote.subject.repository}" was downloaded twice, each time with bytes that do not match ` +
              `the hash that the hub lists (${remote.etag}): a proxy or a mirror may be changing it; ` +
              'try again, or use another network or HF_ENDPOINT',
          );
        }
        renameSync(partial, blob);
        await sync(blobs);
      } catch (error) {
        if (error instanceof TooLarge || statSync(partial, { throwIfNoEntry: false })?.size === 0)
          rmSync(partial, { force: true });
        if ((error as NodeJS.ErrnoException).code === 'EFBIG')
          throw new HubError(
            `${file} exceeds the largest file size that is allowed here (EFBIG): raise the limit, with "ulimit ` +
              '-f unlimited", or set HF_HOME to a folder on another disk',
            { cause: error },
          );
        throw isDiskFull(error) ? new HubError(noSpace(file, remote.size ?? 0, 0, blobs), { cause: error }) : error;
      }
    },
    (pid) => wait(`waiting for process ${pid}, which downloads it`),
  );
}

/** Maximum size of a file in bytes, whatever size the hub states. */
const mostOf = ({ file, kind }: RemoteFile['subject'], { bounds }: Connection): number => {
  if (kind === 'dataset') return file === 'README.md' ? bounds.list : bounds.data;
  return file.endsWith('.safetensors') ? bounds.weights : bounds.file;
};

/** Compares only the size, as Python does. Readers check the contents later, as far as their format allows. */
function isWhole(blob: string, { size }: RemoteFile): boolean {
  return existsSync(blob) && (size === null || statSync(blob).size === size);
}

/**
 * Continues from what an earlier attempt left. It works on a copy, because the earlier writer may still be alive (see
 * `withLock`); that writer then continues in a file that no longer has a name.
 */
function adopt(blobs: string, etag: string, partial: string): void {
  const left = readdirSync(blobs)
    .filter((name) => name.startsWith(`${etag}.alignbook-`))
    .map((name) => join(blobs, name))
    .sort((a, b) => statSync(b).size - statSync(a).size);
  if (left[0] !== undefined) copyFileSync(left[0], partial, constants.COPYFILE_FICLONE);
  for (const path of left) rmSync(path);
}

/** Downloads the missing bytes. Returns false and discards everything if the bytes do not match the listed hash. */
async function receive(
  partial: string,
  remote: RemoteFile,
  connection: Connection,
  onProgress: OnProgress,
): Promise<boolean> {
  const { size, subject, path } = remote;
  const file = await open(partial, 'a+');
  try {
    let received = (await file.stat()).size;
    let furthest = received; // over all attempts: a storage host that ignores ranges starts over each time
    let before = received;
    const report = (pause?: string) =>
      onProgress({ file: subject.file, received, total: size, ...(pause !== undefined && { pause }) });
    const restart = async () => {
      await file.truncate(0);
      received = 0;
    };

    const attempt = async () => {
      before = furthest;
      // without a size, we cannot know where to resume, or when the file is complete
      if (size === null || received > size) await restart();
      if (received === size) return;
      await connection.request(
        path,
        subject,
        async (answer, bytes) => {
          if (received > 0 && !continues(answer, received)) await restart();
          for await (const chunk of bytes) {
            await file.appendFile(chunk);
            received += chunk.length;
            furthest = Math.max(furthest, received);
            if (size !== null && received > size) return; // too many bytes: the check below reports it
            report();
          }
          if (size !== null && received < size)
            throw new Passing(`the download of ${subject.file} ended at byte ${received} of ${size}`);
        },
        { most: mostOf(subject, connection), ...(received > 0 && { range: `bytes=${received}-` }) },
      );
    };
    report();
    await connection.persist(attempt, { tell: report, progressed: () => furthest > before });
    await file.sync();
    if (hasEtag(partial, remote.etag)) return true;
    await restart();
    return false;
  } finally {
    await file.close();
  }
}

/** Whether a response starts at the requested byte; a storage host may send the whole file instead. */
function continues({ status, headers }: Response, from: number): boolean {
  return status === 206 && headers.get('content-range')?.startsWith(`bytes ${from}-`) === true;
}

/** A rename reaches the disk when its folder does. */
async function sync(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}

async function checkSpace(partial: string, { size, subject }: RemoteFile): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(partial));
  const needed = (size ?? 0) - (statSync(partial, { throwIfNoEntry: false })?.size ?? 0);
  if (needed > bavail * bsize) throw new HubError(noSpace(subject.file, needed, bavail * bsize, dirname(partial)));
}

function noSpace(file: string, needed: number, free: number, folder: string): string {
  const megabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
  return (
    `${file} needs ${megabytes(needed)} more, and ${folder} has ${megabytes(free)} free: make room, or set HF_HOME ` +
    'to a folder on another disk'
  );
}

function isDiskFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(String((error as NodeJS.ErrnoException).code));
}
