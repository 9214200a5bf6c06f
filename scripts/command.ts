/**
 * The frame of a script that is called with options: exit status 2, with the usage, where they are wrong; 1 where the
 * work fails.
 */
export async function command<Options>(
  usage: string,
  parse: () => Options | null,
  main: (options: Options) => Promise<void>,
): Promise<void> {
  let options: Options | null;
  try {
    options = parse();
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`);
    process.exitCode = 2;
    return;
  }
  if (options === null) return console.log(usage);
  try {
    await main(options);
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode ||= 1;
  }
}
