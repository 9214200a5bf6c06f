/** A command with its settings in a file, run in this process. */
import { readCall } from 'alignbook/dist/commands/program';

/**
 * @param config the file.
 * @param onLine receives each line as it is printed.
 * @returns what the command printed.
 */
export async function printedBy(
  name: string,
  config: string,
  onLine: (line: string) => void = () => undefined,
): Promise<string> {
  const { log } = console;
  let printed = '';
  console.log = (text: string) => {
    printed += `${text}\n`;
    onLine(text);
  };
  try {
    const { command, values } = readCall([name, '--config', config])!;
    await (await command.load()).run(values);
  } finally {
    console.log = log;
  }
  return printed;
}
