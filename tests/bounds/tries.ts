/**
 * Tries: inputs that are wrong in one way each, and what must come of them. A try passes where it succeeds, if it may,
 * or ends with one
 * line of an error that the library made for it, in time. Each area ends with a line of how many there were, and fails
 * with all that did not.
 */
import assert from 'node:assert/strict';

export interface Try {
  readonly name: string;
  /** What is asked of the library. */
  run(): unknown;
  /** Whether it may also succeed: what is sent is odd, and can be read. */
  readonly mayPass?: boolean;
  /** What the message says. */
  readonly says?: RegExp;
}

/** The library's own errors; any other is one that nobody thought of. */
const OWN = ['FileError', 'HubError', 'InputError', 'SetupError', 'UsageError'];
/** Milliseconds, the retries of a download among them. */
const LONGEST = 15_000;

async function outcome({ run, mayPass = false, says }: Try): Promise<string | undefined> {
  let late: NodeJS.Timeout | undefined;
  const timeout = new Promise(
    (_, reject) => (late = setTimeout(() => reject(new Error(`has not ended after ${LONGEST / 1000} s`)), LONGEST)),
  );
  try {
    await Promise.race([Promise.resolve().then(run), timeout]);
    return mayPass ? undefined : 'was taken for right';
  } catch (error) {
    const { name, message, stack } = error as Error;
    if (!OWN.includes(name)) return `${stack?.split('\n').slice(0, 3).join(' | ')}`;
    if (/\n/.test(message)) return `more than one line: ${message}`;
    if (message.length > 1000) return `a message of ${message.length} characters`;
    return says === undefined || says.test(message) ? undefined : `says: ${message}`;
  } finally {
    clearTimeout(late);
  }
}

/** Runs all tries of an area, one after the other. */
export async function runTries(area: string, tries: readonly Try[], atLeast: number): Promise<void> {
  assert.equal(new Set(tries.map(({ name }) => name)).size, tries.length, 'names tell tries apart');
  assert.ok(tries.length >= atLeast, `${tries.length} tries`);
  const faults: string[] = [];
  for (const one of tries) {
    const fault = await outcome(one);
    if (fault !== undefined) faults.push(`${one.name}: ${fault}`);
  }
  console.log(
    `${area.padEnd(12)}${String(tries.length).padStart(5)} tries ${String(faults.length).padStart(4)} faults`,
  );
  assert.equal(faults.join('\n'), '');
}
