/** `alignbook chat`: a conversation with a model, in a terminal or through a pipe. */
import { FileError, HubError, InputError, quoted } from '../errors';
import { didYouMean } from '../nearest';
import { printable } from '../notebook/textColumns';
import { withDefaults, type OptionsOf } from '../training/declare';
import { ChatSession } from './chatSession';
import { chatSettings } from './commandSettings';
import { Speaker } from './speaker';
import { requireStops, statusLine } from './terminal';
import { HINT, pipedLines, terminalLines } from './typedLines';

const COMMANDS = {
  '/compare': 'MODEL  answer the last question with MODEL as well, and show both',
  '/reset': '         forget the conversation',
  '/help': '          show this list',
  '/exit': '          end; so do Ctrl-D, and Ctrl-C twice',
} as const;
const HELP = [
  ...Object.entries(COMMANDS).map(([name, does]) => `${name} ${does}`),
  'Ctrl-C stops an answer. A line that begins with a space is always a question.',
].join('\n');
/** Columns of a comparison, if the terminal has as many. */
const WIDTH = 80;

export async function run(settings: OptionsOf<typeof chatSettings>): Promise<void> {
  const { model: name, history: isKept, ...sampling } = withDefaults(settings, chatSettings);
  requireStops(sampling.stop);
  const { stdin, stdout } = process;
  const isTerminal = Boolean(stdin.isTTY && stdout.isTTY);
  const speaker = await opened(name);
  const history = isKept ?? speaker.hasTemplate;
  tell(speaker.rendering);
  tell(history ? 'the model sees the earlier turns' : 'each question stands alone; --history shows the earlier turns');
  if (isTerminal) console.error('/help lists the commands; Ctrl-D ends.\n');

  const session = new ChatSession(speaker, { ...sampling, history });
  const lines = isTerminal ? terminalLines() : pipedLines();
  try {
    for (let line = await lines.next(); line !== undefined; line = await lines.next()) {
      if (line.trim() === '') continue;
      if (line.trim() === '/exit') break;
      const interruption = new AbortController();
      const interrupt = (): void => interruption.abort();
      if (isTerminal) process.on('SIGINT', interrupt);
      try {
        await respond(session, line, interruption.signal);
      } catch (error) {
        if (![FileError, HubError, InputError].some((kind) => error instanceof kind)) throw error;
        console.error(`alignbook: ${(error as Error).message}`);
        if (!isTerminal) process.exitCode = 1;
      } finally {
        process.off('SIGINT', interrupt);
      }
      if (interruption.signal.aborted) {
        console.error(HINT);
        lines.stopped();
      }
      if (isTerminal) stdout.write('\n');
    }
  } finally {
    session.dispose();
  }
}

/** Carries out a command, or answers a question. @throws InputError, FileError or HubError if that is not possible. */
async function respond(session: ChatSession, line: string, signal: AbortSignal): Promise<void> {
  const { stdout } = process;
  if (!line.startsWith('/')) {
    const shown = (text: string): string => (stdout.isTTY ? printable(text) : text);
    const remarks = await session.ask(line.trim(), { signal, onText: (text) => stdout.write(shown(text)) });
    stdout.write('\n');
    return remarks.forEach(tell);
  }
  const [command = ''] = line.trim().split(/\s/);
  const argument = line.trim().slice(command.length).trim();
  if (command === '/compare') {
    if (argument === '') throw new InputError('/compare needs a model: tiny, a hub name, or a folder');
    const width = Math.min(WIDTH, stdout.columns || WIDTH);
    const color = Boolean(stdout.isTTY) && stdout.hasColors();
    const { lines, remarks } = await session.compare(argument, { width, color, signal });
    for (const each of lines) stdout.write(`${each}\n`);
    return remarks.forEach(tell);
  }
  if (!Object.hasOwn(COMMANDS, command))
    throw new InputError(
      `there is no command ${quoted(command)}${didYouMean(command, Object.keys(COMMANDS)) || '; /help lists them'}`,
    );
  if (argument !== '') throw new InputError(`${command} takes nothing after it, got ${quoted(argument)}`);
  if (command === '/reset') session.reset();
  else stdout.write(`${HELP}\n`);
}

const tell = (remark: string): void => console.error(`(${remark})`);

async function opened(name: string): Promise<Speaker> {
  statusLine(`opening ${name} …`);
  try {
    return await Speaker.fromPretrained(name);
  } finally {
    statusLine('');
  }
}
