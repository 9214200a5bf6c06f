/**
 * LaTeX formulas as SVG, by MathJax, for pages without a script: reads [{"tex": …, "display": true | false}, …] from
 * stdin and writes {"style": CSS for all, "formulas": [markup, …]}. The glyphs take the color of the text around them;
 * screen readers get MathML. A formula with an error is replaced by MathJax's message.
 */
import { readFileSync } from 'node:fs';

interface Formula {
  readonly tex: string;
  /** Whether the formula has a line of its own. */
  readonly display: boolean;
}

interface MathJax {
  tex2svgPromise(tex: string, options: { display: boolean }): Promise<unknown>;
  svgStylesheet(): unknown;
  startup: { adaptor: { outerHTML(node: unknown): string; textContent(node: unknown): string } };
}

async function main(): Promise<void> {
  const formulas = JSON.parse(readFileSync(0, 'utf8')) as Formula[];
  const { init } = require('mathjax') as { init(options: object): Promise<MathJax> };
  const mathJax = await init({
    loader: { load: ['input/tex', 'output/svg', 'a11y/assistive-mml'] },
    svg: { fontCache: 'local' },
    options: { enableAssistiveMml: true },
  });
  const { adaptor } = mathJax.startup;
  const made: string[] = [];
  for (const { tex, display } of formulas) made.push(adaptor.outerHTML(await mathJax.tex2svgPromise(tex, { display })));
  process.stdout.write(JSON.stringify({ style: adaptor.textContent(mathJax.svgStylesheet()), formulas: made }));
}

main().catch((error: Error) => {
  console.error(error.message);
  process.exitCode = 1;
});
