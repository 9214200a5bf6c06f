/**
 * The frame of a script's command line: exit status 2, with the usage, if the options are wrong; 1 if the work fails.
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
