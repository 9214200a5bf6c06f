/** JupyterLab as people use it: the project's own, on loopback and with its token, in Debian's Chromium. */
import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { chromium, type Browser, type Page } from 'playwright-core';

import { root } from '../../scripts/paths';

/** What the browser works on: copies, which JupyterLab saves as it likes, and the pictures it takes. */
export const folder = join(root, '.alignbook', 'browser');
export const pictures = join(folder, 'pictures');

const CHROMIUM =
  process.env['CHROMIUM'] ??
  ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path));

/** @throws Error if there is no Chromium. */
export async function launch(): Promise<Browser> {
  if (CHROMIUM === undefined)
    throw new Error('no Chromium; install it (Debian, Ubuntu: apt install chromium), or set CHROMIUM to its path');
  return chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
}

/** A cell as nbformat has it: only code has outputs. */
type StoredCell = Omit<LabCell, 'outputs'> & Partial<Pick<LabCell, 'outputs'>>;

/** A cell of the open notebook. */
export interface LabCell {
  readonly cell_type: string;
  readonly execution_count: number | null;
  readonly source: string;
  /** Empty for a cell that is not code. */
  readonly outputs: readonly {
    readonly output_type: string;
    readonly name?: string;
    readonly text?: string;
    readonly ename?: string;
    readonly data?: Readonly<Record<string, unknown>>;
  }[];
}

/** A folder in which notebooks find the library and the data as in the project. */
function prepare(): void {
  rmSync(folder, { recursive: true, force: true });
  const settings = join(folder, 'settings', '@jupyterlab', 'notebook-extension');
  for (const path of [pictures, settings]) mkdirSync(path, { recursive: true });
  cpSync(join(root, 'notebooks'), join(folder, 'notebooks'), { recursive: true });
  symlinkSync(join(root, 'data'), join(folder, 'data'));
  // all cells in the page, seen or not
  writeFileSync(join(settings, 'tracker.jupyterlab-settings'), JSON.stringify({ windowingMode: 'none' }));
}

export class Lab {
  readonly #server: ChildProcess;
  readonly #browser: Browser;
  readonly #address: URL;

  private constructor(server: ChildProcess, browser: Browser, address: URL) {
    this.#server = server;
    this.#browser = browser;
    this.#address = address;
  }

  /** @throws Error if there is no Chromium, or JupyterLab does not come up. */
  static async start(): Promise<Lab> {
    prepare();
    const browser = await launch();
    const options = [
      '--no-browser',
      '--port=0',
      '--ServerApp.port_retries=0',
      '--ip=127.0.0.1',
      `--ServerApp.root_dir=${folder}`,
      '--LabApp.expose_app_in_browser=True',
      '--LabApp.collaborative=False',
    ];
    const env = {
      ...process.env,
      JUPYTERLAB_SETTINGS_DIR: join(folder, 'settings'),
      JUPYTERLAB_WORKSPACES_DIR: join(folder, 'workspaces'),
    };
    const server = spawn(process.execPath, [join(root, 'scripts', 'lab.mjs'), ...options], {
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    let said = '';
    const address = await new Promise<string>((found, fail) => {
      server.stderr.on('data', (chunk) => {
        said += chunk;
        const url = /http:\/\/127\.0\.0\.1:\d+\/\S*token=\w+/.exec(said);
        if (url) found(url[0]);
      });
      server.on('exit', (code) => fail(new Error(`JupyterLab ended with ${code}\n${said}`)));
    });
    return new Lab(server, browser, new URL(address));
  }

  /** @returns the notebook's page, with its kernel ready. */
  async open(path: string): Promise<LabPage> {
    const context = await this.#browser.newContext({ viewport: { width: 1200, height: 1000 } });
    const page = await context.newPage();
    const url = new URL(this.#address);
    // a workspace of its own: no tabs of others
    url.pathname = `/lab/workspaces/${path.replace(/\W+/g, '-')}/tree/${path}`;
    await page.goto(url.href);
    await page.waitForSelector('.jp-Notebook .jp-Cell', { timeout: 60_000 });
    const opened = new LabPage(page);
    await opened.waitFor((state) => state.kernel === 'idle', 60_000, 'the kernel was not ready');
    return opened;
  }

  async stop(): Promise<void> {
    await this.#browser.close();
    const ended = new Promise((done) => this.#server.once('exit', done));
    process.kill(-this.#server.pid!, 'SIGTERM'); // its kernels with it
    await ended;
  }
}

interface State {
  readonly kernel: string;
  readonly trusted: boolean;
  /** Whether the tab says that there is something to save. */
  readonly modified: boolean;
  readonly cells: readonly LabCell[];
}

export class LabPage {
  constructor(readonly page: Page) {}

  /** The model and the kernel's state, read in the page. */
  async state(): Promise<State> {
    return this.page.evaluate(() => {
      const { content, sessionContext } = (
        globalThis as unknown as {
          jupyterapp: {
            shell: {
              currentWidget: {
                content: {
                  model: { dirty: boolean; toJSON(): { cells: StoredCell[] }; cells: Iterable<{ trusted: boolean }> };
                };
                sessionContext: { session: { kernel: { status: string } } | null };
              };
            };
          };
        }
      ).jupyterapp.shell.currentWidget;
      return {
        kernel: sessionContext.session?.kernel?.status ?? 'none',
        trusted: [...content.model.cells].every((cell) => cell.trusted),
        modified: content.model.dirty,
        cells: content.model.toJSON().cells.map((cell) => ({ ...cell, outputs: cell.outputs ?? [] })),
      };
    });
  }

  async command(name: string, args: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.page.evaluate(
      ([id, options]) =>
        void (
          globalThis as unknown as { jupyterapp: { commands: { execute(id: string, args: object): Promise<unknown> } } }
        ).jupyterapp.commands.execute(id, options),
      [name, args] as const,
    );
  }

  /** @throws Error saying `otherwise` and what the outputs were, if it takes longer. */
  async waitFor(holds: (state: State) => boolean, milliseconds: number, otherwise: string): Promise<State> {
    for (const end = Date.now() + milliseconds; ;) {
      const state = await this.state().catch(() => ({ kernel: 'loading', trusted: false, modified: false, cells: [] }));
      if (holds(state)) return state;
      if (Date.now() > end)
        throw new Error(
          `${otherwise} within ${milliseconds / 1000} s; kernel ${state.kernel}, outputs ` +
            `${JSON.stringify(state.cells.map(({ outputs }) => outputs)).slice(0, 2000)}`,
        );
      await this.page.waitForTimeout(300);
    }
  }

  /** Run All, to the end or to the first error. */
  async runAll(milliseconds: number): Promise<State> {
    await this.command('notebook:run-all-cells');
    const code = (state: State) =>
      state.cells.filter(({ cell_type, source }) => cell_type === 'code' && source.trim() !== '');
    const failed = (state: State) =>
      state.cells.some(({ outputs }) => outputs.some(({ output_type }) => output_type === 'error'));
    return this.waitFor(
      (state) =>
        state.kernel === 'idle' &&
        (failed(state) || code(state).every(({ execution_count }) => execution_count !== null)),
      milliseconds,
      'not all cells ran',
    );
  }

  async picture(name: string): Promise<void> {
    await this.page.screenshot({ path: join(pictures, `${name}.png`) });
  }

  async close(): Promise<void> {
    await this.command('kernelmenu:shutdown');
    await this.page.waitForTimeout(500);
    await this.page.context().close();
  }
}

/** How the lines and bars of a figure run now. */
export const curvesOf = (page: Page, figure: string): Promise<(string | null)[]> =>
  page
    .locator(`${figure} :is(.scatterlayer .js-line, .barlayer .point path)`)
    .evaluateAll((marks) => marks.map((mark) => mark.getAttribute('d')));

/** Clicks on the right end of a figure's slider, and waits for its last state. */
export async function moveSlider(page: Page, figure: string): Promise<void> {
  const rail = page.locator(`${figure} .slider-rail-touch-rect`);
  await rail.scrollIntoViewIfNeeded();
  const { x, y, width, height } = (await rail.boundingBox())!;
  const before = await page
    .locator(`${figure} .slider-current-value-text, ${figure} .slider-label`)
    .first()
    .textContent();
  await page.mouse.click(x + width - 3, y + height / 2);
  await page.waitForFunction(
    ([selector, text]) => document.querySelector(selector)?.textContent !== text,
    [`${figure} .slider-label`, before] as const,
    { timeout: 10_000 },
  );
}
